_base_ = ["../_base_/ellipsoid_flow.py"]
save_path = "exp/ellipsoid_flow/{{fileBasenameNoExtension}}"
cuda_graph = False  # the number of pooled points depends on the points
model = dict(backbone={{_base_._ptv3}}, head=dict(in_channels=32))
