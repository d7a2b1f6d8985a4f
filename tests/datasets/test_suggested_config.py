"""The configs that ``prepare_data.py custom`` writes beside the data fit them: built, and a step taken."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pointcept_bsa.datasets.custom.suggested_config import NETWORKS, ball_size, number_of_bands
from pointcept_bsa.host import DATASETS, MODELS, collate_fn
from pointcept_bsa.host.embedded.config import load_config


def write_clouds(folder, dimension, points, **fields):
    rng = np.random.default_rng(0)
    folder.mkdir()
    for i in range(6):
        coord = rng.random((points, dimension)) * 30
        arrays = {name: rng.normal(size=(points, k)) * 500 for name, k in fields.items()}
        np.savez(folder / f"s{i}.npz", coord=coord, mach=np.array([0.1 * i]), **arrays)


def step(path):
    cfg = load_config(str(path))
    data = DATASETS.build(cfg.data.train)
    batch = collate_fn([data[i] for i in range(min(cfg.batch_size, len(data)))])
    model = MODELS.build(cfg.model)
    statistics = data.target_statistics()
    model.normalizer.set(statistics["mean"], statistics["std"])
    loss = model.train()(batch)["loss"]
    loss.backward()
    assert loss.isfinite() and all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    with torch.no_grad():
        test = DATASETS.build(cfg.data.test)
        assert model.eval()(collate_fn([test[0]]))["pred"].shape == test[0]["target"].shape
    return cfg, data, batch


@pytest.mark.parametrize("network", NETWORKS)
def test_three_dimensions_one_target(network, tmp_path, prepare_tool, capsys):
    write_clouds(tmp_path / "raw", 3, 300, pressure=1)
    out = tmp_path / "my cars"
    assert prepare_tool.main(["custom", "--src", str(tmp_path / "raw"), "--dst", str(out), "--target", "pressure"]) == 0
    assert f"python tools/train.py --config '{out / 'bsa.py'}'\n" in capsys.readouterr().out
    cfg, data, batch = step(out / f"{network}.py")
    bands = (batch["feat"].shape[1] // 3 - 1) // 2
    assert cfg.model.backbone.in_channels == batch["feat"].shape[1] == 3 * (2 * bands + 1)
    assert cfg.model.head.out_channels == 1
    if network in ("bsa", "bsa_hierarchical"):
        assert cfg.model.backbone.ball_size == 512  # holds the 300 points


@pytest.mark.parametrize(("points", "steps"), [(2047, None), (2048, 3)])
def test_messages_before_bsa_in_clouds_of_thousands_of_points(points, steps, tmp_path, prepare_tool, capsys):
    write_clouds(tmp_path / "raw", 2, points, pressure=1)
    out = tmp_path / "data"
    prepare_tool.main(["custom", "--src", str(tmp_path / "raw"), "--dst", str(out), "--target", "pressure"])
    assert (", 3 steps of messages in bsa.py and bsa_hierarchical.py" in capsys.readouterr().out) == bool(steps)
    found = {network: load_config(str(out / f"{network}.py")).model.backbone.get("mp_steps") for network in NETWORKS}
    assert found.pop("bsa") == found.pop("bsa_hierarchical") == steps
    assert not any(found.values())  # Erwin and Erwin-NSA have their own default
    step(out / "bsa.py")


def test_one_ball_holds_a_small_cloud():
    assert [ball_size(n) for n in (1, 8, 9, 152, 256, 257, 512)] == [8, 8, 16, 256, 256, 512, 512]
    assert ball_size(513) is None


@pytest.mark.parametrize("network", NETWORKS)
def test_two_dimensions_two_targets_features_and_parameters(network, tmp_path, prepare_tool):
    write_clouds(tmp_path / "raw", 2, 300, velocity=2, roughness=1)
    arguments = ["--target", "velocity", "--feature", "roughness", "mach"]
    out = tmp_path / "out"
    assert prepare_tool.main(["custom", "--src", str(tmp_path / "raw"), "--dst", str(out), *arguments]) == 0
    cfg, data, batch = step(out / f"{network}.py")
    assert ("dimensionality" in cfg.model.backbone) == NETWORKS[network]
    assert cfg.model.head.out_channels == 2
    roughness, mach = torch.cat([torch.as_tensor(data[i]["feat"][:, -2:]) for i in range(len(data))]).T
    assert abs(roughness.mean()) < 0.05 and abs(roughness.std() - 1) < 0.05  # from numbers of about 500
    assert len(mach.unique()) == len(data)


def test_several_targets_count_alike_whatever_their_units(tmp_path, prepare_tool):
    """Pressures of 500 and velocities of 5: an error of the deviation of either weighs the same in the loss."""
    write_clouds(tmp_path / "raw", 3, 300, pressure=1, velocity=1)
    for path in (tmp_path / "raw").iterdir():
        with np.load(path) as file:
            arrays = dict(file)
        np.savez(path, **{**arrays, "velocity": arrays["velocity"] / 100})
    out = tmp_path / "out"
    words = ["custom", "--src", str(tmp_path / "raw"), "--dst", str(out), "--target", "pressure", "velocity"]
    assert prepare_tool.main(words) == 0
    _, data, batch = step(out / "bsa.py")
    model = MODELS.build(load_config(str(out / "bsa.py")).model)
    statistics = data.target_statistics()
    model.normalizer.set(statistics["mean"], statistics["std"])
    truth = model.normalizer.normalize(batch["target"])
    losses = [
        float(model.losses(truth + torch.eye(2)[channel], batch["target"], batch["offset"])["loss"])
        for channel in (0, 1)
    ]
    assert losses == pytest.approx([0.5**0.5] * 2, rel=0.1)
    assert "criteria" not in (write_one_target(tmp_path, prepare_tool) / "bsa.py").read_text()


def write_one_target(folder, prepare_tool):
    write_clouds(folder / "single", 3, 40, pressure=1)
    words = ["custom", "--src", str(folder / "single"), "--dst", str(folder / "one"), "--target", "pressure"]
    assert prepare_tool.main(words) == 0
    return folder / "one"


def test_large_clouds_are_sampled_in_training_alone(tmp_path, prepare_tool):
    write_clouds(tmp_path / "raw", 2, 9000, velocity=2)
    out = tmp_path / "out"
    assert prepare_tool.main(["custom", "--src", str(tmp_path / "raw"), "--dst", str(out), "--target", "velocity"]) == 0
    cfg = load_config(str(out / "bsa.py"))
    assert len(DATASETS.build(cfg.data.train)[0]["coord"]) == 8192
    assert len(DATASETS.build(cfg.data.test)[0]["coord"]) == 9000
    assert cfg.batch_size == 2
    sizes = MODELS.build(load_config(str(out / "bsa_hierarchical.py")).model.backbone).tree.levels
    assert sizes.divide((8192,))  # levels in the training, too, or they would be untrained in the test


def test_what_a_user_changed_stays(tmp_path, prepare_tool, capsys):
    write_clouds(tmp_path / "raw", 3, 40, pressure=1)
    out = tmp_path / "out"
    command = ["custom", "--src", str(tmp_path / "raw"), "--dst", str(out), "--target", "pressure"]
    assert prepare_tool.main(command) == 0
    first = (out / "bsa.py").read_text()
    (out / "bsa.py").write_text(first + "max_iters = 7\n")
    assert prepare_tool.main(command) == 0
    assert (out / "bsa.py").read_text() == first + "max_iters = 7\n" and "kept" in capsys.readouterr().out
    assert prepare_tool.main([*command, "--overwrite"]) == 0 and (out / "bsa.py").read_text() == first


def test_the_last_wave_spans_two_and_a_half_points():
    assert [number_of_bands(s) for s in (0.0, 0.19, 0.21, 0.39, 0.41, 5.0)] == [3, 3, 2, 2, 1, 1]
