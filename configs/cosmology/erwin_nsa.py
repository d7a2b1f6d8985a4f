_base_ = ["../_base_/cosmology.py"]
save_path = "exp/cosmology/{{fileBasenameNoExtension}}"
batch_size = 1
max_iters = 10000
model = dict(backbone={{_base_._erwin_nsa}})
