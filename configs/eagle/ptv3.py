_base_ = ["../_base_/eagle.py", "../_base_/ptv3.py"]
save_path = "exp/eagle/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._ptv3}})
