_base_ = ["../_base_/airfrans.py"]
save_path = "exp/airfrans/{{fileBasenameNoExtension}}"
cuda_graph = False  # the number of pooled points depends on the points
pad_clouds = None
model = dict(backbone={{_base_._ptv3_small}}, head=dict(in_channels=64))
