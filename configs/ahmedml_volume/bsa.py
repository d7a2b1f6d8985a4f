_base_ = ["../_base_/ahmedml_volume.py"]
save_path = "exp/ahmedml_volume/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._bsa}})
