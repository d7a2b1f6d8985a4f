# Erwin with pooling between its levels, balls of a few cells up to the room. Not tuned.

_base_ = ["../_base_/scannet.py"]
save_path = "exp/scannet/{{fileBasenameNoExtension}}"
model = dict(backbone_out_channels=64, backbone={{_base_._erwin}})
