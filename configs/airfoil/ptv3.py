_base_ = ["../_base_/airfoil.py"]
save_path = "exp/airfoil/{{fileBasenameNoExtension}}"
cuda_graph = False  # the number of pooled points depends on the points
model = dict(backbone={{_base_._ptv3}}, head=dict(in_channels=64))
