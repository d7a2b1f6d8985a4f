# Compression and selection over levels of coarse tokens, O(N log N); not in the paper.

_base_ = ["bsa.py"]
save_path = "exp/shapenet_car/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._levels}})
