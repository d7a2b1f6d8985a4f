_base_ = ["../_base_/eagle.py"]
save_path = "exp/eagle/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._ptv3}}, head=dict(in_channels=64))
