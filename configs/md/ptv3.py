_base_ = ["../_base_/md.py"]
save_path = "exp/md/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._ptv3_small}}, head=dict(in_channels=64))
