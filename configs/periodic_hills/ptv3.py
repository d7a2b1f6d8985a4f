_base_ = ["../_base_/periodic_hills.py", "../_base_/ptv3.py"]
save_path = "exp/periodic_hills/{{fileBasenameNoExtension}}"
cuda_graph = False  # the number of pooled points depends on the points
model = dict(backbone={{_base_._ptv3}})
search = {"model.norm": dict(choices=["cloud", "layer"])}
