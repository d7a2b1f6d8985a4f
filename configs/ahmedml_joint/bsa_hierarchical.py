_base_ = ["bsa.py"]
save_path = "exp/ahmedml_joint/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._levels}})
