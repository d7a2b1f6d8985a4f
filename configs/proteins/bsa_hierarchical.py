_base_ = ["bsa.py"]
save_path = "exp/proteins/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._levels}})
