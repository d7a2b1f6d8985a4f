"""A network of the package whose clouds processes share, trained and tested, against whole clouds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from parts_runs import assert_close, curve, numbers, run, written
from processes import run_in, train_in
from test_training import load

from pointcept_bsa.__main__ import main as command
from pointcept_bsa.mesh_io import read_mesh

NETWORK = """
network = dict(channels=16, depth=2, num_heads=2, ball_size=16, block_size=4, topk=2, group_size=4)
model = dict(backbone=dict(type="BSA-v1m1", in_channels=24, **network), head=dict(in_channels=16))
common = dict(num_samples=4, num_points=71)
data = dict(train=dict(cache=False, **common), val=dict(cache=False, **common), test=common)
del common, network
max_iters = 4
eval_every = 4
test = dict(pictures=False, export=("vtp",))
hooks = [
    dict(type="FitTargetNormalizer"),
    dict(type="CheckpointLoader"),
    dict(type="ModelHook"),
    dict(type="InformationWriter"),
    dict(type="RegressionEvaluator"),
    dict(type="CheckpointSaver"),
    dict(type="PreciseEvaluator"),
    dict(type="Diary"),
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
SMALL = ("data.train.num_points=15",)
OTHERWISE = ("model.backbone.group_compression=True", "model.backbone.recompute=True")
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


def test_bfloat16(tmp_path):
    # weights cast, and gradients collected, at once; one by one in shards and on one process
    config, amp = written(tmp_path, "ellipsoid_flow", NETWORK), ("enable_amp=True", "amp_dtype=bfloat16")
    amp += ("optimizer.type=AdamW",)
    whole = run(1, config, tmp_path / "whole", *amp)
    parts = run(2, config, tmp_path / "parts", "context_parallel=2", *amp)
    shards = run(2, config, tmp_path / "shards", "context_parallel=2", "parallel=fsdp2", *amp)
    assert curve(parts) == pytest.approx(curve(shards), rel=1e-4)
    assert curve(parts) == pytest.approx(curve(whole), rel=2e-3)


def other(name: str, folder: Path) -> str:
    """The config of another network."""
    kind, sizes = OTHERS[name]
    text = NETWORK.replace(SIZES, sizes).replace("BSA-v1m1", kind)
    if name == "Erwin":
        text = text.replace("channels=16, depth=2, num_heads=2", "channels=(16, 24)")
    return written(folder, "ellipsoid_flow", text)


BATCH_NORM = ("model.norm=batch", "optimizer.type=SGD")  # AdamW would make much of biases that are not heard


@pytest.mark.parametrize("name, options", [*((name, ()) for name in OTHERS), ("Erwin", BATCH_NORM)])
def test_other_networks(tmp_path, name, options):
    config = other(name, tmp_path)
    whole = run(1, config, tmp_path / "whole", *options)
    parts = run(2, config, tmp_path / "parts", "context_parallel=2", *options)
    assert curve(parts) == pytest.approx(curve(whole), rel=1e-5)
    assert_same_weights(parts, whole)
    assert_close(numbers(parts), numbers(whole))


def test_erwin_goes_on_with_another_number_of_processes_and_predicts(tmp_path):
    config = other("Erwin", tmp_path)
    whole = run(1, config, tmp_path / "whole")
    kill = ("save_every=2", "hooks.7.type=KillAt", "hooks.7.iteration=3", "hooks.7.rank=1")
    codes, said = train_in(2, config, f"save_path={tmp_path}/parts", "context_parallel=2", *kill)
    assert codes == [2, -9] and "Traceback" not in said, said
    parts = run(4, config, tmp_path / "parts", "context_parallel=4", resume=True)
    assert curve(parts) == pytest.approx(curve(whole), rel=1e-5)
    assert_same_weights(parts, whole)
    source, found = whole / "test" / "export" / "ellipsoid_test_0.vtp", []
    for count in (1, 2):
        words = ["predict", "--weight", str(whole), "--input", str(source), "--output", f"{tmp_path}/{count}.vtp"]
        codes, said = run_in(count, command, [*words, "--options", "device=cpu"])
        assert codes == [0] * count, said
        found.append(read_mesh(tmp_path / f"{count}.vtp").point_data)
    for key in found[0]:
        np.testing.assert_allclose(found[1][key], found[0][key], rtol=1e-4, atol=1e-5)


def test_clouds_too_small_for_the_processes(tmp_path):
    codes, said = train_in(2, other("Erwin", tmp_path), f"save_path={tmp_path}/run", "context_parallel=2", *SMALL)
    assert codes == [2, 2] and "Traceback" not in said, said
    assert "got a cloud of 15 points for 2 processes, wanted at least 2 times 16 slots" in said
