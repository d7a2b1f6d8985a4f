"""Segmentation configs on Pointcept's layout of ScanNet: train, evaluate and test in both hosts; the parts of ours."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pointcept_bsa.errors import InputError
from pointcept_bsa.host import DATASETS, TRANSFORMS
from pointcept_bsa.host.embedded.semantic_segmentation import class_counts, scores

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs" / "scannet"
SMALL = {
    "semseg-bsa": ("depth=1", "ball_size=64", "channels=16", "num_heads=2"),
    "semseg-erwin": ("channels=[16,16,16]", "enc_depths=[1,1,1]", "dec_depths=[1,1]", "ball_sizes=[64,64,32]"),
}
COMMON = ("num_worker=1", "batch_size=2", "epoch=1", "eval_epoch=1", "enable_amp=False", "seed=1")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    """Four rooms: a floor and a wall of some hundred points, labelled, in Pointcept's layout."""
    folder, random = tmp_path_factory.mktemp("data") / "scannet", np.random.default_rng(0)
    for split, number in (("train", 0), ("train", 1), ("train", 2), ("val", 3)):
        scene = folder / split / f"scene{number:04d}_00"
        scene.mkdir(parents=True)
        coord = random.random((300 + 20 * number, 3))
        wall = np.arange(len(coord)) % 2 == 0
        coord[wall, 0] *= 1e-3  # not flat: points at the same place of an axis would be ordered by their order
        coord[~wall] *= [1, 1, 1e-3]
        coord[~wall, 0] += 0.1
        normal = np.where(wall[:, None], [[1.0, 0, 0]], [[0, 0, 1.0]])
        np.save(scene / "coord.npy", coord.astype(np.float32))
        np.save(scene / "color.npy", random.integers(0, 256, coord.shape).astype(np.uint8))
        np.save(scene / "normal.npy", normal.astype(np.float32))
        if number != 1:
            np.save(scene / "segment20.npy", np.where(wall, 0, 1).astype(np.int16)[:, None])
        np.save(scene / "instance.npy", np.full(len(coord), -1))
    return folder


@pytest.fixture
def start(run_python, scenes):
    def run(host: str, tool: str, network: str, *options: str) -> str:
        roots = [f"data.{split}.data_root={scenes}" for split in ("train", "val", "test")]
        sizes = [f"model.backbone.{size}" for size in SMALL[network]]
        width = ["model.backbone_out_channels=16"]
        command = [str(ROOT / "tools" / f"{tool}.py")]
        if host != "embedded":
            command = ["-m", "pointcept_bsa.pointcept", tool, "--pointcept", host, "--stub-missing", "--cpu"]
        else:
            options = ("device=cpu", *options)
        config = ["--config", str(CONFIGS / f"{network}.py")]
        return run_python(*command, *config, "--options", *COMMON, *roots, *sizes, *width, *options)

    return run


@pytest.mark.parametrize("network", SMALL)
def test_embedded_host_trains_and_tests(network, start, tmp_path, scenes):
    log = start("embedded", "train", network, f"save_path={tmp_path}", "num_worker=0")
    assert "mIoU/mAcc/allAcc" in log
    report = json.loads((tmp_path / "test" / "metrics.json").read_text())
    pred = np.load(tmp_path / "result" / "scene0003_00_pred.npy")
    truth = np.load(scenes / "val" / "scene0003_00" / "segment20.npy").reshape(-1)
    assert report["allAcc"] == pytest.approx((pred == truth).mean()) and list(report["scenes"]) == ["scene0003_00"]
    again = tmp_path / "again"
    start("embedded", "test", network, f"save_path={again}", f"weight={tmp_path / 'model' / 'model_last.pth'}")
    report["weight_file"] = "model_last.pth"  # after one epoch the same weights as the best, by their hash
    assert json.loads((again / "test" / "metrics.json").read_text()) == report


def test_pointcept_trains_and_both_hosts_test_its_checkpoint(checkout, start, tmp_path):
    """Its own segmentor, losses, data set, transforms, evaluator and tester, with our backbone."""
    there, here = tmp_path / "there", tmp_path / "here"
    fine = "data.test.test_cfg.voxelize.grid_size=1e-4"  # a point a cell: which of several comes first is the host's
    log = start(str(checkout), "train", "semseg-bsa", f"save_path={there}", fine)
    assert "Train: [1/1]" in log and "Val result: mIoU/mAcc/allAcc" in log
    start("embedded", "test", "semseg-bsa", f"save_path={here}", f"weight={there / 'model' / 'model_best.pth'}", fine)
    one, other = (np.load(folder / "result" / "scene0003_00_pred.npy") for folder in (there, here))
    assert (one == other).mean() > 0.99


