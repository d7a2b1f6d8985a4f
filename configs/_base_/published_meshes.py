# What airfoil, elasticity, pipe and plasticity have in common, published with Erwin's code: AdamW with weight decay
# 1e-5, 5% warm-up, cosine to 1e-7, gradients clipped at 1, relative L2 of the physical values. Erwin is that of its
# published code; the papers of BSA and Erwin-NSA have none of these data: networks of their ShapeNet-Car.

_base_ = ["published.py"]

cuda_graph = True
eval_every = 10000
clip_grad = 1.0

_bsa = _full_attention = _erwin = _erwin_nsa = dict(dimensionality=2)

optimizer = dict(type="AdamW", weight_decay=1e-5)
scheduler = dict(type="WarmupCosineLR", warmup_ratio=0.05, eta_min=1e-7)
