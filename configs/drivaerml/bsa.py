_base_ = ["../_base_/drivaerml.py"]
save_path = "exp/drivaerml/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._bsa}})
