"""Parts of samples that are read without the rest."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pointcept_bsa.datasets.point_field import CustomFieldDataset
from pointcept_bsa.distributed.parts import cut
from pointcept_bsa.errors import InputError
from pointcept_bsa.training.env import seeded

POINTS = 9
COLLECT = dict(type="CollectPoints", keys=("coord", "target", "name"), feat_keys=("fourier", "mach"))
BY_POINT = [dict(type="RandomMirror"), dict(type="FourierFeatures", num_bands=1), COLLECT]


@pytest.fixture
def folder(tmp_path, prepare_tool):
    """A prepared folder of samples with a number of the whole sample, and faces."""
    rng = np.random.default_rng(0)
    (tmp_path / "raw").mkdir()
    for i in range(4):
        arrays = dict(coord=rng.random((POINTS, 3)), p=rng.random(POINTS), mach=np.array([0.1 * i]))
        np.savez(tmp_path / "raw" / f"s{i}.npz", face=np.array([[0, 4, 8]]), **arrays)
    words = ["--src", tmp_path / "raw", "--dst", tmp_path / "out", "--target", "p", "--feature", "mach"]
    assert prepare_tool.main(["custom", *map(str, words)]) == 0
    return tmp_path / "out"


def opened(folder, transform=BY_POINT, **options) -> CustomFieldDataset:
    return CustomFieldDataset("train", str(folder), transform=transform, **options)


@pytest.mark.parametrize("cache", [False, True])
def test_it_is_cut_from_the_whole(folder, cache):
    data = opened(folder, cache=cache)
    for rank in (0, 1, 0):
        for index in range(len(data)):
            with seeded(index):
                whole = data[index]
            data = opened(folder, cache=cache) if cache else data
            with seeded(index):
                part = data.get_part(index, rank, 2)
            wanted = cut(whole, rank, 2)
            assert part.pop("name") == wanted.pop("name")
            torch.testing.assert_close(part, wanted, rtol=0, atol=0)


def test_other_rows_are_not_looked_at(folder):
    path = next(folder.glob("s*/p.npy"))
    values = np.load(path)
    values[-1] = np.nan
    np.save(path, values)
    every = (CustomFieldDataset(split, str(folder), transform=BY_POINT) for split in ("train", "val", "test"))
    data = next(data for data in every if path.parent.name in data.sample_names)
    index = data.sample_names.index(path.parent.name)
    assert len(data.get_part(index, 0, 2)["coord"]) == POINTS // 2
    with pytest.raises(InputError, match="has 1 NaN or infinite of 5 values"):
        data.get_part(index, 1, 2)


def test_transforms_that_look_at_the_cloud_want_the_whole(folder):
    sampled = [dict(type="SamplePoints", num_points=5), *BY_POINT]
    assert opened(folder, sampled).get_part(0, 0, 2) is None
    assert opened(folder, ()).get_part(0, 0, 2) is None


def test_fewer_points_than_processes_are_refused(folder):
    with pytest.raises(InputError, match="context_parallel: got 10 processes for 's[0-9]' of 9 points"):
        opened(folder).get_part(0, 0, 10)
