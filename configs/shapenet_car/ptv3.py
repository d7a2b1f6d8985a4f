# Point Transformer V3 (Wu et al. 2024) at about the size of bsa.py. Regression as the other backbones are trained and
# tested: nothing dropped, curves in a fixed order.

_base_ = ["../_base_/shapenet_car.py", "../_base_/ptv3.py"]
save_path = "exp/shapenet_car/{{fileBasenameNoExtension}}"
cuda_graph = False  # the number of pooled points depends on the points
model = dict(backbone={{_base_._ptv3}})
