_base_ = ["../_base_/elasticity.py", "../_base_/ptv3.py"]
save_path = "exp/elasticity/{{fileBasenameNoExtension}}"
cuda_graph = False  # the number of pooled points depends on the points
model = dict(backbone={{_base_._ptv3}})
