_base_ = ["../_base_/custom.py"]
save_path = "exp/custom/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._ptv3_small}}, head=dict(in_channels=64))
