"""Two processes against one, breaking off and going on (gloo, on the CPU)."""

from __future__ import annotations

import pytest
import torch
from host_toys import read_metrics
from processes import train_in
from test_training import assert_same_run, load, train

# float32 sums of the same terms in another order, over 6 steps
TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}
# Clouds of 4 to 11 points; each process gets as many of them, not as many points.
COMMON = ("model.type=CloudLine", "max_iters=6", "eval_every=3", "data.train.num_samples=8", "log_interval=2")
COMMON += ("optimizer.lr=0.01", "scheduler.max_lr=0.01")
NO_TEST = "hooks.7.type=Diary"


def curve(folder) -> list[float]:
    return [record["loss"] for record in read_metrics(folder)]


@pytest.fixture
def one(config, tmp_path):
    """One process, batches of 4 clouds."""
    folder = tmp_path / "one"
    assert train(config, *COMMON, "batch_size=4", NO_TEST, f"save_path={folder}") == 0
    return folder


@pytest.mark.parametrize(
    "options",
    [
        ("batch_size=4",),
        ("batch_size=4", "parallel=flat"),
        ("batch_size=2", "gradient_accumulation_steps=2"),
        ("batch_size=2", "gradient_accumulation_steps=2", "parallel=flat", "clip_grad=100"),
    ],
    ids=["ddp", "flat", "ddp, accumulated", "flat, accumulated"],
)
def test_the_same_global_batch_gives_the_same_training(config, tmp_path, one, options):
    two = tmp_path / "two"
    codes, said = train_in(2, config, *COMMON, *options, NO_TEST, f"save_path={two}")
    assert codes == [0, 0], said
    torch.testing.assert_close(load(two)["state_dict"], load(one)["state_dict"], **TOLERANCE)
    assert curve(two) == pytest.approx(curve(one), rel=1e-5) and len(curve(two)) == 4


RANDOM = (
    *COMMON,
    "model.dropout=0.5",
    "data.train.noise=0.5",
    "batch_size=4",
    "save_every=2",
    "ema.decay=0.9",
    NO_TEST,
)


def test_resumed_under_two_and_under_one(config, tmp_path):
    unbroken, broken, fewer = (tmp_path / name for name in ("unbroken", "broken", "fewer"))
    codes, said = train_in(2, config, *RANDOM, f"save_path={unbroken}")
    assert codes == [0, 0], said
    states = load(unbroken)["rng"]
    assert not torch.equal(states[0]["torch"], states[1]["torch"])  # each its own stream
    options = [option for option in RANDOM if option != NO_TEST]
    kill = ["hooks.7.type=KillAt", "hooks.7.iteration=5"]
    codes, said = train_in(2, config, *options, *kill, f"save_path={broken}")
    assert codes[1] == -9 and codes[0] == 2 and "another process of this run has ended" in said
    assert load(broken)["iter"] == 4
    fewer.mkdir()
    (broken / "model").rename(fewer / "model")
    codes, said = train_in(
        2, config, *RANDOM, f"save_path={broken}", f"weight={fewer}/model/model_last.pth", resume=True
    )
    assert codes == [0, 0], said
    assert_same_run(load(unbroken), {**load(broken), "config_hash": load(unbroken)["config_hash"]})

    codes, said = train_in(1, config, *RANDOM, f"save_path={fewer}", resume=True)
    assert codes == [0], said
    assert "was written by 2 processes, this run has 1. As before: the batches" in said


def test_resumed_under_another_number_without_dropout_the_training_is_the_same(config, tmp_path, one):
    folder = tmp_path / "changing"
    options = (*COMMON, "batch_size=4", "save_every=2", f"save_path={folder}")
    for count, stop in ((1, 3), (2, 5)):
        kill = ("hooks.7.type=KillAt", f"hooks.7.iteration={stop}", "hooks.7.rank=0")
        codes, said = train_in(count, config, *options, *kill, resume=count > 1)
        assert codes[0] == -9, said
    codes, said = train_in(1, config, *options, NO_TEST, resume=True)
    assert codes == [0], said
    torch.testing.assert_close(load(folder)["state_dict"], load(one)["state_dict"], **TOLERANCE)
    assert len(curve(folder)) == len(curve(one))
    assert curve(folder) == pytest.approx(curve(one), rel=1e-5)
