_base_ = ["bsa.py"]
save_path = "exp/custom/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._levels}})
