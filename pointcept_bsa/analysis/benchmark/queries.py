"""How many queries a second a network predicts from anchors, and in how much memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from pointcept_bsa.analysis.benchmark.case import Plan, autocast, precision
from pointcept_bsa.analysis.benchmark.inputs import Batch, input_shape, make_batch
from pointcept_bsa.analysis.benchmark.report import number
from pointcept_bsa.analysis.benchmark.timing import cpu_timer, cuda_timer, time_calls
from pointcept_bsa.files.atomic import write_csv, write_text
from pointcept_bsa.files.json_file import write_json
from pointcept_bsa.host import build_model
from pointcept_bsa.host.memory import peak_memory_mb
from pointcept_bsa.samples import to_device
from pointcept_bsa.training.evaluation.anchored import AnchoredModel

CLOUDS = 4  # chunks on the host that are taken in turn


@dataclass
class QueryRow:
    """One network.

    Attributes:
        anchors, queries, chunk: how many points.
        encode_ms: to encode the anchors, tree included.
        seconds: to predict all queries, from features on the host to predictions on the host.
        queries_per_second: of these.
        memory_mib: peak of the device's allocator in that time; on the CPU of the process.
    """

    name: str
    anchors: int
    queries: int
    chunk: int
    dtype: str
    encode_ms: float
    seconds: float
    queries_per_second: float
    memory_mib: float


@torch.no_grad()
def measure_queries(
    name: str,
    cfg: Mapping[str, Any],
    anchors: int,
    queries: int,
    chunk: int,
    plan: Plan,
    say: Callable[[str], None] = print,
) -> QueryRow:
    """Encode ``anchors`` points of one cloud, and send ``queries`` points of its kind behind them, ``chunk`` at a time.

    Raises:
        InputError: a model that has no way for queries.
    """
    device = plan.device
    torch.manual_seed(0)
    model = build_model(cfg["model"]).to(device).eval()
    shape = input_shape(model, cfg)
    model.normalizer.set([0.0] * shape[2], [1.0] * shape[2])
    network = AnchoredModel(model, anchors, chunk).network
    cloud = make_batch(anchors, 1, shape, 0, device)
    chunk = min(chunk, queries)
    chunks = [_on_host(make_batch(chunk, 1, shape, seed, torch.device("cpu")), device) for seed in range(CLOUDS)]
    with precision(plan), autocast(plan):
        timer = cuda_timer if device.type == "cuda" else cpu_timer
        budget = plan.max_seconds * 1e3
        encoding = time_calls(network.encode_anchors, [cloud], timer, plan.warmup, plan.repeats, budget)
        memory = network.encode_anchors(cloud)

        def send(number: int) -> torch.Tensor:
            pred: torch.Tensor = network.decode(memory, to_device(chunks[number % CLOUDS], device), chunk)["pred"]
            return pred.cpu()

        for i in range(min(CLOUDS, plan.warmup)):
            send(i)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        count = -(-queries // chunk)
        start = last = time.perf_counter()
        for i in range(count):
            send(i)
            if time.perf_counter() - last > 10:
                last = time.perf_counter()
                say(f"{name}: {i + 1}/{count} chunks, {(i + 1) * chunk / (last - start):,.0f} queries/s")
        seconds = time.perf_counter() - start
    sent = count * chunk
    peak = peak_memory_mb(device)
    return QueryRow(
        name,
        anchors,
        queries=sent,
        chunk=chunk,
        dtype=plan.dtype,
        encode_ms=encoding.median_ms,
        seconds=seconds,
        queries_per_second=sent / seconds,
        memory_mib=peak,
    )


def _on_host(batch: Batch, device: torch.device) -> Batch:
    """What queries need, in memory from which copies to the device are fast."""
    kept = {key: batch[key] for key in ("coord", "feat", "offset")}
    return {key: value.pin_memory() for key, value in kept.items()} if device.type == "cuda" else kept


def query_table(rows: Sequence[QueryRow], device: str) -> str:
    """A Markdown table."""
    lines = [
        "| network | anchors | queries | chunk | type | encode ms | seconds | queries/s | MiB |",
        "|:---|---:|---:|---:|:---|---:|---:|---:|---:|",
    ]
    for row in rows:
        counts = [f"{n:,}" for n in (row.anchors, row.queries, row.chunk)]
        rate = f"{row.queries_per_second:,.0f}"
        cells = [row.name, *counts, row.dtype, number(row.encode_ms), number(row.seconds), rate]
        lines.append("| " + " | ".join([*cells, f"{row.memory_mib:,.0f}"]) + " |")
    return "\n".join([*lines, "", f"on {device}; one cloud, features and predictions on the host"])


def write_queries(folder: Path, rows: Sequence[QueryRow], environment: Mapping[str, Any]) -> None:
    """``queries.json``, ``queries.csv`` and ``queries.md``."""
    write_json(folder / "queries.json", {"environment": dict(environment), "rows": [asdict(row) for row in rows]})
    write_csv(folder / "queries.csv", [f.name for f in fields(QueryRow)], [list(asdict(row).values()) for row in rows])
    note = f"{environment['date'][:10]}: `{environment['command']}`"
    write_text(folder / "queries.md", f"{query_table(rows, environment['device'])}\n\n{note}\n")
