_base_ = ["bsa.py"]
save_path = "exp/drivaernet_joint/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._levels}})
