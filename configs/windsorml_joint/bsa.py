_base_ = ["../_base_/windsorml_joint.py"]
save_path = "exp/windsorml_joint/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._bsa}})
