_base_ = ["../_base_/ellipsoid_flow_65536.py"]
save_path = "exp/ellipsoid_flow_65536/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._erwin}})
