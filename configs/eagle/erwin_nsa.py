_base_ = ["../_base_/eagle.py"]
save_path = "exp/eagle/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._erwin_nsa}})
