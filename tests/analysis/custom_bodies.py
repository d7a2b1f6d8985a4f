"""Runs that nobody trained, on own data of made-up bodies, and their predictions beside their tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from pointcept_bsa.files.json_file import write_json
from pointcept_bsa.host import build_dataset, collate_fn
from pointcept_bsa.host.embedded.config import config_text, load_config
from pointcept_bsa.host.embedded.registry import build_model
from pointcept_bsa.mesh_io import Mesh, read_mesh, write_mesh
from pointcept_bsa.training.evaluation.bounded import bounded
from pointcept_bsa.training.evaluation.bounded import test_settings as settings_of
from pointcept_bsa.training.evaluation.provenance import training_points
from pointcept_bsa.training.evaluation.training_range import FILE, describe_training_data

ROOT = Path(__file__).resolve().parents[2]
NUMBER = 8  # of samples


def make_run(cfg, folder):
    """The folder of a run that nobody trained, as the hooks leave it; (folder, model, test set)."""
    (folder / "model").mkdir(parents=True)
    cfg.save_path = str(folder)
    train, test = build_dataset(cfg.data.train), build_dataset(cfg.data.test)
    cfg.model.backbone.in_channels = test[0]["feat"].shape[1]
    channels = test[0]["target"].shape[1]
    cfg.model.head.out_channels = cfg.model.normalizer.channels = channels
    (folder / "config.py").write_text(config_text(cfg))
    torch.manual_seed(0)
    model = build_model(cfg.model, path="model").eval()
    statistics = train.target_statistics()
    model.normalizer.set(statistics["mean"], statistics["std"])
    torch.save({"state_dict": model.state_dict(), "epoch": 1}, folder / "model" / "model_best.pth")
    write_json(folder / FILE, describe_training_data(train))
    return model, test


def compare(cfg, mesh_of, tmp_path, tool, *arguments):
    """Predict with the run's folder and with its exported file; both must be what the test judges; returns that."""
    folder = tmp_path / "run"
    model, test = make_run(cfg, folder)
    with torch.no_grad():
        pred = bounded(model, settings_of(test), training_points(folder, cfg))(collate_fn([test[0]]))["pred"]
    wanted = pred.double().numpy() + test.target_offset()
    raw = mesh_of(test.get_data_name(0))
    one_file = tmp_path / "network.safetensors"
    assert tool("export", str(folder), "--output", str(one_file)) == 0
    for run in (folder, one_file):
        out = tmp_path / "out.npz"
        command = ["--weight", str(run), "--input", str(raw), "--output", str(out), *arguments]
        assert tool("predict", *command) == 0
        mesh = read_mesh(out)
        got = [values.reshape(len(mesh.points), -1) for name, values in mesh.point_data.items() if "predicted_" in name]
        widths = [len([n for n in test.target_names if n.startswith(field)]) or 1 for field in test.target_fields]
        got = np.concatenate([g[:, :w] for g, w in zip(got, widths, strict=True)], axis=1)
        got = got[np.isfinite(got).all(axis=1)]
        std = np.asarray(test.target_statistics()["std"])
        np.testing.assert_allclose((got - wanted) / std, np.zeros_like(wanted), atol=1e-5)
        out.unlink()
    return wanted, test


def body(index, shift=(0.0, 0.0, 0.0), constant=0.0, flat=False):
    """A triangulated patch with fields of every kind, and one point of no cell."""
    rng = np.random.default_rng(index)
    side = 7 + index % 3
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(side) * 0.1, np.arange(side) * 0.1, indexing="ij"))
    z = np.zeros_like(x) if flat else 0.1 * np.sin(5 * x + index) + 0.05 * y
    points = np.stack([x * (1 + 0.1 * index), y, z], axis=1)
    points = np.concatenate([points, [[0.35, 0.35, 0.0 if flat else 0.4]]])
    corner = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).ravel()
    cells = np.concatenate(
        [np.stack([corner, corner + side, corner + 1], 1), np.stack([corner + side, corner + side + 1, corner + 1], 1)]
    )
    mesh = Mesh(points + np.asarray(shift), {"triangle": cells})
    mesh.point_data = {
        "q": constant + 0.01 * np.sin(4 * points[:, 0]) + 0.01 * points[:, 1],
        "velocity": np.stack([points[:, 1], np.cos(points[:, 0]), points[:, 2]], axis=1),
        "wall": (points[:, 0] < 0.15).astype(float),
        "temperature": 1e5 + 1e-3 * rng.random(len(points)),
    }
    mesh.cell_data = {"area": rng.random(len(cells))}
    mesh.field_data = {"mach": np.array([0.3 + 0.05 * index]), "wind": np.array([10.0, 0.1 * index])}
    return mesh


def write_bodies(folder, suffix="vtu", **options):
    folder.mkdir()
    for index in range(NUMBER):
        write_mesh(folder / f"case {index}.{suffix}", body(index, **options))
    table = ["name,alpha,mass", *(f"case {index},{index - 3},{1e9 + index}" for index in range(NUMBER))]
    (folder / "cases.csv").write_text("\n".join(table))
    return lambda name: folder / f"{name}.{suffix}"


FOURIER = dict(type="FourierFeatures", keys=("coord",), num_bands=3)


def collect(*features):
    return dict(type="CollectPoints", keys=("coord", "target", "name"), feat_keys=features)


def custom_config(data_root, transform, test=None, **options):
    cfg = load_config(str(ROOT / "configs/custom/full_attention.py"))
    cfg.device = "cpu"
    cfg.model.backbone.update(channels=32, depth=1, num_heads=2)
    cfg.model.head.in_channels = 32
    for split in ("train", "val", "test"):
        more = {"test_mode": True, **(test or {})} if split == "test" else {}
        cfg.data[split] = dict(
            type="CustomFieldDataset", data_root=str(data_root), split=split, transform=transform, **options, **more
        )
    return cfg


ALL = ("normal", "wall_distance", "velocity", "temperature", "area", "mach", "wind")
PREPARE = dict(
    target=["q"], feature=[*ALL, "alpha", "mass"], wall_mask="wall", cells_to_points=True, drop_loose_points=True
)
