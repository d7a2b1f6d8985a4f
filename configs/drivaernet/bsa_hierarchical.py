_base_ = ["bsa.py"]
save_path = "exp/drivaernet/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._levels}})
