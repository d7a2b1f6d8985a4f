# Labels of points of your own data, by cross entropy, judged by IoU. The configs that fit the data (backbone, classes,
# inputs) are written beside them: python tools/prepare_data.py custom --src <files> --dst data/labels --label <field>

_base_ = ["recipe.py"]

batch_size = 2
max_iters = 20000
eval_every = 1000

model = dict(
    type="DefaultSegmentorV2", norm="cloud", criteria=[dict(type="CrossEntropyLoss", loss_weight=1.0, ignore_index=-1)]
)

hooks = [
    dict(type="DescribeTrainingData"),
    dict(type="CheckpointLoader"),
    dict(type="ModelHook"),
    dict(type="IterationTimer", warmup_iter=2),
    dict(type="InformationWriter"),
    dict(type="SemSegEvaluator"),
    dict(type="CheckpointSaver", save_freq=None),
    dict(type="PreciseEvaluator", test_last=False),
]
test = dict(type="SemSegTester", verbose=True)
