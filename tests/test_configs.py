"""Every shipped config loads, names what is registered, builds its model and takes a step; only backbones differ.

Those of segmentation are tested in ``tests/pointcept``.
"""

from __future__ import annotations

import ast
import copy
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from pointcept_bsa.datasets.base import per_point_keys
from pointcept_bsa.host import (
    DATASETS,
    HOOKS,
    LOSSES,
    MODELS,
    SCHEDULERS,
    TESTERS,
    TRAINERS,
    TRANSFORMS,
    Compose,
    Config,
    collate_fn,
)
from pointcept_bsa.host.embedded.config import load_config
from pointcept_bsa.training.optimizer import build_optimizer
from pointcept_bsa.training.runs.flat_config import flat_config

FOLDER = Path(__file__).resolve().parent.parent / "configs"
CONFIGS = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.glob("[!_]*/*.py"))
DATA_SETS = sorted({Path(name).parent.name for name in CONFIGS})
POINTS = (200, 70)
FIELDS = {  # data set -> space dimensions, target channels, channels of further fields
    "ShapeNetCarDataset": (3, 1, dict(normal=3)),
    "PeriodicHillsDataset": (2, 2, dict(wall_distance=1)),
    "EllipsoidFlowDataset": (3, 1, dict(normal=3)),
    "EllipsoidFlowJointDataset": (3, 5, dict(normal=3)),
    "ElasticityDataset": (2, 1, dict()),
    "CosmologyDataset": (3, 3, dict()),
    "NBodyBoxDataset": (3, 3, dict()),
    "AirfRANSSurfaceDataset": (2, 1, dict(flow=3)),
    "TissueBeamsDataset": (3, 3, dict(material=2)),
    "VentricleDataset": (3, 3, dict(node_features=10, material=4)),
    "ProteinSurfaceDataset": (
        3,
        1,
        dict(normal=3, coulomb=4, atom_density=12, atom_distance=5, hbond=1, hydropathy=1),
    ),
    "AirfoilDataset": (2, 1, dict()),
    "PipeDataset": (2, 1, dict()),
    "PlasticityDataset": (2, 4, dict(die=1, time=1)),
    "CustomFieldDataset": (3, 1, dict(position=3)),  # which the data set keeps where it scales to the box
    "EagleDataset": (2, 4, dict(state=4, node_type=9)),
    "MolecularDynamicsDataset": (3, 3, dict(velocity=45, particle_type=4)),
}
DOMAINS = ("surface", "volume")
JOINT = ("EllipsoidFlowJointDataset", "JoinedDataset")  # data sets whose points belong to these
FIELDS |= dict.fromkeys(
    ("DrivAerMLDataset", "AhmedMLDataset", "WindsorMLDataset", "DrivAerNetDataset"), (3, 4, dict(normal=3, position=3))
)
VOLUME = {"AhmedMLDataset": 7}  # target channels of the air, where they are not as many
EDGES = {"MolecularDynamicsDataset", "EagleDataset"}  # data sets whose samples bring the edges of the message passing
BACKBONES = ("bsa", "erwin", "erwin_nsa", "full_attention", "ptv3")
COMPARED = (  # sets that have BSA with group compression too
    *("airfrans", "beams", "ellipsoid_flow", "periodic_hills", "proteins", "shapenet_car", "shapenet_car_mini24"),
    "ventricle",
)
HIERARCHICAL = (  # and with levels of tokens
    *("custom", "ellipsoid_flow", "periodic_hills", "proteins", "shapenet_car", "shapenet_car_mini24"),
)
CAR_SETS = tuple(  # sets too large for more than these
    f"{name}{domain}"
    for name in ("ahmedml", "drivaerml", "drivaernet", "windsorml")
    for domain in ("", "_volume", "_joint")
)
FEW = {  # sets with these alone
    "ellipsoid_flow_65536": ("bsa", "bsa_hierarchical", "erwin"),
    **dict.fromkeys(CAR_SETS, ("bsa", "bsa_hierarchical", "full_attention")),
}
ANCHORED = ("ellipsoid_flow_joint", "periodic_hills", "shapenet_car", "shapenet_car_mini24")  # and from anchors
FROM_ANCHORS = ("bsa", "erwin_nsa", "full_attention")
RIVALS = ("upt", "abupt", "mspt", "flare", "lrsa", "pointnet", "transolver")
WITH_RIVALS = (
    *("airfrans", "custom", "elasticity", "ellipsoid_flow", "periodic_hills", "shapenet_car", "shapenet_car_mini24"),
)
LAPTOP = {"data", "batch_size", "enable_amp", "num_worker", "eval_every"}  # two cores, fewer points
OWN = {  # what a config sets beside its backbone
    **{f"{data_set}/{network}_anchors.py": {"data"} for data_set in ANCHORED for network in FROM_ANCHORS},
    **{f"{name}/bsa_conditioned.py": {"data"} for name in ("airfrans", "beams", "ventricle")},  # fewer features
    "beams/bsa_twice_clamped.py": {"data"},  # another beam
    "beams/bsa_twisting.py": {"data"},
    "cosmology/erwin_nsa.py": {"batch_size", "max_iters"},  # as published
    "shapenet_car_mini24/bsa_laptop.py": LAPTOP,
    "shapenet_car_mini24/full_attention_laptop.py": LAPTOP,
    "ellipsoid_flow/bsa_scalars.py": {"data", "model.scalars"},
    "md/erwin_nsa.py": {"batch_size", "max_iters"},
    # Pointcept's own network does not tell its width, so these give it to the head.
    **{name: {"model.head"} for name in CONFIGS if name.endswith("/ptv3.py")},
    "ellipsoid_flow_joint/ptv3.py": {"model.domains"},
}


