_base_ = ["../_base_/drivaerml_volume.py"]
save_path = "exp/drivaerml_volume/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._bsa}})
