_base_ = ["bsa.py"]
save_path = "exp/windsorml_joint/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._levels}})