TOLD_ANYWAY = {"batch_size", "eval_epoch"}  # the first that one looks for


@cache
def file_alone(path):
    return Config.fromfile(str(path), import_custom_modules=False).to_dict()


def load(name):
    return copy.deepcopy(read(name))


@cache
def read(name):
    return load_config(str(FOLDER / name))


def made_up_sample(cfg, points):
    """What ``get_data`` of the config's data set gives, with made-up numbers."""
    dims, targets, further = fields_of(cfg.data.train)
    boxes = [t for t in cfg.data.train.transform if t["type"] == "ScaleCoord"]
    low, high = (np.array(boxes[0]["min"]), np.array(boxes[0]["max"])) if boxes else (-np.ones(dims), np.ones(dims))
    data = {"coord": low + (high - low) * np.random.rand(points, dims), "target": np.random.randn(points, targets)}
    data |= {key: np.random.rand(points, channels) for key, channels in further.items()}
    data |= {key: np.repeat(data[key][:1], points, 0) for key in ("flow", "material") if key in data}  # of whole clouds
    data = {key: value.astype(np.float32) for key, value in data.items()} | {"name": f"cloud of {points} points"}
    if cfg.data.train.get("scalars"):
        data["scalars"] = np.random.rand(1, len(cfg.data.train.scalars)).astype(np.float32)
    if cfg.data.train.type in EDGES:  # a chain
        chain = np.arange(points)
        data["neighbor_index"] = np.stack([chain - 1, np.where(chain + 1 < points, chain + 1, -1)], axis=1)
    if cfg.data.train.type in JOINT:
        data |= {"domain": np.arange(points) % len(DOMAINS), "domain_names": DOMAINS}
    return data


def fields_of(data):
    """What ``FIELDS`` says of a data set's config; of the air around cars, or of both."""
    if "parts" in data:
        dims, _, further = fields_of(data.parts.surface)
        return dims, sum(fields_of(part)[1] for part in data.parts.values()), further
    dims, targets, further = FIELDS[data.type]
    return dims, VOLUME.get(data.type, targets) if data.get("domain") == "volume" else targets, further


def criteria(model):
    """Configs of the losses, those of all domains where there are some."""
    return [c for domain in model.domains.values() for c in domain.criteria] if "domains" in model else model.criteria


def made_up_batch(cfg, split):
    samples = [made_up_sample(cfg, points) for points in POINTS]
    transform = Compose(cfg.data[split].transform)
    return collate_fn([transform(sample | dict(index_valid_keys=per_point_keys(sample))) for sample in samples])


