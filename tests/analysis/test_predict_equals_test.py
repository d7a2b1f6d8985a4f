"""What tools/predict.py says of a raw file is what the test says of that sample, for every data set.

The networks are not trained, but random ones of the shipped configs' kind: any difference of an input shows.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pointcept_bsa.datasets.airfoil import AirfoilDataset
from pointcept_bsa.datasets.airfrans import AirfRANSSurfaceDataset
from pointcept_bsa.datasets.base import split_hash
from pointcept_bsa.datasets.cosmology import CosmologyDataset
from pointcept_bsa.datasets.elasticity import ElasticityDataset
from pointcept_bsa.datasets.folder_dataset import FolderDataset
from pointcept_bsa.datasets.nbody_box import NBodyBoxDataset
from pointcept_bsa.datasets.pipe import PipeDataset
from pointcept_bsa.datasets.prepare.layout import finish, write_sample
from pointcept_bsa.datasets.tissue_beams import TissueBeamsDataset
from pointcept_bsa.datasets.ventricle import VentricleDataset
from pointcept_bsa.host import build_dataset
from pointcept_bsa.host.embedded.config import load_config
from pointcept_bsa.mesh_io import Mesh, write_mesh

from .custom_bodies import NUMBER, compare

ROOT = Path(__file__).resolve().parents[2]

FOLDERS = {
    "airfoil": AirfoilDataset,
    "airfrans": AirfRANSSurfaceDataset,
    "beams": TissueBeamsDataset,
    "cosmology": CosmologyDataset,
    "elasticity": ElasticityDataset,
    "nbody": NBodyBoxDataset,
    "pipe": PipeDataset,
    "ventricle": VentricleDataset,
}


def made_up_folder(kind: type[FolderDataset], box, root, protocol):
    """A prepared folder of the data set with made-up numbers, and the raw arrays of its samples."""
    rng = np.random.default_rng(0)
    low, high = box
    arrays = {}
    for index in range(NUMBER):
        n = 30 + index
        own = {"coord": low + (high - low) * rng.random((n, kind.dimensions))}
        own |= {key: rng.random((n, width)) for key, width in kind.columns.items()}
        own |= {key: 100 + 50 * rng.random((1, width)) for key, width in kind.global_fields.items()}
        arrays[f"s{index}"] = {key: values.astype(np.float32) for key, values in own.items()}
        write_sample(root, f"s{index}", arrays[f"s{index}"])
    names = list(arrays)
    lists = {"train": names[:-2], "val": names[-2:-1], "test": names[-1:]}
    finish(root, {protocol: lists}, protocol, list(arrays["s0"]), f"# made up {split_hash(names)}\n")
    return arrays


def small(cfg):
    cfg.device = "cpu"
    cfg.model.backbone.depth = 1
    return cfg


@pytest.mark.parametrize("name", list(FOLDERS))
def test_data_sets_of_prepared_folders(name, tmp_path, tool):
    kind = FOLDERS[name]
    cfg = small(load_config(str(ROOT / f"configs/{name}/full_attention.py")))
    boxes = [t for t in cfg.data.test.transform if t["type"] == "ScaleCoord"]
    box = (np.array(boxes[0]["min"]), np.array(boxes[0]["max"])) if boxes else (np.zeros(3), np.ones(3))
    protocol = "OnceClampedBeam" if name == "beams" else "made up"
    arrays = made_up_folder(kind, box, tmp_path / "data", protocol)
    for split in ("train", "val", "test"):
        cfg.data[split].data_root = str(tmp_path / "data")
        cfg.data[split].pop("protocol", None)

    def mesh_of(sample):
        own = dict(arrays[sample])
        points = np.pad(own.pop("coord").astype(np.float64), ((0, 0), (0, 3 - kind.dimensions)))
        fields = {key: own[key] for key in kind.columns}
        mesh = Mesh(points, point_data=fields, field_data={key: own[key][0] for key in kind.global_fields})
        write_mesh(tmp_path / f"{sample}.vtp", mesh)
        return tmp_path / f"{sample}.vtp"

    compare(cfg, mesh_of, tmp_path, tool)


@pytest.mark.parametrize("name", ["ellipsoid_flow", "shapenet_car", "periodic_hills"])
def test_the_other_data_sets(name, tmp_path, tool, request):
    cfg = small(load_config(str(ROOT / f"configs/{name}/full_attention.py")))
    if name == "ellipsoid_flow":
        for split in ("train", "val", "test"):
            cfg.data[split].update(num_samples=3, num_points=80)
    else:
        root = tmp_path / "data"
        fields = dict(pressure=()) if name == "shapenet_car" else dict(wall_distance=1, rans_velocity=2, dns_velocity=2)
        rng = np.random.default_rng(0)
        for index in range(NUMBER):
            own = {"coord": rng.random((40, 3 if name == "shapenet_car" else 2))}
            own |= {key: rng.random((40, width) if width else 40) for key, width in fields.items()}
            write_sample(root, f"s{index}", {key: values.astype(np.float32) for key, values in own.items()})
        names = [f"s{index}" for index in range(NUMBER)]
        lists = {"train": names[:-2], "val": names[-2:-1], "holdout": names[-2:-1], "test": names[-1:]}
        finish(root, {"mini": lists}, "mini", ["coord", *fields], "# made up\n")
        for split in ("train", "val", "test"):
            cfg.data[split].data_root = str(root)
            cfg.data[split].pop("protocol", None)

    test = build_dataset(cfg.data.test)

    def mesh_of(sample):
        raw = test.get_data(0)
        points = np.pad(raw.pop("coord").astype(np.float64), ((0, 0), (0, 3 - test[0]["coord"].shape[1])))
        keys = [key for key in raw if key not in ("target", "name", "face")]
        write_mesh(tmp_path / f"{sample}.vtp", Mesh(points, point_data={key: raw[key] for key in keys}))
        return tmp_path / f"{sample}.vtp"

    compare(cfg, mesh_of, tmp_path, tool)
