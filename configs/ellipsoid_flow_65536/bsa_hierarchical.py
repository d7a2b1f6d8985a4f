_base_ = ["bsa.py"]
save_path = "exp/ellipsoid_flow_65536/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._levels}})
