_base_ = ["../_base_/ellipsoid_flow.py"]
save_path = "exp/ellipsoid_flow/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._full_attention}})
