_base_ = ["../_base_/airfrans.py"]
pad_clouds = 256  # slots: a ball
save_path = "exp/airfrans/{{fileBasenameNoExtension}}"
model = dict(backbone={{_base_._erwin}})
