_base_ = ["../_base_/windsorml_volume.py"]
save_path = "exp/windsorml_volume/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._bsa}})
