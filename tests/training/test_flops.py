"""Operations are counted where they run."""

from __future__ import annotations

import os

import pytest
import torch
from torch import nn

from pointcept_bsa.ops.submanifold_conv import VoxelIndex, submanifold_conv
from pointcept_bsa.training.evaluation.flops import CONVOLUTION, count_flops


class Net(nn.Module):
    def forward(self, batch):
        self.told = os.environ[CONVOLUTION]
        return batch["x"] @ batch["x"].T


@pytest.mark.parametrize("before", [None, "torch"])
def test_convolutions_are_counted_and_the_choice_of_their_code_comes_back(before, monkeypatch):
    if before is None:
        monkeypatch.delenv(CONVOLUTION, raising=False)
    else:
        monkeypatch.setenv(CONVOLUTION, before)
    net = Net().train()
    assert count_flops(net, dict(x=torch.ones(3, 5))) == 2 * 3 * 3 * 5
    assert net.told == "reference" and os.environ.get(CONVOLUTION) == before and net.training


def test_a_convolution_multiplies_where_voxels_see_each_other_alone():
    cells = torch.tensor([[0, 0, 0], [1, 0, 0], [9, 9, 9], [1, 1, 1]])  # 0-1, 0-3 and 1-3 are neighbours
    index = VoxelIndex(cells, torch.zeros(4, dtype=torch.long), 1)

    class Convolution(nn.Module):
        def forward(self, batch):
            return submanifold_conv(batch["x"], torch.ones(6, 3, 3, 3, 5), None, index)

    assert count_flops(Convolution(), dict(x=torch.ones(4, 5))) == 2 * (4 + 2 * 3) * 5 * 6
