_base_ = ["bsa.py"]
save_path = "exp/ahmedml_volume/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._levels}})
