"""Networks on clouds that several processes share: time, memory and bytes by the number R of processes.

Run under torchrun. Every process makes the whole synthetic cloud on the host, which so is the same for every R, and
moves its own part to its device. With R = 1 the first process works alone.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pointcept_bsa.analysis.benchmark.bandwidth import timer_of
from pointcept_bsa.analysis.benchmark.case import OptimizerBuilder, Plan, autocast, precision
from pointcept_bsa.analysis.benchmark.inputs import Batch, input_shape, made_up_parameters, make_batch
from pointcept_bsa.analysis.benchmark.part_report import PartRow
from pointcept_bsa.analysis.benchmark.timeline import Timeline, profile_timeline
from pointcept_bsa.analysis.benchmark.timing import Kernel, time_calls
from pointcept_bsa.analysis.benchmark.traffic import Clouds, formulas_of
from pointcept_bsa.distributed import mesh
from pointcept_bsa.distributed.traffic import counted
from pointcept_bsa.host import build_model, comm
from pointcept_bsa.host.memory import is_out_of_memory
from pointcept_bsa.layers.fused.cast_weights import CastWeights
from pointcept_bsa.samples import Batch as Samples
from pointcept_bsa.samples import to_device
from pointcept_bsa.training.graph import FlatStep

CLOUDS = 2  # taken in turn
TELL_STEPS = 10


Profiled = tuple[list[Kernel], Timeline]


@dataclass(frozen=True)
class PartCase:
    """A network of a config on parts of clouds of ``points`` points."""

    cfg: Mapping[str, Any]
    points: int
    plan: Plan
    build_optimizer: OptimizerBuilder

    def model(self) -> nn.Module:
        """With the same weights for every R."""
        torch.manual_seed(0)
        model = build_model(self.cfg["model"], path="model").to(self.plan.device)
        channels = input_shape(model, self.cfg)[2]
        model.normalizer.set([0.0] * channels, [1.0] * channels)
        return model

    def clouds(self) -> Clouds:
        """What a batch is to the formulas."""
        return Clouds(self.points, self.plan.batch_size, mesh.context_size(), 2 if self.plan.dtype == "bf16" else 4)

    def batches(self, model: nn.Module) -> list[Batch]:
        """The own parts of the clouds, on the device."""
        parts, rank, clouds = mesh.context_size(), mesh.context_rank(), self.plan.batch_size
        start, end = (self.points * r // parts for r in (rank, rank + 1))
        found = []
        for seed in range(CLOUDS):
            whole = make_batch(self.points, clouds, input_shape(model, self.cfg), seed, torch.device("cpu"))
            rows = {key: whole[key].view(clouds, self.points, -1)[:, start:end] for key in ("coord", "feat", "target")}
            own = {key: value.flatten(0, 1) for key, value in rows.items()}
            own["offset"] = torch.arange(1, clouds + 1) * (end - start)
            found.append(to_device(own, self.plan.device) | made_up_parameters(model, clouds, seed, self.plan.device))
        return found

    def step(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> Callable[[Batch], Tensor]:
        """A train step on the mean square over all points of the whole clouds: a batch -> its loss.

        As the trainer does it on parts of clouds in bfloat16: weights are cast, and gradients collected, at once.
        """
        group = mesh.context_group()

        def forward(batch: Mapping[str, Any]) -> dict[str, Tensor]:
            target = batch["target"]
            with autocast(self.plan):
                pred = model.predict(batch)  # type: ignore[operator]
            whole = self.points * self.plan.batch_size * target.shape[1]
            return {"loss": (pred - target).square().sum() / whole}

        flat = FlatStep(model, forward, torch.bfloat16 if self.plan.dtype == "bf16" else None)

        def step(batch: Batch) -> Tensor:
            total = flat.own(Samples.of(batch))["loss"]
            if group is not None:
                flat.gradients.sum(group)
                dist.all_reduce(total, group=group)
            optimizer.step()
            return total

        return step


def measure_parts(
    name: str, cfg: Mapping[str, Any], points: int, processes: int, plan: Plan, build_optimizer: OptimizerBuilder
) -> PartRow:
    """Time a network on R of the processes; all of them call this, those beyond the first R wait."""
    mesh.create(processes, plan.device.type)
    own = None
    if comm.get_rank() < processes:
        own = _measure(PartCase(cfg, points, plan, build_optimizer))
    found = [each for each in comm.all_gather(own) if each is not None]
    mesh.create(1, plan.device.type)

    def most(key: str) -> float | None:
        values = [each[key] for each in found if each.get(key) is not None]
        return max(values, default=None)

    names = {what for each in found for what in each.get("sent", {})}
    sent = {what: max(each["sent"].get(what, 0) for each in found) for what in sorted(names)}
    times = (most("forward_ms"), most("train_ms"), most("forward_gib"), most("train_gib"))
    row = PartRow(name, points, processes, *times, sent, found[0].get("formulas", {}), found[0].get("note", ""))
    for part in found[0].get("profiles", {}):
        slowest: Profiled = max((each["profiles"][part] for each in found), key=lambda seen: seen[1].own_ms)
        row.kernels[part], row.timelines[part] = slowest
    return row


def _measure(case: PartCase) -> dict[str, Any]:
    plan = case.plan
    out: dict[str, Any] = {"profiles": {}}
    try:
        with precision(plan):
            model = case.model()
            batches = case.batches(model)
            forward = torch.no_grad()(_forward(model.eval(), plan))
            # The weights stay the same throughout an evaluation.
            with CastWeights(model, torch.bfloat16).swapped_in() if plan.dtype == "bf16" else nullcontext():
                out["forward_ms"], out["forward_gib"] = _timed(forward, batches, plan)
                if plan.profile:
                    out["profiles"]["forward"] = _profiled(forward, batches[0], plan)
            if not plan.skip_train:
                optimizer = case.build_optimizer(case.cfg["optimizer"], model, case.cfg.get("param_dicts"))
                step = case.step(model.train(), optimizer)
                out["train_ms"], out["train_gib"] = _timed(step, batches, plan)
                if plan.profile:
                    out["profiles"]["train"] = _profiled(step, batches[0], plan)
                if mesh.context_size() > 1:
                    with counted() as sent:
                        step(batches[0])
                    out["sent"], out["formulas"] = dict(sent), formulas_of(model, sent, case.clouds())
    except RuntimeError as error:
        if mesh.context_size() > 1 or not is_out_of_memory(error):  # others wait for what will never come
            raise
        out["note"] = "OOM"
    gc.collect()
    if plan.device.type == "cuda":
        torch.cuda.empty_cache()
    return out


def _forward(model: nn.Module, plan: Plan) -> Callable[[Batch], Tensor]:
    def forward(batch: Batch) -> Tensor:
        with autocast(plan):
            return model.predict(batch)  # type: ignore[operator]

    return forward


def _timed(call: Callable[[Batch], Any], batches: Sequence[Batch], plan: Plan) -> tuple[float, float | None]:
    """Median of as many calls in every process, each begun together, and the peak of memory."""
    on_cuda = plan.device.type == "cuda"
    if on_cuda:
        torch.cuda.reset_peak_memory_stats()
    timing = time_calls(call, batches, timer_of(plan.device), plan.warmup, plan.repeats, float("inf"))
    return timing.median_ms, torch.cuda.max_memory_allocated() / 2**30 if on_cuda else None


def _profiled(call: Callable[[Batch], Any], batch: Batch, plan: Plan) -> Profiled:
    """One more call, begun together."""
    group = mesh.context_group()

    def meet() -> None:
        dist.all_reduce(torch.zeros(1, device=plan.device), group=group)

    return profile_timeline(lambda: call(batch), plan.device, None if group is None else meet)


def losses_of_parts(
    cfg: Mapping[str, Any],
    points: int,
    processes: int,
    steps: int,
    plan: Plan,
    build_optimizer: OptimizerBuilder,
    tell: Callable[[str], None] = lambda line: None,
) -> list[float]:
    """The losses of so many train steps on R of the processes, with the config's optimizer at its first rate.

    ``tell`` gets a line every ``TELL_STEPS`` steps.
    """
    mesh.create(processes, plan.device.type)
    losses: list[float] | None = None
    if comm.get_rank() < processes:
        case, start = PartCase(cfg, points, plan, build_optimizer), time.perf_counter()
        with precision(plan):
            model = case.model().train()
            batches = case.batches(model)
            step = case.step(model, build_optimizer(cfg["optimizer"], model, cfg.get("param_dicts")))
            losses = []
            seen: list[Tensor] = []
            for i in range(1, steps + 1):
                seen.append(step(batches[(i - 1) % CLOUDS]))
                if i % TELL_STEPS == 0 or i == steps:
                    losses += torch.stack(seen).float().tolist()
                    seen.clear()
                    tell(
                        f"R = {processes}: step {i}/{steps}, loss {losses[-1]:.6g}, {time.perf_counter() - start:.1f} s"
                    )
    found: list[float] = comm.all_gather(losses)[0]
    mesh.create(1, plan.device.type)
    return found
