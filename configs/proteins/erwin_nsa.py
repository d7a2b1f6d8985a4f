_base_ = ["../_base_/proteins.py"]
save_path = "exp/proteins/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._erwin_nsa}})
