# Compression and selection over levels of coarse tokens, O(N log N); not in the paper.

_base_ = ["bsa.py"]
save_path = "exp/shapenet_car/{{fileBasenameNoExtension}}"
model = dict(backbone=dict(near=2048, fan=8, levels_beyond=4096))
