_base_ = ["../_base_/nbody.py"]
save_path = "exp/nbody/{{fileBasenameNoExtension}}"
cuda_graph = False  # the number of pooled points depends on the points
pad_clouds = None
model = dict(backbone={{_base_._ptv3}}, head=dict(in_channels=64))
