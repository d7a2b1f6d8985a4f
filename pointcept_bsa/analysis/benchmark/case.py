"""One network at one size, in one mode: its operations, times and memory."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pointcept_bsa.analysis.benchmark.inputs import Batch, input_shape, made_up_parameters, make_batch
from pointcept_bsa.analysis.benchmark.published_erwin import PublishedErwin
from pointcept_bsa.analysis.benchmark.timing import (
    Kernel,
    Timer,
    Timing,
    cpu_timer,
    cuda_timer,
    profile_call,
    time_calls,
)
from pointcept_bsa.analysis.benchmark.variants import (
    Call,
    NotPossible,
    Replay,
    attention_backend,
    compiled,
    dense_backends,
    first_line,
    is_compile_error,
    operators,
)
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import build_model
from pointcept_bsa.host.memory import is_out_of_memory
from pointcept_bsa.layers.fused.cast_weights import CastWeights
from pointcept_bsa.training.evaluation.flops import count_flops
from pointcept_bsa.training.graph import FlatGradients

OK, OOM, TOO_SLOW, NOT_ASKED, NOT_FINITE = "ok", "OOM", "skipped: too slow", "not asked for", "loss not finite"
NEEDS_CUDA = "needs CUDA"
INPUT_SETS = 4
UNFIT = ("No available kernel", "No viable backend", "PCBSA_SDPA: got 'narrow', but it cannot")  # on CUDA, CPU, both
CAPTURABLE = ("Adam", "AdamW", "Muon")  # take capturable=True: their step count lives on the device

# (config, model, param_dicts) -> optimizer, as the host's trainer builds it.
OptimizerBuilder = Callable[[Mapping[str, Any], nn.Module, Any], torch.optim.Optimizer]


@dataclass(frozen=True)
class Plan:
    """How a case is measured: see the options of ``tools/benchmark.py``."""

    device: torch.device
    dtype: str = "fp32"
    repeats: int = 20
    warmup: int = 5
    batch_size: int = 1
    skip_train: bool = False
    max_seconds: float = 60.0
    mode: str = "eager"
    ops: str | None = None  # of pointcept_bsa.ops: "auto", "reference", None: as the environment says
    erwin_checkout: str | None = None  # measure the network of this checkout in place of the config's Erwin
    static_geometry: bool = False  # trees and neighbours come with the batch, as from a data set that caches them
    profile: bool = False  # look at the kernels of one more call
    backends: tuple[str | None, ...] | None = None  # of dense attention; by default what dense_backends finds
    timer: Timer | None = None  # by default events of CUDA, or the clock


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
    forward_memory_gib: float | None = None
    forward_backend: str | None = None
    train_backend: str | None = None
    refused: list[str] = field(default_factory=list)  # backends that cannot run it, and why
    note: str = ""
    kernels: dict[str, list[Kernel]] = field(default_factory=dict)  # by part, where the plan asks for a profile


def measure_case(cfg: Mapping[str, Any], points: int, plan: Plan, build_optimizer: OptimizerBuilder) -> Measurement:
    """Measure the model of ``cfg`` on clouds of ``points`` points; running out of memory is a result.

    Forward: evaluation without gradients and without target. Train: forward, loss, backward and the optimizer's step.
    In graph mode with bf16 the weights of linear layers are cast once before all forward calls, since they stay the
    same throughout an evaluation, and anew in each train step; everything else is paid in each call.
    Peak memory is the allocator's on CUDA, with weights and inputs and, of the train step, gradients and optimizer
    state. Nothing is remembered between calls: trees, neighbours and orders are made in each, as for a new sample,
    unless the plan says ``static_geometry``.
    A network of dense attention runs under each backend there is; what the fastest took counts.
    """
    if plan.mode == "graph" and plan.device.type != "cuda":
        return Measurement(NEEDS_CUDA, NOT_ASKED if plan.skip_train else NEEDS_CUDA)
    result = Measurement(train=NOT_ASKED if plan.skip_train else OOM)
    with precision(plan), operators(plan.ops), _memory_errors_stop_here(plan.device):
        torch.manual_seed(0)
        model, batches = build_case(cfg, points, plan)
        result.parameters = sum(p.numel() for p in model.parameters())
        result.gflops = _count(model, batches[0], plan)
        backends = dense_backends(cfg, plan.device) if plan.backends is None else plan.backends
        share = plan.max_seconds * 1e3 / len(backends)
        parts = {"forward": 1.0} if plan.skip_train else {"forward": 0.4, "train": 0.6}
        for part, fraction in parts.items():
            with _failures_are_results(result, part):
                for backend in backends:
                    with _one_backend(result, backend):
                        optimizer = _optimizer(cfg, model, plan, build_optimizer) if part == "train" else None
                        _measure(
                            result,
                            part,
                            model=model,
                            optimizer=optimizer,
                            batches=batches,
                            plan=plan,
                            backend=backend,
                            budget_ms=share * fraction,
                        )
                if result.refused and getattr(result, f"{part}_time") is None:
                    setattr(result, part, f"no attention backend took it: {', '.join(dict.fromkeys(result.refused))}")
    return result


def build_case(cfg: Mapping[str, Any], points: int, plan: Plan) -> tuple[nn.Module, list[Batch]]:
    """The model and the sets of inputs it is measured on, all on the device."""
    model = build_model(cfg["model"], path="model")
    if plan.erwin_checkout is not None:
        model.backbone = PublishedErwin(cfg["model"]["backbone"], plan.erwin_checkout)
    model.to(plan.device)
    shape = input_shape(model, cfg)
    model.normalizer.set([0.0] * shape[2], [1.0] * shape[2])
    clouds = plan.batch_size
    batches = [
        make_batch(points, clouds, shape, seed, plan.device) | made_up_parameters(model, clouds, seed, plan.device)
        for seed in range(INPUT_SETS)
    ]
    if plan.erwin_checkout is not None:
        batches = [model.backbone.prepare(batch) for batch in batches]
    elif plan.static_geometry and hasattr(model.backbone, "static_geometry"):
        batches = [batch | _static_geometry(model.backbone, batch["coord"], plan.batch_size) for batch in batches]
    return model, batches


def _static_geometry(backbone: nn.Module, coord: Tensor, clouds: int) -> Batch:
    found = [backbone.static_geometry(cloud) for cloud in coord.chunk(clouds)]  # type: ignore[operator]
    return {key: torch.cat([each[key] for each in found]) for key in found[0]}


def make_step(model: nn.Module, optimizer: torch.optim.Optimizer, plan: Plan) -> Callable[[Batch], Tensor]:
    """A train step: a batch -> its loss, before the weights moved. In graph mode as the embedded host's trainer does
    it: weights are cast, and gradients collected, all at once."""
    cast = cast_weights(model, plan)
    gradients = FlatGradients(model) if cast is not None else None

    def graphed_step(batch: Batch) -> Tensor:
        assert cast is not None and gradients is not None
        gradients.part()
        with cast.swapped_in():
            with autocast(plan):
                loss = model(dict(batch))["loss"]
            loss.backward()
        gradients.take(cast.gradients())
        optimizer.step()
        return loss.detach()

    def step(batch: Batch) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        with autocast(plan):
            loss = model(dict(batch))["loss"]
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step if cast is None else graphed_step


def cast_weights(model: nn.Module, plan: Plan) -> CastWeights | None:
    """What casts the weights of a captured network."""
    return CastWeights(model, torch.bfloat16) if plan.mode == "graph" and plan.dtype == "bf16" else None


def _measure(
    result: Measurement,
    part: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None,
    batches: Sequence[Batch],
    plan: Plan,
    backend: str | None,
    budget_ms: float,
) -> None:
    """Time one part under one backend, and keep it if it is the fastest yet."""
    network = compiled(model) if plan.mode == "compile" else model
    network.train(part == "train")
    losses: list[Tensor] = []
    cast_once: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if optimizer is not None:
        step = make_step(network, optimizer, plan)

        def call(batch: Batch) -> None:
            losses[:] = [step(batch)]

        inputs = list(batches)
    else:
        cast = cast_weights(network, plan)
        if cast is not None:
            cast_once = cast.swapped_in()

        @torch.no_grad()
        def call(batch: Batch) -> None:
            with autocast(plan):
                network(dict(batch))

        inputs = [{key: value for key, value in batch.items() if key != "target"} for batch in batches]
    on_cuda = plan.device.type == "cuda"
    if on_cuda:
        torch.cuda.reset_peak_memory_stats(plan.device)
    with cast_once, attention_backend(backend):
        run: Call = Replay(call, inputs[0]) if plan.mode == "graph" else call
        time = time_calls(run, inputs, _timer(plan), plan.warmup, plan.repeats, budget_ms)
        memory = torch.cuda.max_memory_allocated(plan.device) / 2**30 if on_cuda else None
        before = result.forward_time if part == "forward" else result.train_time
        if before is not None and before.median_ms <= time.median_ms:
            return
        if plan.profile:
            result.kernels[part] = profile_call(lambda: run(inputs[0]), plan.device)
    if part == "forward":
        result.forward, result.forward_time, result.forward_backend = OK, time, backend
        result.forward_memory_gib = memory
    else:
        result.train = OK if bool(losses[0].isfinite()) else NOT_FINITE
        result.train_time, result.train_backend, result.memory_gib = time, backend, memory


def _optimizer(
    cfg: Mapping[str, Any], model: nn.Module, plan: Plan, build_optimizer: OptimizerBuilder
) -> torch.optim.Optimizer:
    model.zero_grad(set_to_none=True)
    options = dict(cfg["optimizer"])
    if plan.mode == "graph" and options.get("type") in CAPTURABLE:
        options["capturable"] = True
    return build_optimizer(options, model, cfg.get("param_dicts"))


def _count(model: nn.Module, batch: Batch, plan: Plan) -> float:
    with autocast(plan):
        return count_flops(model, {key: value for key, value in batch.items() if key != "target"}) / 1e9


@contextlib.contextmanager
def _one_backend(result: Measurement, backend: str | None) -> Iterator[None]:
    """Where there is a choice, a backend that does not take the shape, or has no memory for it, is left out."""
    try:
        yield
    except (RuntimeError, InputError) as error:
        unfit = any(sign in str(error) for sign in UNFIT)
        if backend is None or not (unfit or is_out_of_memory(error)):
            raise
        result.refused.append(f"{backend} ({'not for this shape' if unfit else OOM})")


@contextlib.contextmanager
def _failures_are_results(result: Measurement, part: str) -> Iterator[None]:
    """A network that cannot be captured or compiled is a result, too."""
    try:
        yield
    except NotPossible as error:
        setattr(result, part, str(error))
    except Exception as error:
        if not is_compile_error(error) or is_out_of_memory(error):
            raise
        setattr(result, part, f"cannot be compiled: {first_line(error)}")


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
def precision(plan: Plan) -> Iterator[None]:
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


def autocast(plan: Plan) -> contextlib.AbstractContextManager[Any]:
    """bfloat16 autocast where the plan says so."""
    return torch.autocast(plan.device.type, torch.bfloat16, enabled=plan.dtype == "bf16")


def _timer(plan: Plan) -> Timer:
    return plan.timer or (cuda_timer if plan.device.type == "cuda" else cpu_timer)
