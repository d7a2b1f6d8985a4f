"""Rows in random order: every order as likely, kept rows any of them, one order for all arrays."""

from __future__ import annotations

import numpy as np

from pointcept_bsa.datasets.prepare.car_sets.convert import ShuffledRows


def test_every_order_of_rows_is_as_likely(tmp_path):
    """Four rows, buckets of two: all 24 orders come up, and as often as equal odds say (chi squared, 23 degrees)."""
    rows, counts, tries = np.arange(4, dtype=np.float32)[:, None], {}, 960
    for seed in range(tries):
        order = ShuffledRows(4, seed, bucket=2, block=3)
        order.write([(tmp_path / "a.npy", 1, "<f4")], ((block,) for block in (rows[:3], rows[3:])))
        key = tuple(np.load(tmp_path / "a.npy")[:, 0].tolist())
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 24
    expected = tries / 24
    assert sum((count - expected) ** 2 / expected for count in counts.values()) < 49.7  # exceeded once in a thousand


def test_kept_rows_are_any_of_them(tmp_path):
    """Of 40 rows about 8 are kept; over many draws each as often as the others, within four standard deviations."""
    rows, counts, tries, kept = np.arange(40, dtype=np.float32)[:, None], np.zeros(40), 300, 0
    for seed in range(tries):
        order = ShuffledRows(40, seed, keep=8, block=13)
        order.write([(tmp_path / "a.npy", 1, "<f4")], ((rows[i : i + 13],) for i in range(0, 40, 13)))
        found = np.load(tmp_path / "a.npy")[:, 0].astype(int)
        assert len(found) == order.kept >= 8
        counts[found] += 1
        kept += len(found)
    share = kept / tries / 40
    assert share < 0.25 and np.abs(counts / tries - share).max() < 4 * np.sqrt(share * (1 - share) / tries)


def test_arrays_of_one_order(tmp_path):
    count = 10_007
    values = np.arange(2.0 * count, dtype=np.float32).reshape(count, 2)
    order = ShuffledRows(count, 3, bucket=1000, block=777)
    blocks = [values[i : i + 777] for i in range(0, count, 777)]
    files = [(tmp_path / "a.npy", 2, "<f4"), (tmp_path / "b.npy", 1, "<f4")]
    order.write(files, ((block, block[:, :1]) for block in blocks))
    a, b = (np.load(path) for path, _, _ in files)
    np.testing.assert_array_equal(np.sort(a[:, 0]), values[:, 0])
    np.testing.assert_array_equal(a[:, :1], b)
    assert abs(np.corrcoef(a[:, 0], np.arange(count))[0, 1]) < 0.05
