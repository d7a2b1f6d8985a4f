# BSA on scenes of a hundred thousand points: coarse queries too, for attention over whole rooms. Not tuned.

_base_ = ["../_base_/scannet.py"]
save_path = "exp/scannet/{{fileBasenameNoExtension}}"
model = dict(backbone_out_channels=128, backbone={{_base_._bsa}})
