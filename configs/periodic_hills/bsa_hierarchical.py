_base_ = ["bsa.py"]
save_path = "exp/periodic_hills/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._levels}})
