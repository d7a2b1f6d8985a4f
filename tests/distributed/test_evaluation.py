"""Evaluation shared out among processes."""

from __future__ import annotations

import pytest
import torch
from together import together
from torch import nn

from pointcept_bsa.host import collate_fn
from pointcept_bsa.training.evaluation.evaluation import evaluate
from pointcept_bsa.training.loader import build_eval_loader


class Line(nn.Module):
    """A prediction, and what it is judged by."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 1)

    def forward(self, batch):
        """In evaluation alone."""
        return dict(pred=self.linear(batch["coord"]), loss=torch.zeros(()))


def evaluated(rank):
    """The samples that a process judges, and the errors that it has in the end."""
    torch.manual_seed(0)
    clouds = [torch.randn(n, 3) for n in (4, 9, 5, 11, 7)]
    data = [
        dict(coord=coord, target=coord[:, :1], offset=torch.tensor([len(coord)]), name=str(len(coord)))
        for coord in clouds
    ]
    batches = list(build_eval_loader(data, "data.val", 2, 0, collate_fn, False))
    records = evaluate(Line(), batches, ["mse"])
    return [name for batch in batches for name in batch["name"]], {r["name"]: r["mse"] for r in records}


def test_every_sample_counts_once_however_they_are_shared():
    """5 samples on 1 to 8 processes, the last with none for some."""
    ((names, alone),) = together(1, evaluated)
    assert names == ["4", "9", "5", "11", "7"] and alone.keys() == {*names} and len({*alone.values()}) == 5
    for size in (2, 4, 8):
        found = together(size, evaluated, context_parallel=1)
        assert sorted(name for own, _ in found for name in own) == sorted(names)
        assert all(records == pytest.approx(alone, rel=1e-6) for _, records in found)