@pytest.mark.parametrize("data_set", DATA_SETS)
def test_every_backbone_has_a_config(data_set):
    further = ("bsa_group_compression",) if data_set in COMPARED else ()
    further += ("bsa_hierarchical",) if data_set in HIERARCHICAL else ()
    further += tuple(f"{network}_anchors" for network in FROM_ANCHORS) if data_set in ANCHORED else ()
    further += RIVALS if data_set in WITH_RIVALS else ()
    wanted = FEW.get(data_set, (*BACKBONES, *further))
    assert {f"{data_set}/{backbone}.py" for backbone in wanted} <= set(CONFIGS)


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_config_says_only_what_its_bases_do_not(path):
    inherited = {}
    for base in Config._get_base_files(str(path)):
        inherited |= file_alone((path.parent / base).resolve())
    for assignment in (node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Assign)):
        for name in (target.id for target in assignment.targets if isinstance(target, ast.Name)):
            if name in inherited and name not in TOLD_ANYWAY and isinstance(assignment.value, ast.Constant):
                assert inherited[name] != assignment.value.value, f"{name} has this value in a base"


@pytest.mark.parametrize("name", CONFIGS)
def test_widths_follow_from_the_network(name):
    """But for Pointcept's own, which does not tell its own."""
    flat = flat_config({"all": load(name).model.to_dict()})
    widths = {key for key in flat if key.endswith(("head.in_channels", "normalizer.channels"))}
    assert bool(widths) == name.endswith("/ptv3.py") and not any("normalizer" in key for key in widths)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_name_in_a_config_is_registered(name):
    cfg = load(name)
    assert cfg.save_path == f"exp/{name.removesuffix('.py')}"
    splits = [cfg.data[split] for split in ("train", "val", "test")]
    for registry, entries in (
        (DATASETS, splits),
        (TRANSFORMS, chain.from_iterable(split.transform for split in splits)),
        (LOSSES, criteria(cfg.model)),
        (HOOKS, cfg.hooks),
        (TRAINERS, [cfg.train]),
        (TESTERS, [cfg.test]),
        (SCHEDULERS, [cfg.scheduler]),
    ):
        for entry in entries:
            assert registry.get(entry["type"]) is not None, entry["type"]


@pytest.mark.parametrize("name", CONFIGS)
def test_the_model_takes_a_step(name):
    cfg = load(name)
    model = MODELS.build(cfg.model)
    batch = made_up_batch(cfg, "train")
    targets = batch["target"].shape[1]
    assert model.backbone.out_channels == model.head.in_channels
    assert model.head.out_channels == len(model.normalizer.mean) == targets == fields_of(cfg.data.train)[1]
    model.normalizer.set([1.0] * targets, [2.0] * targets)
    if model.scalars is not None:
        model.scalars.normalizer.set([1.0] * 4, [2.0] * 4)

    optimizer = build_optimizer(cfg.optimizer, model, cfg.param_dicts)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    losses = model.train()(batch)
    losses["loss"].backward()
    optimizer.step()
    assert all(value.isfinite() for value in losses.values())
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    assert not all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))

    with torch.no_grad():
        out = model.eval()(made_up_batch(cfg, "test"))
    assert out["pred"].shape == batch["target"].shape
    known = out["pred"].isfinite()  # of a point of a domain its own channels
    assert (known.any(1) if "domains" in cfg.model else known).all() and out["loss"].isfinite()


@pytest.mark.parametrize("name", [name for name in CONFIGS if not name.endswith("/bsa.py")])
def test_configs_of_one_data_set_differ_in_their_backbone_alone(name):
    one, other = settings(f"{Path(name).parent.name}/bsa.py"), settings(name)
    differing = {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}
    assert differing - {"model.backbone", "save_path", "cuda_graph", "pad_clouds", "search"} == OWN.get(name, set())


def test_the_published_size_of_the_polymer_network():
    """4,762,332 with 16 input channels; the config's 49 are velocities and kinds themselves."""
    backbone = MODELS.build(load("md/erwin.py").model.backbone)
    assert sum(p.numel() for p in backbone.parameters()) - (49 - 16) * 16 == 4_762_332


def settings(name):
    """The config with the parts of its model as ``model.<part>``, without names that are private to the file."""
    cfg = load(name).to_dict()
    model = {f"model.{key}": value for key, value in cfg.pop("model").items()}
    return {key: value for key, value in (cfg | model).items() if not key.startswith("_")}
