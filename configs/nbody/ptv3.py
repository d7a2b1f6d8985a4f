_base_ = ["../_base_/nbody.py", "../_base_/ptv3.py"]
save_path = "exp/nbody/{{fileBasenameNoExtension}}"
cuda_graph = False  # the number of pooled points depends on the points
pad_clouds = None
model = dict(backbone={{_base_._ptv3}})
