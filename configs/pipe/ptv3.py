_base_ = ["../_base_/pipe.py"]
save_path = "exp/pipe/{{fileBasenameNoExtension}}"
cuda_graph = False  # the number of pooled points depends on the points
model = dict(backbone={{_base_._ptv3}}, head=dict(in_channels=64))
