_base_ = ["../_base_/beams.py"]
save_path = "exp/beams/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._erwin_nsa}})
