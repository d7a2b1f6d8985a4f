"""Clouds of many sizes brought to few."""

from __future__ import annotations

import numpy as np
import pytest

from pointcept_bsa.errors import InputError
from pointcept_bsa.host import TRANSFORMS


def cloud(n: int) -> dict:
    coord = np.random.default_rng(n).random((n, 3), dtype=np.float32)
    return {"coord": coord, "target": coord[:, :1].copy(), "name": "x"}


def test_few_sizes_and_little_waste():
    bucket = TRANSFORMS.build(dict(type="BucketPoints", largest=4096, waste=0.1, unit=64))
    sizes = {n: bucket.size(n) for n in range(64, 6000)}
    assert len(set(sizes.values())) < 45 and max(sizes.values()) == 4096
    for n, kept in sizes.items():
        assert kept % 64 == 0 and kept <= n
        assert min(n, 4096) - kept < 0.1 * n + 64
    assert bucket.size(4096) == 4096 and bucket.size(63) == 63


def test_fields_stay_together_and_other_draws_leave_out_other_points():
    bucket = TRANSFORMS.build(dict(type="BucketPoints", largest=100, waste=0.2))
    drawn = []
    for seed in (0, 0, 1):
        np.random.seed(seed)
        out = bucket(cloud(150))
        assert out["coord"].shape == (100, 3) and np.array_equal(out["coord"][:, :1], out["target"])
        drawn.append(out["coord"])
    assert np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[0], drawn[2])


@pytest.mark.parametrize("bad", [dict(waste=0.0), dict(waste=1.0), dict(unit=0), dict(unit=200)])
def test_arguments(bad):
    with pytest.raises(InputError, match="BucketPoints: got"):
        TRANSFORMS.build(dict(type="BucketPoints", largest=100, **bad))
