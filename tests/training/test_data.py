from __future__ import annotations

import os
import warnings

import numpy as np
import pytest
import torch
from processes import one_of

from pointcept_bsa.errors import InputError
from pointcept_bsa.host import Compose, Point, collate_fn
from pointcept_bsa.training.loader import StreamBatchSampler, build_eval_loader, make_plan


def sample(points: int, name: str) -> dict:
    return {"coord": torch.full((points, 3), float(points)), "offset": torch.tensor([points]), "name": name}


def test_collate_makes_offsets_cumulative():
    batch = collate_fn([sample(2, "a"), sample(3, "b"), sample(1, "c")])
    assert batch["offset"].tolist() == [2, 5, 6]
    assert batch["coord"][:, 0].tolist() == [2, 2, 3, 3, 3, 1]
    assert batch["name"] == ["a", "b", "c"]
    assert Point(batch).batch.tolist() == [0, 0, 1, 1, 1, 2]


def test_collate_accepts_samples_that_are_batches():
    pair = collate_fn([sample(2, "a"), sample(3, "b")])
    single = {**sample(4, "c"), "name": ["c"]}
    del pair["name"], single["name"]
    assert collate_fn([pair, single])["offset"].tolist() == [2, 5, 9]


def test_collate_names_the_key_that_does_not_fit():
    with pytest.raises(InputError, match="target"):
        collate_fn([{"target": torch.zeros(3, 1)}, {"target": torch.zeros(3, 2)}])
    with pytest.raises(InputError, match="normal"):
        collate_fn([sample(2, "a") | {"normal": torch.zeros(2, 3)}, sample(2, "b")])


def test_point_fills_offset_from_batch_and_takes_empty_clouds():
    assert Point(batch=torch.tensor([0, 0, 1])).offset.tolist() == [2, 3]
    assert Point(offset=torch.tensor([2, 2, 3]), coord=torch.zeros(3, 2)).batch.tolist() == [0, 0, 2]


@pytest.mark.parametrize("dim", [2, 3])
def test_transforms_keep_points_and_fields_together(dim):
    rng = np.random.default_rng(0)
    coord = rng.standard_normal((50, dim)).astype(np.float32)
    normal = coord / np.linalg.norm(coord, axis=1, keepdims=True)
    steps = [
        {"type": "ShufflePoint"},
        {"type": "RandomRotate", "angle": [-1, 1], "axis": "y", "always_apply": True, "center": [0.0] * dim},
        {"type": "RandomScale", "scale": [2.0, 2.0]},
        {"type": "RandomFlip", "p": 1.0},
        {"type": "ToTensor"},
        {"type": "Collect", "keys": ["coord", "target", "normal"], "feat_keys": ["coord", "normal"]},
    ]
    target = np.linalg.norm(coord, axis=1, keepdims=True)
    data = Compose(steps)({"coord": coord.copy(), "normal": normal.copy(), "target": target, "name": "x"})
    radius = data["coord"].norm(dim=1, keepdim=True)
    torch.testing.assert_close(radius, 2 * data["target"])
    torch.testing.assert_close(data["normal"], data["coord"] / radius)
    assert data["feat"].shape == (50, 2 * dim) and data["offset"].tolist() == [50]
    assert not np.allclose(data["coord"].numpy(), coord)


def test_unknown_transform_is_an_input_error():
    with pytest.raises(InputError, match="RandomRotate"):
        Compose([{"type": "RandmRotate"}])


def test_sampler_goes_through_all_samples_in_every_pass_whatever_the_epochs():
    sampler = StreamBatchSampler(num_samples=6, batch_size=2, seed=1)
    plan = make_plan(sampler.batches_per_pass, eval_epoch=4, max_iters=9)
    stream = []
    for epoch in range(plan.max_epoch):
        sampler.set_span(plan.batches(epoch))
        batches = list(sampler)
        assert len(batches) == len(sampler)
        stream += [index for batch in batches for index, _ in batch]
    assert len(stream) == 18
    passes = [stream[start : start + 6] for start in (0, 6, 12)]
    assert all(sorted(one) == list(range(6)) for one in passes)
    assert passes[0] != passes[1]


def test_sampler_shares_a_batch_among_processes():
    def draws(rank: int, world: int, context_parallel: int = 1) -> list:
        with one_of(world, rank, context_parallel):
            return list(StreamBatchSampler(num_samples=9, batch_size=4, seed=0))

    whole, halves = draws(0, 1), (draws(0, 2), draws(1, 2))
    for batch, *parts in zip(whole, *halves, strict=True):
        assert sorted(batch) == sorted(parts[0] + parts[1]) and len(parts[0]) == len(parts[1])
    assert [draws(rank, 4, 2) for rank in range(4)] == [halves[0], halves[0], halves[1], halves[1]]
    for rank in range(2):  # one of three samples comes twice, so that neither process has fewer
        with one_of(2, rank):
            few = StreamBatchSampler(num_samples=3, batch_size=8, seed=0)
        assert few.batches_per_pass == 1 and len(next(iter(few))) == 2


def test_evaluation_shares_the_samples_and_takes_none_twice():
    def names(rank: int, world: int, context_parallel: int = 1) -> list:
        with one_of(world, rank, context_parallel):
            return [name for batch in build_eval_loader("abcde", "data.val", 2, 0, list, False) for name in batch]

    assert [names(rank, 2) for rank in range(2)] == [["a", "c", "e"], ["b", "d"]]
    assert sum((names(rank, 8) for rank in range(8)), []) == [*"abcde"]  # and three have none


@pytest.mark.parametrize(
    ("arguments", "ends"),
    [
        ({"batches_per_pass": 3, "eval_epoch": 2}, (0, 3, 6)),
        ({"batches_per_pass": 5, "eval_epoch": 2, "accumulate": 2}, (0, 2, 5)),
        ({"batches_per_pass": 3, "eval_epoch": 2, "max_iters": 7}, (0, 3, 7)),
        ({"batches_per_pass": 3, "eval_epoch": 2, "max_iters": 7, "eval_every": 3}, (0, 3, 6, 7)),
        ({"batches_per_pass": 3, "eval_epoch": 2, "max_iters": 6, "eval_every": 3}, (0, 3, 6)),
        ({"batches_per_pass": 3, "eval_epoch": 100, "max_iters": 2}, (0, 1, 2)),
    ],
)
def test_plan(arguments, ends):
    assert make_plan(**arguments).ends == ends


def test_many_loading_processes_are_told_once(capsys):
    many = (os.cpu_count() or 1) + 97  # which no other test asks for
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            build_eval_loader([1, 2, 3], "data.test", 1, many, list, False)
    assert capsys.readouterr().out.count(f"num_worker: {many} loading processes on") == 1
