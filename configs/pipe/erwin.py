_base_ = ["../_base_/pipe.py"]
save_path = "exp/pipe/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._erwin}})
