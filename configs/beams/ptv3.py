_base_ = ["../_base_/beams.py"]
save_path = "exp/beams/{{fileBasenameNoExtension}}"
cuda_graph = False  # the number of pooled points depends on the points
model = dict(backbone={{_base_._ptv3_small}}, head=dict(in_channels=64))
