# bsa.py with four numbers of the whole body as further targets, which are known exactly; two of them are moments, which
# the test integrates from the predicted pressure, too.

_base_ = ["bsa.py"]
save_path = "exp/ellipsoid_flow/{{fileBasenameNoExtension}}"
_scalars = ("frontal_area", "added_mass", "yaw", "pitch")
data = dict(train=dict(scalars=_scalars), val=dict(scalars=_scalars), test=dict(scalars=_scalars))
model = dict(
    scalars=dict(
        head=dict(type="ScalarHead", out_channels=4),
        normalizer=dict(type="TargetNormalizer"),
        criteria=[dict(type="MSELoss")],
    )
)
