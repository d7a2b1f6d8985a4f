"""The config of a run of toys, for tests and for the scripts that they start."""

CONFIG = """
custom_imports = dict(imports=["host_toys"], allow_failed_imports=False)
save_path = {save_path!r}
seed = 3
device = "cpu"
num_worker = 0
batch_size = 2
epoch = 4
eval_epoch = 2
log_interval = 1
model = dict(type="ToyLine")
optimizer = dict(type="AdamW", lr=0.3)
scheduler = dict(type="OneCycleLR", max_lr=0.3)
data = dict(
    train=dict(type="ToyCloud", split="train"),
    val=dict(type="ToyCloud", split="val", num_samples=2),
    test=dict(type="ToyCloud", split="test", num_samples=3),
)
hooks = [
    dict(type="CheckpointLoader"),
    dict(type="ModelHook"),
    dict(type="IterationTimer"),
    dict(type="InformationWriter"),
    dict(type="Diary"),
    dict(type="ToyEvaluator"),
    dict(type="CheckpointSaver"),
    dict(type="PreciseEvaluator"),
]
test = dict(type="ToyTester")
"""
