"""Normalisers of your own data know nothing of samples that are cut from the training part to validate."""

from __future__ import annotations

import json

import numpy as np
import pytest
from custom_files import open_all, prepare

from pointcept_bsa.datasets.point_field import CustomFieldDataset

FIELD = {"target": ("Static Pressure",), "fields": ("mach",), "scalars": ("lift",)}
COUNT = 12  # training samples, of which one validates


@pytest.fixture
def samples(tmp_path):
    """Folder of the files, and of each sample its pressure (N,), Mach number and lift; N varies."""
    random, found = np.random.default_rng(0), {}
    for part, count in (("train", COUNT), ("test", 2)):
        (tmp_path / "src" / part).mkdir(parents=True)
        for i in range(count):
            n = int(random.integers(5, 30))
            found[f"{part}/s{i}"] = p, mach, lift = random.normal(i, 1, n), float(i), float(i * i)
            arrays = {"coord": random.random((n, 3)), "Static Pressure": p, "mach": mach, "lift": lift}
            np.savez(tmp_path / "src" / part / f"s{i}.npz", **arrays)
    return tmp_path / "src", found


def statistics(values):
    return {"mean": [pytest.approx(np.mean(values))], "std": [pytest.approx(np.std(values))]}


def check(parts, found, wanted, source):
    """Of the samples ``wanted`` the normalisers, of the whole training split the inputs, in each part alike."""
    whole = [name for name in found if name.startswith("train/")]
    for data in parts.values():
        target, scalars = data.target_statistics(), data.scalar_statistics()
        pressure = np.concatenate([found[name][0] for name in wanted])
        assert target == statistics(pressure) | {"source": source}
        assert scalars == statistics([found[name][2] for name in wanted]) | {"source": source}
        assert data.input_scales()["mach"] == statistics([found[name][1] for name in whole])


def test_held_out_samples_are_not_in_the_normalisers(samples, tmp_path, prepare_tool):
    root, found = samples
    assert prepare(prepare_tool, root, tmp_path / "out", "--feature", "mach", "lift") == 0
    whole = [name for name in found if name.startswith("train/")]
    protocol = "training split, protocol folders, holdout seed 0"
    ways = {"files": dict(data_root=str(root)), "prepared": dict(data_root=str(tmp_path / "out"))}
    for way in ways.values():
        parts = open_all(**way, **FIELD)
        (held,) = parts["val"].data_list
        trained = [name for name in whole if name != held]
        assert sorted(parts["train"].data_list) == sorted(trained) and len(trained) == COUNT - 1
        check(parts, found, trained, f"{protocol}, those that validate (1) left out")
        check(open_all(**way, **FIELD, validation="test"), found, whole, protocol)


def test_a_folder_prepared_before_says_that_they_are(samples, tmp_path, prepare_tool):
    root, found = samples
    out = tmp_path / "out"
    assert prepare(prepare_tool, root, out, "--feature", "mach", "lift") == 0
    content = json.loads((out / "stats.json").read_text())
    (own,) = content["protocols"].values()
    assert own["samples"] == COUNT and own.pop("trained")["samples"] == COUNT - 1
    (out / "stats.json").write_text(json.dumps(content))
    source = "training split, protocol folders, holdout seed 0, those that validate (1) among them"
    check(open_all(data_root=str(out), **FIELD), found, [n for n in found if n.startswith("train/")], source)


def test_samples_of_a_validation_part_are_in_nothing(samples):
    root, found = samples
    (root / "val").mkdir()
    (root / "train" / "s0.npz").rename(root / "val" / "s0.npz")
    data = CustomFieldDataset("train", str(root), **FIELD)
    wanted = {name: values for name, values in found.items() if name != "train/s0"}
    trained = [name for name in wanted if name.startswith("train/")]
    check({"train": data}, wanted, trained, "training split, protocol folders")