def test_voxels_hold_every_point_once_and_labels_stay_beside_their_points(scenes):
    data = DATASETS.build(dict(type="ScanNetDataset", split="val", data_root=str(scenes)))
    sample = data.get_data(0)
    whole = {key: value.copy() for key, value in sample.items() if isinstance(value, np.ndarray)}
    step = dict(type="GridSample", grid_size=0.1, return_grid_coord=True, return_inverse=True)
    voxels = TRANSFORMS.build(step)(
        TRANSFORMS.build(dict(type="Copy", keys_dict={"segment": "origin_segment"}))(sample)
    )
    cells = np.floor(whole["coord"] / 0.1).astype(int)
    cells -= cells.min(0)
    assert len(np.unique(cells, axis=0)) == len(voxels["coord"]) < len(cells)
    assert np.array_equal(voxels["grid_coord"][voxels["inverse"]], cells)
    assert np.array_equal(voxels["origin_segment"], whole["segment"])
    assert np.array_equal(voxels["segment"] == 0, voxels["coord"][:, 0] < 0.05)
    parts = TRANSFORMS.build(dict(step, mode="test"))(data.get_data(0))
    assert set(np.concatenate([part["index"] for part in parts])) == set(range(len(cells)))
    for part in parts:
        assert np.array_equal(part["coord"], whole["coord"][part["index"]])
        assert len(np.unique(part["grid_coord"], axis=0)) == len(part["coord"])


def test_colours_dropout_and_crops():
    np.random.seed(0)
    color = np.random.uniform(50, 100, (40, 3)).astype(np.float32)
    sample = dict(coord=np.random.rand(40, 3).astype(np.float32), color=color, segment=np.arange(40))

    def apply(**step):
        return TRANSFORMS.build(step)(dict(sample))

    assert np.allclose(apply(type="NormalizeColor")["color"] * 255, color)
    stretched = apply(type="ChromaticAutoContrast", p=1, blend_factor=1.0)["color"]
    assert np.allclose(stretched.min(0), 0, atol=1e-3) and np.allclose(stretched.max(0), 255, atol=1e-3)
    moved = apply(type="ChromaticTranslation", p=1, ratio=0.05)["color"] - color
    assert np.allclose(moved, moved[0], atol=1e-4) and 0 < abs(moved).max() <= 12.75
    noise = apply(type="ChromaticJitter", p=1, std=0.02)["color"] - color
    assert 3 < noise.std() < 7 and abs(noise.mean()) < 2
    dropped = apply(type="RandomDropout", dropout_ratio=0.25, dropout_application_ratio=1)
    assert len(dropped["coord"]) == 30 and np.array_equal(dropped["coord"], sample["coord"][dropped["segment"]])
    crop = apply(type="SphereCrop", point_max=10, mode="center")
    distance = np.linalg.norm(sample["coord"] - sample["coord"][20], axis=1)
    assert set(crop["segment"]) == set(np.argsort(distance)[:10])
    turned = apply(type="RandomRotateTargetAngle", angle=[1 / 2], axis="z", center=[0, 0, 0], p=1)["coord"]
    assert np.allclose(turned, sample["coord"][:, [1, 0, 2]] * [-1, 1, 1], atol=1e-6)


def test_scores_by_hand():
    pred, segment = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([0, 1, 1, 1, -1, 0])
    counts = class_counts(pred, segment, 3, -1)
    assert counts.tolist() == [[1, 2, 0], [3, 3, 1], [2, 3, 0]]
    found = scores(counts)
    assert found["iou"] == pytest.approx([1 / 3, 2 / 3, 0]) and found["mIoU"] == pytest.approx(1 / 3)
    assert found["allAcc"] == pytest.approx(3 / 5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(data_root="nowhere"), "no scenes"),
        (dict(test_mode=True, test_cfg=dict(voxelize=None)), "post_transform"),
    ],
)
def test_mistakes(change, words, scenes):
    with pytest.raises(InputError, match=words):
        DATASETS.build(dict(type="ScanNetDataset", data_root=str(scenes)) | change)


def test_damaged_scene_is_named(scenes, tmp_path):
    scene = tmp_path / "train" / "scene0"
    scene.mkdir(parents=True)
    np.save(scene / "coord.npy", np.zeros((5, 3)))
    np.save(scene / "color.npy", np.zeros((4, 3)))
    data = DATASETS.build(dict(type="ScanNetDataset", data_root=str(tmp_path)))
    with pytest.raises(InputError, match=r"color.*\(4, 3\)"):
        data[0]
