"""One network at one size: its operations, times and memory."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pointcept_bsa.engine.benchmark.inputs import Batch, input_shape, make_batch
from pointcept_bsa.engine.benchmark.timing import Timer, Timing, cpu_timer, cuda_timer, is_out_of_memory, time_calls
from pointcept_bsa.engine.flops import count_flops
from pointcept_bsa.host import build_model

DTYPES = ("fp32", "bf16", "tf32")
OK, OOM, TOO_SLOW, NOT_ASKED, NOT_FINITE = "ok", "OOM", "skipped: too slow", "not asked for", "loss not finite"
INPUT_SETS = 4

# (config, model, param_dicts) -> optimizer, as the host's trainer builds it.
OptimizerBuilder = Callable[[Mapping[str, Any], nn.Module, Any], torch.optim.Optimizer]


@dataclass(frozen=True)
class Plan:
    """How every case is measured: see the options of ``tools/benchmark.py``."""

    device: torch.device
    dtype: str = "fp32"
    repeats: int = 20
    warmup: int = 5
    batch_size: int = 1
    skip_train: bool = False
    max_seconds: float = 60.0


@dataclass
class Measurement:
    """What a case gave; None where it was not measured, ``forward`` and ``train`` say why."""

    forward: str = OOM
    train: str = OOM
    parameters: int | None = None
    gflops: float | None = None
    forward_time: Timing | None = None
    train_time: Timing | None = None
    memory_gib: float | None = None


def measure_case(cfg: Mapping[str, Any], points: int, plan: Plan, build_optimizer: OptimizerBuilder) -> Measurement:
    """Measure the model of ``cfg`` on clouds of ``points`` points; running out of memory is a result.

    Forward: evaluation without gradients and without target. Train: forward, loss, backward and the optimizer's step;
    its peak memory is the allocator's on CUDA, with weights, gradients, optimizer state and inputs. Nothing is
    remembered between calls: trees, neighbours and orders are made in each, as for a new sample.
    """
    result = Measurement(train=NOT_ASKED if plan.skip_train else OOM)
    budget_ms = plan.max_seconds * 1e3
    with _precision(plan), _memory_errors_stop_here(plan.device):
        torch.manual_seed(0)
        model = build_model(cfg["model"], path="model").to(plan.device)
        result.parameters = sum(p.numel() for p in model.parameters())
        shape = input_shape(model, cfg)
        model.normalizer.set([0.0] * shape[2], [1.0] * shape[2])
        batches = [make_batch(points, plan.batch_size, shape, seed, plan.device) for seed in range(INPUT_SETS)]
        _measure_forward(result, model, batches, plan, budget_ms * (1.0 if plan.skip_train else 0.4))
        if not plan.skip_train:
            optimizer = build_optimizer(cfg["optimizer"], model, cfg.get("param_dicts"))
            _measure_train(result, model, optimizer, batches, plan, budget_ms * 0.6)
    return result


def _measure_forward(
    result: Measurement, model: nn.Module, batches: Sequence[Batch], plan: Plan, budget_ms: float
) -> None:
    inputs = [{key: value for key, value in batch.items() if key != "target"} for batch in batches]
    model.eval()

    @torch.no_grad()
    def forward(batch: Batch) -> None:
        with _autocast(plan):
            model(dict(batch))

    result.forward_time = time_calls(forward, inputs, _timer(plan.device), plan.warmup, plan.repeats, budget_ms)
    with _autocast(plan):
        result.gflops = count_flops(model, dict(inputs[0])) / 1e9
    result.forward = OK


def _measure_train(
    result: Measurement,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Sequence[Batch],
    plan: Plan,
    budget_ms: float,
) -> None:
    model.train()
    last: list[Tensor] = []

    def step(batch: Batch) -> None:
        optimizer.zero_grad(set_to_none=True)
        with _autocast(plan):
            loss = model(dict(batch))["loss"]
        loss.backward()
        optimizer.step()
        last[:] = [loss.detach()]

    on_cuda = plan.device.type == "cuda"
    if on_cuda:
        torch.cuda.reset_peak_memory_stats(plan.device)
    result.train_time = time_calls(step, batches, _timer(plan.device), plan.warmup, plan.repeats, budget_ms)
    result.memory_gib = torch.cuda.max_memory_allocated(plan.device) / 2**30 if on_cuda else None
    result.train = OK if bool(last[0].isfinite()) else NOT_FINITE


@contextlib.contextmanager
def _memory_errors_stop_here(device: torch.device) -> Iterator[None]:
    """Leave the block quietly when memory runs out; free what an earlier case left, before and after."""
    _free(device)
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    _free(device)  # the error and with it the frames that hold tensors are gone by now


def _free(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


@contextlib.contextmanager
def _precision(plan: Plan) -> Iterator[None]:
    """float32 products exactly for fp32 (and for what autocast leaves in float32), in TF32 for tf32."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    tf32 = plan.dtype == "tf32"
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def _autocast(plan: Plan) -> contextlib.AbstractContextManager[Any]:
    return torch.autocast(plan.device.type, torch.bfloat16, enabled=plan.dtype == "bf16")


def _timer(device: torch.device) -> Timer:
    return cuda_timer if device.type == "cuda" else cpu_timer
