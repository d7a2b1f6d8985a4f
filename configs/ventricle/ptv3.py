_base_ = ["../_base_/ventricle.py", "../_base_/ptv3.py"]
save_path = "exp/ventricle/{{fileBasenameNoExtension}}"
cuda_graph = False  # the number of pooled points depends on the points
model = dict(backbone={{_base_._ptv3}})
search = {"model.norm": dict(choices=["cloud", "layer"])}
