# Fields at points: three splits of one data set, and a model to which a config adds network, inputs and targets. Widths
# that follow are left out: inputs of the head, channels of the normaliser.

data = dict(train=dict(split="train"), val=dict(split="val"), test=dict(split="test", test_mode=True))
_keys = ("coord", "target", "name", "position", "grid_coord")  # of a batch, beside the features

model = dict(
    type="DefaultRegressor",
    norm="cloud",  # in place of BatchNorm: statistics of each cloud alone; as published: "batch"
    head=dict(type="RegressionHead"),
    normalizer=dict(type="TargetNormalizer"),
    criteria=[dict(type="RelativeL2Loss")],
)
