_base_ = ["../_base_/nbody.py"]
save_path = "exp/nbody/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._erwin_nsa}})
