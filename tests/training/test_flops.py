"""Operations are counted where they run."""

from __future__ import annotations

import os

import pytest
import torch
from torch import nn

from pointcept_bsa.training.evaluation.flops import CONVOLUTION, count_flops


class Net(nn.Module):
    def forward(self, batch):
        self.told = os.environ[CONVOLUTION]
        return batch["x"] @ batch["x"].T


@pytest.mark.parametrize("before", [None, "reference"])
def test_convolutions_are_counted_and_the_choice_of_their_code_comes_back(before, monkeypatch):
    if before is None:
        monkeypatch.delenv(CONVOLUTION, raising=False)
    else:
        monkeypatch.setenv(CONVOLUTION, before)
    net = Net().train()
    assert count_flops(net, dict(x=torch.ones(3, 5))) == 2 * 3 * 3 * 5
    assert net.told == "torch" and os.environ.get(CONVOLUTION) == before and net.training
