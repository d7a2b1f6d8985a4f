"""Parameters in shards (FSDP2) over two processes on the CPU."""

from __future__ import annotations

import pytest
import torch
from processes import one_of, train_in
from test_training import load, train
from test_two_processes import COMMON, NO_TEST, TOLERANCE, curve

from pointcept_bsa.host.embedded.config import Config
from pointcept_bsa.training.processes.parallel import check_parallel, mode_of

MODEL = ("model.type=BlockLine", "batch_size=4", "save_every=2", "clip_grad=1.0")


def test_shards_train_what_one_process_does_and_their_checkpoints_are_anyones(config, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    options = [option for option in COMMON if "model.type" not in option] + [*MODEL]
    assert train(config, *options, NO_TEST, f"save_path={one}") == 0
    kill = ("hooks.7.type=KillAt", "hooks.7.iteration=5", "hooks.7.rank=0")
    codes, said = train_in(2, config, *options, "parallel=fsdp2", *kill, f"save_path={two}")
    assert codes[0] == -9 and "iter 3/6" in said, said
    assert load(two)["iter"] == 4
    # the whole tensors of the checkpoint go back into shards, and after the training the whole model is tested
    test_of_the_best = "hooks.7.type=PreciseEvaluator"
    codes, said = train_in(2, config, *options, "parallel=fsdp2", test_of_the_best, f"save_path={two}", resume=True)
    assert codes == [0, 0] and "Test loss" in said, said
    left, right = load(one), load(two)
    torch.testing.assert_close(right["state_dict"], left["state_dict"], **TOLERANCE)
    torch.testing.assert_close(right["optimizer"]["state"], left["optimizer"]["state"], **TOLERANCE)
    assert curve(two)[2:] == pytest.approx(curve(one)[2:], rel=1e-5)


@pytest.fixture
def pair():
    """This process is the first of two."""
    with one_of(2):
        yield


@pytest.mark.parametrize("wrong", [dict(ema=dict(decay=0.9)), dict(optimizer=dict(type="Muon"))])
def test_what_cannot_be_sharded_is_an_error(pair, wrong):
    good = dict(parallel="fsdp2", ema=None, optimizer=dict(type="AdamW"), cuda_graph=False, enable_amp=False)
    check_parallel(Config(good), torch.device("cpu"))
    with pytest.raises(ValueError, match="parallel='fsdp2': got"):
        check_parallel(Config(good | wrong), torch.device("cpu"))


def test_graphs_with_several_processes_take_the_flat_way(pair):
    cuda, cpu = torch.device("cuda", 0), torch.device("cpu")
    good = dict(parallel="ddp", cuda_graph=True, sync_bn=False, gradient_accumulation_steps=1, enable_amp=False)
    check_parallel(Config(good), cuda)
    assert mode_of(Config(good), cuda) == "flat" and mode_of(Config(good), cpu) == "ddp"
    for wrong in (dict(sync_bn=True), dict(gradient_accumulation_steps=2)):
        check_parallel(Config(good | wrong), cpu)
        with pytest.raises(ValueError, match="cuda_graph=True: "):
            check_parallel(Config(good | wrong), cuda)


def test_one_process_takes_no_way_of_several():
    alone = dict(parallel="fsdp2", cuda_graph=True, sync_bn=True, gradient_accumulation_steps=1, enable_amp=False)
    check_parallel(Config(alone | dict(ema=dict(decay=0.9))), torch.device("cuda", 0))
    assert mode_of(Config(alone), torch.device("cuda", 0)) is None
