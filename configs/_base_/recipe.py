# The recipe of data that no paper prescribes one for, chosen on validation over several data sets (docs/recipe.md):
# Muon for the matrices of a network, AdamW for the rest, at one learning rate; relative L2 loss; three frequency bands;
# norms that do not depend on the batch. The settings of the papers are those of the configs named after their data.

_base_ = ["search.py", "networks.py"]

_bsa = _full_attention = _erwin_nsa = dict(depth=8, num_heads=4, qk_norm=True)

optimizer = dict(type="Muon", lr=2e-3, weight_decay=0.01)
scheduler = dict(type="WarmupCosineLR", warmup_ratio=0.05)
search = {{_base_._search_bands}}
