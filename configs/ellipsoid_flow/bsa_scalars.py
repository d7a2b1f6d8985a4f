# bsa.py with two numbers of the whole body as further targets, which are known exactly.

_base_ = ["bsa.py"]

save_path = "exp/ellipsoid_flow/bsa_scalars"

_scalars = ("frontal_area", "added_mass")
data = dict(train=dict(scalars=_scalars), val=dict(scalars=_scalars), test=dict(scalars=_scalars))

model = dict(
    scalars=dict(
        head=dict(type="ScalarHead", in_channels=32, out_channels=2),
        normalizer=dict(type="TargetNormalizer", channels=2),
        criteria=[dict(type="MSELoss")],
    )
)
