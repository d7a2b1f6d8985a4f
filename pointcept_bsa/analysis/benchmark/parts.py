"""Networks on clouds that several processes share: time, memory and bytes by the number R of processes.

Run under torchrun. Every process makes the whole synthetic cloud on the host, which so is the same for every R, and
moves its own part to its device. With R = 1 the first process works alone.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pointcept_bsa.analysis.benchmark.case import OptimizerBuilder, Plan, autocast, precision
from pointcept_bsa.analysis.benchmark.inputs import Batch, input_shape, made_up_parameters, make_batch
from pointcept_bsa.analysis.benchmark.report import number
from pointcept_bsa.analysis.benchmark.timing import cpu_timer, cuda_timer, time_calls
from pointcept_bsa.distributed import mesh
from pointcept_bsa.distributed.collectives import GRADIENTS, reduce
from pointcept_bsa.distributed.traffic import counted
from pointcept_bsa.files.atomic import write_csv, write_text
from pointcept_bsa.files.json_file import write_json
from pointcept_bsa.host import build_model, comm
from pointcept_bsa.host.memory import is_out_of_memory
from pointcept_bsa.samples import to_device

CLOUDS = 2  # taken in turn
MIB = 2**20


@dataclass
class PartRow:
    """One network at one size on R processes.

    Attributes:
        forward_ms, train_ms: of a forward pass, and of a train step with the sum of gradients and the optimizer's step;
            of the slowest process.
        forward_gib, train_gib: peak of the device's allocator, the most of all processes; None on the CPU.
        sent: bytes that a process sends in a train step, by what they are for, the most of all processes.
        note: why there are no numbers.
    """

    name: str
    points: int
    processes: int
    forward_ms: float | None = None
    train_ms: float | None = None
    forward_gib: float | None = None
    train_gib: float | None = None
    sent: dict[str, int] = field(default_factory=dict)
    note: str = ""


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
        """A train step on the mean square over all points of the whole clouds: a batch -> its loss."""
        group = mesh.context_group()

        def step(batch: Batch) -> Tensor:
            optimizer.zero_grad(set_to_none=True)
            target = batch["target"]
            with autocast(self.plan):
                pred = model.predict(batch)  # type: ignore[operator]
            whole = self.points * self.plan.batch_size * target.shape[1]
            loss = (pred - target).square().sum() / whole
            loss.backward()
            total = loss.detach()
            if group is not None:
                sum_gradients(model, group)
                dist.all_reduce(total, group=group)
            optimizer.step()
            return total

        return step


def sum_gradients(model: nn.Module, group: dist.ProcessGroup) -> None:
    """Add up the gradients of the processes, all at once."""
    grads = [p.grad.view(-1) for p in model.parameters() if p.grad is not None]
    flat = reduce(torch.cat(grads), group, GRADIENTS)
    torch._foreach_copy_(grads, flat.split([len(grad) for grad in grads]))


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
    return PartRow(name, points, processes, *times, sent, found[0].get("note", ""))


def _measure(case: PartCase) -> dict[str, Any]:
    plan = case.plan
    out: dict[str, Any] = {}
    try:
        with precision(plan):
            model = case.model()
            batches = case.batches(model)
            forward = torch.no_grad()(_forward(model.eval(), plan))
            out["forward_ms"], out["forward_gib"] = _timed(forward, batches, plan)
            if not plan.skip_train:
                optimizer = case.build_optimizer(case.cfg["optimizer"], model, case.cfg.get("param_dicts"))
                step = case.step(model.train(), optimizer)
                out["train_ms"], out["train_gib"] = _timed(step, batches, plan)
                with counted() as sent:
                    step(batches[0])
                out["sent"] = dict(sent)
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
    on_cuda, group = plan.device.type == "cuda", mesh.context_group()
    if on_cuda:
        torch.cuda.reset_peak_memory_stats()
    timer = cuda_timer if on_cuda else cpu_timer

    def together(run: Callable[[], Any]) -> float:
        if group is not None:
            dist.all_reduce(torch.zeros(1, device=plan.device), group=group)
        return timer(run)

    timing = time_calls(call, batches, together, plan.warmup, plan.repeats, float("inf"))
    return timing.median_ms, torch.cuda.max_memory_allocated() / 2**30 if on_cuda else None


def losses_of_parts(
    cfg: Mapping[str, Any], points: int, processes: int, steps: int, plan: Plan, build_optimizer: OptimizerBuilder
) -> list[float]:
    """The losses of so many train steps on R of the processes, with the config's optimizer at its first rate."""
    mesh.create(processes, plan.device.type)
    losses: list[float] | None = None
    if comm.get_rank() < processes:
        case = PartCase(cfg, points, plan, build_optimizer)
        with precision(plan):
            model = case.model().train()
            batches = case.batches(model)
            step = case.step(model, build_optimizer(cfg["optimizer"], model, cfg.get("param_dicts")))
            losses = torch.stack([step(batches[i % CLOUDS]) for i in range(steps)]).float().tolist()
    found: list[float] = comm.all_gather(losses)[0]
    mesh.create(1, plan.device.type)
    return found


def part_table(rows: Sequence[PartRow], device: str) -> str:
    """A Markdown table."""
    lines = [
        "| network | points | R | forward ms | train ms | x | forward GiB | train GiB | MiB sent in a train step |",
        "|:---|---:|---:|---:|---:|---:|---:|---:|:---|",
    ]
    for row in rows:
        one = next((r for r in rows if (r.name, r.points, r.processes) == (row.name, row.points, 1)), None)
        faster = one.train_ms / row.train_ms if one is not None and one.train_ms and row.train_ms else None
        values = [row.forward_ms, row.train_ms, faster, row.forward_gib, row.train_gib]
        sent = ", ".join(f"{what} {number(size / MIB)}" for what, size in row.sent.items()) or row.note
        cells = [row.name, f"{row.points:,}", str(row.processes), *map(number, values), sent]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", f"each of the R processes on {device}; times of the slowest, the most of memory"])


def loss_table(curves: Mapping[int, Sequence[float]]) -> str:
    """Losses of trainings with different R side by side, and how far the last column is from the first."""
    lines = ["step  " + "  ".join(f"{f'R = {processes}':>14}" for processes in curves) + "   difference"]
    for i, values in enumerate(zip(*curves.values(), strict=True)):
        apart = abs(values[-1] - values[0]) / abs(values[0])
        lines.append(f"{i + 1:4d}  " + "  ".join(f"{value:14.8f}" for value in values) + f"   {apart:10.1e}")
    return "\n".join(lines)


def write_parts(folder: Path, rows: Sequence[PartRow], environment: Mapping[str, Any]) -> None:
    """``parts.json``, ``parts.csv`` and ``parts.md``."""
    write_json(folder / "parts.json", {"environment": dict(environment), "rows": [asdict(row) for row in rows]})
    write_csv(folder / "parts.csv", [f.name for f in fields(PartRow)], [list(asdict(row).values()) for row in rows])
    note = f"{environment['date'][:10]}: `{environment['command']}`"
    write_text(folder / "parts.md", f"{part_table(rows, environment['device'])}\n\n{note}\n")
