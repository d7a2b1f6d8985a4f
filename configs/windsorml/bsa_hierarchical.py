_base_ = ["bsa.py"]
save_path = "exp/windsorml/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._levels}})
