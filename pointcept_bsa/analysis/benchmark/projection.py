"""What a train step takes on more GPUs than there are, from what was measured on these.

Time: that of a point, as measured, and bytes by the formulas at the measured bandwidth of the processes, as if nothing
were sent beside kernels. Memory: that of a point, as measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pointcept_bsa.analysis.benchmark.bandwidth import Bandwidth, seconds
from pointcept_bsa.analysis.benchmark.part_report import PartRow
from pointcept_bsa.analysis.benchmark.report import aligned, number
from pointcept_bsa.analysis.benchmark.traffic import Clouds, blocks_a_slot, loads
from pointcept_bsa.backbones.bsa import BSATransformer

POINTS, PROCESSES = 160_000_000, (8, 64, 512)
SHOWN = 3  # kinds of bytes


@dataclass(frozen=True)
class Projected:
    """One train step on one cloud of ``points`` points.

    Attributes:
        computing: seconds; None where the time of a point grows with their number.
        sending: seconds of a process.
        sent: bytes of a process, by kind.
        gib: of a process; None where it was not measured.
    """

    name: str
    points: int
    processes: int
    computing: float | None
    sending: float
    sent: dict[str, float]
    gib: float | None


def project(
    name: str, model: Any, rows: Sequence[PartRow], found: Sequence[Bandwidth], clouds: int, size: int
) -> list[Projected]:
    """From the rows of one network; empty where there is nothing to go by.

    Args:
        name: the network's.
        model: the network.
        rows: what was measured.
        found: bandwidth of the largest number of processes.
        clouds: of each batch that was measured.
        size: bytes a number of keys and values.
    """
    trained = [row for row in rows if row.name == name and row.train_ms is not None]
    shared = [row for row in trained if row.processes > 1]
    if not shared or not found:
        return []
    # of one process, else of the most that were measured, with what they send
    alone = min(trained, key=lambda row: (row.processes > 1, -row.processes, -row.points))
    largest = max(shared, key=lambda row: (row.processes, row.points))
    batch = Clouds(largest.points, clouds, largest.processes, size)
    fetched = blocks_a_slot(model, largest.sent, batch)
    a_point = (alone.train_ms or 0.0) / 1e3 * alone.processes / (alone.points * clouds)
    memory = None if largest.train_gib is None else largest.train_gib * largest.processes / (largest.points * clouds)
    in_proportion = isinstance(model.backbone, BSATransformer) and model.backbone.tree.levels is not None
    out = []
    for processes in PROCESSES:
        far = (1 - 1 / processes) / (1 - 1 / largest.processes)  # of the blocks that are selected
        kinds = loads(model, Clouds(POINTS, 1, processes, size), fetched * far)
        if kinds is None:
            return []
        sending = sum(seconds(found, kind.collective, kind.calls, kind.size) for kind in kinds.values())
        sent, own = {kind: load.size for kind, load in kinds.items()}, POINTS / processes
        computing, gib = a_point * own if in_proportion else None, None if memory is None else memory * own
        out.append(Projected(name, POINTS, processes, computing=computing, sending=sending, sent=sent, gib=gib))
    return out


def projection_table(rows: Sequence[Projected]) -> str:
    """A Markdown table, and below it what it is made of."""
    cells = [["network", "GPUs", "points a GPU", "s computing", "s sending", "GB sent", "most of it", "GiB a GPU"]]
    for row in rows:
        most = sorted(row.sent.items(), key=lambda kind: -kind[1])[:SHOWN]
        cells.append(
            [
                row.name,
                str(row.processes),
                f"{row.points / row.processes:,.0f}",
                number(row.computing) or "-",
                number(row.sending),
                number(sum(row.sent.values()) / 1e9),
                ", ".join(f"{kind} {number(size / 1e9)}" for kind, size in most),
                number(row.gib) or "n/a",
            ]
        )
    notes = (
        f"a train step on one cloud of {POINTS:,} points, of a GPU: the measured time and memory of a point, bytes by "
    )
    notes += "the formulas at the measured bandwidth of this host, one after the other"
    if any(row.computing is None for row in rows):
        notes += "; -: the time of a point grows with the number of points"
    return "\n".join([*aligned(cells), "", notes])
