"""Parts of clouds: which rows a process holds, what is summed over the parts, and clouds put together again.

``N`` points of a cloud, ``n`` of a part, ``R`` processes that share it. With one process a part is its cloud, and every
function here is a plain answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from pointcept_bsa.distributed import mesh
from pointcept_bsa.distributed.collectives import all_gather, all_sum, numbers_of_all
from pointcept_bsa.errors import InputError
from pointcept_bsa.samples import ENDS, POINT, WHOLE_PREFIX, check_rows, entry, lengths, names_points, rows_of

CUT_ENDS = ("offset", "domain_offset")  # ends that a part has of its own


def part_of(points: int, rank: int, size: int, name: str | None = None) -> slice:
    """The rows that process ``rank`` of ``size`` holds of a cloud: as many as the others, or one more.

    Raises InputError, with the ``name`` of the cloud, for fewer points than processes.
    """
    if points < size:
        raise InputError(
            f"context_parallel: got {size} processes for {name or 'a cloud'!r} of {points} points, wanted at least a "
            "point for each"
        )
    return slice(points * rank // size, points * (rank + 1) // size)


def cut(sample: Mapping[str, Any], rank: int, size: int) -> dict[str, Any]:
    """The part of a sample of tensors that process ``rank`` of ``size`` holds.

    What names points by their places is left out; the ends of the whole cloud stay, as ``whole_offset``.

    Raises:
        InputError: fewer points than processes; a sample of anchors and queries, or of other ends than those of points
            and domains.
    """
    points = len(sample["coord"])
    rows, part = part_of(points, rank, size, sample.get("name")), {}
    for key, value in sample.items():
        kind = rows_of(key, value)
        if kind == ENDS:
            part[key], part[WHOLE_PREFIX + key] = _own_ends(key, value, sample, rows), value
        elif names_points(key):
            continue
        elif kind == POINT:
            check_rows(key, value, points)
            part[key] = value[rows]
        else:
            part[key] = value
    return part


def _own_ends(key: str, ends: Tensor, sample: Mapping[str, Any], rows: slice) -> Tensor:
    if key not in CUT_ENDS:
        raise InputError(f"context_parallel: got {key!r} in a sample, which cannot be cut, wanted context_parallel=1")
    if key == "offset":
        return torch.full_like(ends, rows.stop - rows.start)
    return torch.bincount(sample["domain"][rows], minlength=len(ends)).cumsum(0).to(ends)


def whole_lengths(batch: Mapping[str, Any], key: str = "offset") -> tuple[int, ...]:
    """As :func:`.samples.lengths`, of the whole clouds."""
    whole = WHOLE_PREFIX + key
    return lengths(batch, whole if whole in batch else key)


def own_rows(batch: Mapping[str, Any]) -> list[slice]:
    """Which rows of each of its clouds this process holds."""
    return [part_of(points, mesh.context_rank(), mesh.context_size()) for points in whole_lengths(batch)]


def sum_over_parts(x: Tensor) -> Tensor:
    """The sum of ``x`` over the processes that share the clouds; so is its gradient."""
    group = mesh.context_group()
    return x if group is None else all_sum(x, group, "sums over clouds")


@torch.no_grad()
def joined(values: Tensor, part_lengths: Sequence[int]) -> Tensor:
    """The rows of whole clouds of (n, ...) values of parts, cloud after cloud, in all processes that share them.

    ``part_lengths``: rows of the part of each cloud in this process.
    """
    group = mesh.context_group()
    if group is None:
        return values
    counts = numbers_of_all(part_lengths, values.device, group)
    ends = [*accumulate((count for own in counts for count in own), initial=0)]  # process after process
    runs, clouds = list(pairwise(ends)), len(part_lengths)
    pieces = [run for cloud in range(clouds) for run in runs[cloud::clouds]]
    return all_gather(values, [sum(own) for own in counts], group, "whole clouds", pieces)


def whole_batch(batch: Mapping[str, Any], output: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A batch and what a model has made of it, with the rows of whole clouds, which are then on the host.

    Called in all processes that share the clouds. Raises InputError for entries of other rows than ``coord``.
    """
    if mesh.context_group() is None:
        return dict(batch), dict(output)
    own = lengths(batch)

    def put_together(key: str, value: Any) -> Any:
        if rows_of(key, value) != POINT or not isinstance(value, Tensor):
            return value
        check_rows(key, value, sum(own))
        return joined(value, own).cpu()

    whole = {key: put_together(key, value) for key, value in batch.items() if not _is_of_parts(key)}
    ends = {key: batch[WHOLE_PREFIX + key] for key in CUT_ENDS if WHOLE_PREFIX + key in batch}
    return whole | ends, {key: put_together(key, value) for key, value in output.items()}


def _is_of_parts(key: str) -> bool:
    return key == "host_ends" or entry(key).rows == ENDS
