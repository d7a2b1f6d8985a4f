_base_ = ["bsa.py"]
save_path = "exp/shapenet_car_mini24/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._levels}})
