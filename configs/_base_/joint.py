# As regression.py, for clouds of two domains, the surface of a body and the volume around it, each with targets of its
# own. Losses are relative and of normalised values.

_base_ = ["regression.py"]

_domain = dict(head=dict(type="RegressionHead"), criteria=[dict(type="RelativeL2Loss", physical=False)], weight=1.0)
model = dict(
    _delete_=True,
    type="JointRegressor",
    norm="cloud",
    domains=dict(surface=_domain, volume=_domain),
    normalizer=dict(type="TargetNormalizer"),
)
