_base_ = ["../_base_/cosmology.py"]
save_path = "exp/cosmology/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._full_attention}})
