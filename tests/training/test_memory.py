"""Runs for which the memory is not enough."""

from __future__ import annotations

import pytest
import torch
from host_toys import ToyLine
from test_training import load, train

from pointcept_bsa.errors import InputError
from pointcept_bsa.host import DATASETS, MODELS
from pointcept_bsa.host.embedded.config import Config
from pointcept_bsa.host.memory import OutOfMemory, is_out_of_memory
from pointcept_bsa.training.diagnosis import training_advice
from pointcept_bsa.training.evaluation.bounded import BoundedModel


@MODELS.register_module()
class HungryLine(ToyLine):
    """Wants 2^50 bytes in one forward pass of the training, or ``torch.OutOfMemoryError`` comes in evaluation."""

    def __init__(self, hungry_at: int = -1) -> None:
        super().__init__()
        self.hungry_at = hungry_at

    def forward(self, batch: dict) -> dict:
        if self.training and self.calls + 1 == self.hungry_at:
            torch.empty(1 << 50, dtype=torch.uint8)
        if not self.training and self.hungry_at == -2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB.")
        return super().forward(batch)


@DATASETS.register_module()
class HungryCloud:
    def __init__(self, split: str, loop: int = 1) -> None:
        """As the configs want it."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict:
        raise MemoryError


def test_training_says_what_to_lower_and_leaves_the_checkpoints(config, run_dir, capsys):
    options = ("model.type=HungryLine", "model.hungry_at=8", "max_iters=12", "eval_every=6", "batch_size=4")
    assert train(config, *options) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: out of memory in iteration 9: batch of 4 clouds, ") and error.count("\n") == 1
    for part in ("in the largest; peak ", " MiB", "lower batch_size (now 4;", "earlier checkpoints are intact"):
        assert part in error
    assert load(run_dir)["iter"] == 6
    assert train(config, *options, "resume=True") == 0  # its memory lasts for eight iterations of a start


def test_evaluation_says_what_to_lower():
    batch = {"coord": torch.zeros(5, 3), "target": torch.zeros(5, 1), "offset": torch.tensor([2, 5])}
    model = HungryLine(-2).eval()
    message = "out of memory in evaluation: batch of 2 clouds, 5 points, 3 in the largest; .*test_cfg"
    with pytest.raises(OutOfMemory, match=message):
        BoundedModel(model)(batch)
    with pytest.raises(OutOfMemory, match=r"lower test_cfg.max_points \(now 3\)"):
        BoundedModel(model, 3)({**batch, "name": ["a", "b"]})


@pytest.mark.parametrize("workers", [0, 1])
def test_loading_says_it_too(config, capfd, workers):
    assert train(config, "data.train.type=HungryCloud", f"num_worker={workers}") == 2
    error = capfd.readouterr().err
    assert error.startswith("error: out of memory (") and "MemoryError" in error and error.count("\n") == 1


def test_remedies_are_those_of_the_config():
    backbone = dict(type="BSA-v1m1", ball_size=128)
    cfg = Config(dict(model=dict(backbone=backbone), batch_size=1, gradient_accumulation_steps=1, enable_amp=False))
    advice = training_advice(cfg)
    assert "batch_size" not in advice and "model.backbone.ball_size (now 128)" in advice
    assert "model.backbone.recompute=selective or, for less, True" in advice and "enable_amp=True" in advice
    cfg.model.backbone.recompute = True
    assert "recompute=True" not in training_advice(cfg)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemory("out of memory in evaluation"),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("backend='inductor' raised: OutOfMemoryError: CUDA out of memory. Tried to allocate 1 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_what_counts_as_out_of_memory(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes differ"), RuntimeError("out of resource: shared memory"), InputError("x: too large")]
)
def test_other_errors_are_not_taken_for_it(error):
    assert not is_out_of_memory(error)
