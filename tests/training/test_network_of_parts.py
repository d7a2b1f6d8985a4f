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


SIZES = ", ball_size=16, block_size=4, topk=2, group_size=4"
OTHERS = {  # in the place of type and sizes
    "full attention": ("FullAttention-v1m1", ""),
    "Erwin-NSA": ("ErwinNSA-v1m1", ", local_ball_size=16, compressed_ball_size=4, num_selected=2, num_neighbors=5"),
    "Erwin": (
        "Erwin-v1m1",
        ", ball_sizes=(16, 8), strides=(2,), enc_num_heads=(2, 2), enc_depths=(2, 2), dec_num_heads=(2,), "
        "dec_depths=(2,), edges='radius', radius=0.5",
    ),
}

NOT_HEARD = ".pooling.0.projection.bias"  # behind it the mean of the cloud is taken off: its gradient is rounding
OTHERWISE = ("model.backbone.group_compression=True", "model.backbone.checkpoint=True")
OTHERWISE += ("parallel=fsdp2", "optimizer.type=AdamW")


def assert_same_weights(parts, whole):
    found, wanted = ({k: v for k, v in load(run)["state_dict"].items() if NOT_HEARD not in k} for run in (parts, whole))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options", [(), OTHERWISE], ids=["", "group compression, recomputed blocks, shards"])
def test_bsa(tmp_path, options):
    config = written(tmp_path, "ellipsoid_flow", NETWORK)
    whole = run(1, config, tmp_path / "whole", *options)
    parts = run(2, config, tmp_path / "parts", "context_parallel=2", *options)
    assert curve(parts) == pytest.approx(curve(whole), rel=1e-5)
    # AdamW divides gradients by their size, small ones with their rounding: a step is 2e-3
    assert_same_weights(parts, whole)
    assert_close(numbers(parts), numbers(whole))


@pytest.mark.parametrize("name", OTHERS)
def test_other_networks(tmp_path, name):
    kind, sizes = OTHERS[name]
    text = NETWORK.replace(SIZES, sizes).replace("BSA-v1m1", kind)
    if name == "Erwin":
        text = text.replace("channels=16, depth=2, num_heads=2", "channels=(16, 24)")
    config = written(tmp_path, "ellipsoid_flow", text)
    whole, parts = run(1, config, tmp_path / "whole"), run(2, config, tmp_path / "parts", "context_parallel=2")
    assert curve(parts) == pytest.approx(curve(whole), rel=1e-5)
    assert_same_weights(parts, whole)
    assert_close(numbers(parts), numbers(whole))
