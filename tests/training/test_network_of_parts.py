"""A network of the package whose clouds processes share, trained and tested, against whole clouds."""

from __future__ import annotations

import pytest
import torch
from parts_runs import assert_close, curve, numbers, run, written
from test_training import load

NETWORK = """
network = dict(channels=16, depth=2, num_heads=2, ball_size=16, block_size=4, topk=2, group_size=4)
model = dict(backbone=dict(type="BSA-v1m1", in_channels=24, **network), head=dict(in_channels=16))
common = dict(num_samples=4, num_points=71)
data = dict(train=dict(cache=False, **common), val=dict(cache=False, **common), test=common)
del common, network
max_iters = 4
eval_every = 4
test = dict(pictures=False)
hooks = [
    dict(type="FitTargetNormalizer"),
    dict(type="CheckpointLoader"),
    dict(type="ModelHook"),
    dict(type="InformationWriter"),
    dict(type="RegressionEvaluator"),
    dict(type="CheckpointSaver"),
    dict(type="PreciseEvaluator"),
]
"""


FULL = NETWORK.replace(", ball_size=16, block_size=4, topk=2, group_size=4", "").replace(
    "BSA-v1m1", "FullAttention-v1m1"
)

OTHERWISE = ("model.backbone.group_compression=True", "model.backbone.recompute=True")
OTHERWISE += ("parallel=fsdp2", "optimizer.type=AdamW")


@pytest.mark.parametrize("options", [(), OTHERWISE], ids=["", "group compression, recomputed blocks, shards"])
def test_bsa(tmp_path, options):
    config = written(tmp_path, "ellipsoid_flow", NETWORK)
    whole = run(1, config, tmp_path / "whole", *options)
    parts = run(2, config, tmp_path / "parts", "context_parallel=2", *options)
    assert curve(parts) == pytest.approx(curve(whole), rel=1e-5)
    # AdamW divides gradients by their size, small ones with their rounding: a step is 2e-3
    torch.testing.assert_close(load(parts)["state_dict"], load(whole)["state_dict"], rtol=1e-5, atol=1e-5)
    assert_close(numbers(parts), numbers(whole))


def test_full_attention(tmp_path):
    config = written(tmp_path, "ellipsoid_flow", FULL)
    whole, parts = run(1, config, tmp_path / "whole"), run(2, config, tmp_path / "parts", "context_parallel=2")
    assert curve(parts) == pytest.approx(curve(whole), rel=1e-5)
    torch.testing.assert_close(load(parts)["state_dict"], load(whole)["state_dict"], rtol=1e-5, atol=1e-5)
    assert_close(numbers(parts), numbers(whole))
