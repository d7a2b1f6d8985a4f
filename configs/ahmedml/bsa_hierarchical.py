_base_ = ["bsa.py"]
save_path = "exp/ahmedml/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._levels}})
