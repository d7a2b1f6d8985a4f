# ScanNet, 20 classes, in the layout of Pointcept's preparation; segmentation with the host's model, losses, evaluator
# and tester. Colours and normals as in Pointcept's configs; positions are features, too.

_base_ = ["default_runtime.py", "networks.py"]

batch_size = 12
num_worker = 24
enable_amp = True
epoch = 800
eval_epoch = 100

dataset_type = "ScanNetDataset"
data_root = "data/scannet"
_names = ["wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf"]
_names += ["picture", "counter", "desk", "curtain", "refridgerator", "shower curtain", "toilet", "sink", "bathtub"]
_names += ["otherfurniture"]
_features = ("coord", "color", "normal")
_center, _center_plane = dict(type="CenterShift", apply_z=True), dict(type="CenterShift", apply_z=False)
_color, _tensors = dict(type="NormalizeColor"), dict(type="ToTensor")
_voxels = dict(type="GridSample", grid_size=0.02, hash_type="fnv", mode="train", return_grid_coord=True)
_quarter = dict(type="RandomRotateTargetAngle", axis="z", center=[0, 0, 0], p=1)
_collect = dict(type="Collect", feat_keys=_features)
_labels = ("coord", "grid_coord", "segment")

_set = dict(type=dataset_type, data_root=data_root)
data = dict(
    num_classes=20,
    ignore_index=-1,
    names=_names,
    train=dict(
        _set,
        split="train",
        test_mode=False,
        transform=[
            _center,
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
            *[_center_plane, _color, _tensors],
            dict(_collect, keys=_labels),
        ],
    ),
    val=dict(
        _set,
        split="val",
        test_mode=False,
        transform=[
            _center,
            dict(type="Copy", keys_dict=dict(segment="origin_segment")),
            dict(_voxels, return_inverse=True),
            *[_center_plane, _color, _tensors],
            dict(_collect, keys=(*_labels, "origin_segment", "inverse")),
        ],
    ),
    test=dict(
        _set,
        split="val",
        test_mode=True,
        transform=[_center, _color],
        test_cfg=dict(
            voxelize=dict(_voxels, mode="test"),
            crop=None,
            post_transform=[_center_plane, _tensors, dict(_collect, keys=("coord", "grid_coord", "index"))],
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
    backbone=dict(in_channels=9),
    type="DefaultSegmentorV2",
    num_classes=20,
    criteria=[
        dict(type="CrossEntropyLoss", loss_weight=1.0, ignore_index=-1),
        dict(type="LovaszLoss", mode="multiclass", loss_weight=1.0, ignore_index=-1),
    ],
)

_bsa = dict(channels=128, depth=12, num_heads=8, group_compression=True)
_erwin = dict(
    channels=[64, 128, 256],
    enc_num_heads=[4, 8, 16],
    enc_depths=[2, 2, 6],
    dec_num_heads=[4, 8],
    strides=[4, 4],
    rotate=45,
    mp_steps=1,
    num_neighbors=8,
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
