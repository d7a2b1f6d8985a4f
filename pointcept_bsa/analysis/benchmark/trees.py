"""How long a ball tree takes: this package's, the published C++ one, and scipy's k-d tree, over sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from pointcept_bsa.analysis.benchmark.inputs import make_batch
from pointcept_bsa.analysis.benchmark.report import number
from pointcept_bsa.analysis.benchmark.timing import Timing, cpu_timer, cuda_timer, time_calls
from pointcept_bsa.files.atomic import write_csv, write_text
from pointcept_bsa.files.json_file import write_json
from pointcept_bsa.geometry.ball_tree import BallTree

BALL_SIZE, BLOCK_SIZE, DEGREES = 256, 8, 45.0
CLOUDS = 4


@dataclass
class TreeRow:
    """Milliseconds of one cloud of N points; ``x`` are their time over ours. None: not there (see the note)."""

    points: int
    rotated: bool
    own_ms: float
    own_iqr_ms: float | None
    balltree_ms: float | None
    scipy_ms: float | None
    balltree_x: float | None
    scipy_x: float | None


def measure_trees(
    sizes: Sequence[int], device: torch.device, repeats: int, warmup: int, max_seconds: float
) -> list[TreeRow]:
    """One row a size and kind, the main tree alone or with the rotated one.

    Ours is built on ``device`` from coordinates that lie there, the others on the CPU from coordinates that lie there;
    ours refines balls of 256 down to blocks of 8, balltree-erwin down to pairs, scipy's leaves hold 8 points (and it
    has no rotated tree: none is timed).
    """
    peer = _peer()
    rows = []
    for points in sorted(set(sizes)):
        clouds = [make_batch(points, 1, (3, 1, 1), seed, torch.device("cpu"))["coord"] for seed in range(CLOUDS)]
        for rotated in (False, True):
            budget = max_seconds * 1e3 / 3

            def clock(call: Callable[[Tensor], Any], where: torch.device, budget: float = budget) -> Timing:
                timer = cuda_timer if where.type == "cuda" else cpu_timer
                inputs = [cloud.to(where) for cloud in clouds]  # noqa: B023 (called within this turn)
                return time_calls(call, inputs, timer, warmup, repeats, budget)

            def own(coord: Tensor, degrees: float = DEGREES if rotated else 0.0) -> BallTree:
                return BallTree.build(coord, (len(coord),), BALL_SIZE, BLOCK_SIZE, rotate=degrees)

            ours = clock(own, device)
            cpu = torch.device("cpu")
            theirs = clock(peer(rotated), cpu).median_ms if peer and points > BALL_SIZE else None
            kd = None if rotated else clock(lambda coord: cKDTree(coord.numpy(), leafsize=8), cpu).median_ms
            time = ours.median_ms
            rows.append(
                TreeRow(
                    points,
                    rotated,
                    own_ms=time,
                    own_iqr_ms=ours.iqr_ms,
                    balltree_ms=theirs,
                    scipy_ms=kd,
                    balltree_x=theirs and theirs / time,
                    scipy_x=kd and kd / time,
                )
            )
            print(f"tree N={points:,}{' rotated too' if rotated else ''}: {number(time)} ms", flush=True)
    return rows


def _peer() -> Callable[[bool], Callable[[Tensor], Any]] | None:
    """balltree-erwin's build, if the package is there."""
    try:
        from balltree import build_balltree_with_rotations
    except ModuleNotFoundError:
        return None

    def build(rotated: bool) -> Callable[[Tensor], Any]:
        def call(coord: Tensor) -> Any:
            cloud = torch.zeros(len(coord), dtype=torch.long)
            return build_balltree_with_rotations(coord, cloud, [1], [BALL_SIZE] * 2, DEGREES if rotated else 0.0)

        return call

    return build


def tree_table(rows: Sequence[TreeRow], device: str) -> str:
    """A Markdown table."""
    has_peer = any(row.balltree_ms is not None for row in rows)
    lines = [
        "| N | trees | ours ms (IQR) | balltree-erwin ms | scipy cKDTree ms | balltree-erwin x | scipy x |",
        "|---:|:---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        cells = [f"{row.points:,}", "main, rotated" if row.rotated else "main"]
        cells.append(f"{number(row.own_ms)} ({number(row.own_iqr_ms) or 'one call'})")
        cells += [number(v) or "-" for v in (row.balltree_ms, row.scipy_ms, row.balltree_x, row.scipy_x)]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", f"ours on {device}, the others on the CPU; x: their time over ours"]
    if not has_peer:
        lines.append("balltree-erwin is not installed: not timed")
    return "\n".join(lines)


def write_trees(folder: Path, rows: Sequence[TreeRow], environment: Mapping[str, Any]) -> None:
    """``tree.json``, ``tree.csv`` and ``tree.md``."""
    content = {"environment": dict(environment), "rows": [asdict(row) for row in rows]}
    write_json(folder / "tree.json", content)
    write_csv(folder / "tree.csv", [f.name for f in fields(TreeRow)], [list(asdict(row).values()) for row in rows])
    note = f"{environment['date'][:10]}: `{environment['command']}`"
    write_text(folder / "tree.md", f"{tree_table(rows, environment['device'])}\n\n{note}\n")
