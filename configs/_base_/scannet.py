# ScanNet, 20 classes, in the layout of Pointcept's preparation; segmentation with the host's model, losses, evaluator
# and tester. Colours and normals as in Pointcept's configs; positions are features, too.

_base_ = ["default_runtime.py"]

batch_size = 12
num_worker = 24
enable_amp = True
amp_dtype = "bfloat16"
epoch = 800
eval_epoch = 100

dataset_type = "ScanNetDataset"
data_root = "data/scannet"
_names = ["wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf"]
_names += ["picture", "counter", "desk", "curtain", "refridgerator", "shower curtain", "toilet", "sink", "bathtub"]
_names += ["otherfurniture"]
_features = ("coord", "color", "normal")
_voxels = dict(type="GridSample", grid_size=0.02, hash_type="fnv", mode="train", return_grid_coord=True)
_quarter = dict(type="RandomRotateTargetAngle", axis="z", center=[0, 0, 0], p=1)

data = dict(
    num_classes=20,
    ignore_index=-1,
    names=_names,
    train=dict(
        type=dataset_type,
        split="train",
        data_root=data_root,
        transform=[
            dict(type="CenterShift", apply_z=True),
            dict(type="RandomDropout", dropout_ratio=0.2, dropout_application_ratio=0.2),
            dict(type="RandomRotate", angle=[-1, 1], axis="z", center=[0, 0, 0], p=0.5),
            dict(type="RandomRotate", angle=[-1 / 64, 1 / 64], axis="x", p=0.5),
            dict(type="RandomRotate", angle=[-1 / 64, 1 / 64], axis="y", p=0.5),
            dict(type="RandomScale", scale=[0.9, 1.1]),
            dict(type="RandomFlip", p=0.5),
            dict(type="RandomJitter", sigma=0.005, clip=0.02),
            dict(type="ChromaticAutoContrast", p=0.2, blend_factor=None),
            dict(type="ChromaticTranslation", p=0.95, ratio=0.05),
            dict(type="ChromaticJitter", p=0.95, std=0.05),
            _voxels,
            dict(type="SphereCrop", point_max=102400, mode="random"),
            dict(type="CenterShift", apply_z=False),
            dict(type="NormalizeColor"),
            dict(type="ToTensor"),
            dict(type="Collect", keys=("coord", "grid_coord", "segment"), feat_keys=_features),
        ],
        test_mode=False,
    ),
    val=dict(
        type=dataset_type,
        split="val",
        data_root=data_root,
        transform=[
            dict(type="CenterShift", apply_z=True),
            dict(type="Copy", keys_dict=dict(segment="origin_segment")),
            dict(_voxels, return_inverse=True),
            dict(type="CenterShift", apply_z=False),
            dict(type="NormalizeColor"),
            dict(type="ToTensor"),
            dict(
                type="Collect",
                keys=("coord", "grid_coord", "segment", "origin_segment", "inverse"),
                feat_keys=_features,
            ),
        ],
        test_mode=False,
    ),
    test=dict(
        type=dataset_type,
        split="val",
        data_root=data_root,
        transform=[dict(type="CenterShift", apply_z=True), dict(type="NormalizeColor")],
        test_mode=True,
        test_cfg=dict(
            voxelize=dict(_voxels, mode="test"),
            crop=None,
            post_transform=[
                dict(type="CenterShift", apply_z=False),
                dict(type="ToTensor"),
                dict(type="Collect", keys=("coord", "grid_coord", "index"), feat_keys=_features),
            ],
            aug_transform=[
                [dict(_quarter, angle=[0])],
                [dict(_quarter, angle=[1 / 2])],
                [dict(_quarter, angle=[1])],
                [dict(_quarter, angle=[3 / 2])],
                [dict(type="RandomFlip", p=1)],
            ],
        ),
    ),
)

model = dict(
    type="DefaultSegmentorV2",
    num_classes=20,
    criteria=[
        dict(type="CrossEntropyLoss", loss_weight=1.0, ignore_index=-1),
        dict(type="LovaszLoss", mode="multiclass", loss_weight=1.0, ignore_index=-1),
    ],
)

optimizer = dict(type="AdamW", lr=1e-3, weight_decay=0.05)
scheduler = dict(
    type="OneCycleLR", max_lr=1e-3, pct_start=0.05, anneal_strategy="cos", div_factor=10.0, final_div_factor=1000.0
)

hooks = [
    dict(type="CheckpointLoader"),
    dict(type="ModelHook"),
    dict(type="IterationTimer", warmup_iter=2),
    dict(type="InformationWriter"),
    dict(type="SemSegEvaluator"),
    dict(type="CheckpointSaver", save_freq=None),
    dict(type="PreciseEvaluator", test_last=False),
]
test = dict(type="SemSegTester", verbose=True)
