"""What the entries of a sample and of a batch are: one table, and the batch that knows its lengths.

A *sample* is one cloud of N points, a *batch* B clouds laid end to end. Every entry says by its name what its rows are;
nothing is guessed from their number. Names that are not in the table, fields of somebody's data, have a row a point;
whoever has others says so once, where his data set or transform is defined::

    declare("inflow", rows="cloud")
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pointcept_bsa.errors import InputError

__all__ = ["Batch", "Entry", "HostEnds", "check_rows", "declare", "entry", "host_ends", "known", "lengths"]
__all__ += ["names_points", "per_point_keys", "rows_of", "to_device", "with_lengths"]

POINT, CLOUD, ENDS, WHOLE = "point", "cloud", "ends", "whole"
ROWS = (POINT, CLOUD, ENDS, WHOLE)
WHOLE_PREFIX = "whole_"  # begins the names of the ends of whole clouds in batches of parts, see ``distributed.parts``
PARAMETERS, SCALARS = "parameters", "scalars"  # of whole clouds: what a network is conditioned by, what it predicts


@dataclass(frozen=True)
class Entry:
    """What an entry is.

    Attributes:
        rows: ``"point"``: a row a point. ``"cloud"``: a row a cloud. ``"ends"``: integers, where each of the things
            that lie one behind the other ends, counted from the first; a batch goes on counting. ``"whole"``: anything
            else, of a whole sample.
        names: what its integers name by their places, ``"point"``, say: wrong as soon as points are chosen or
            reordered. None: nothing.
        truth: what a model learns to predict, and is not told.
    """

    rows: str = POINT
    names: str | None = None
    truth: bool = False


TABLE = {
    "coord": Entry(),
    "feat": Entry(),
    "target": Entry(truth=True),
    "segment": Entry(truth=True),
    "position": Entry(),
    "grid_coord": Entry(),
    "domain": Entry(),
    "batch": Entry(names="cloud"),
    "slot_valid": Entry(),
    "neighbor_index": Entry(names="point"),
    "tree_order": Entry(names="point"),
    "face": Entry(WHOLE, names="point"),
    "faces": Entry(WHOLE, names="point"),
    "inverse": Entry(WHOLE, names="point"),  # of the points before they were put into voxels
    "origin_coord": Entry(WHOLE),
    "origin_segment": Entry(WHOLE, truth=True),
    "slot_rotation": Entry(WHOLE, names="slot"),  # of a level, whose number follows: slot_rotation_0
    "name": Entry(CLOUD),
    PARAMETERS: Entry(CLOUD),
    SCALARS: Entry(CLOUD, truth=True),
    "offset": Entry(ENDS, names="point"),
    "anchor_offset": Entry(ENDS, names="point"),
    "domain_offset": Entry(ENDS, names="point"),
    "whole_offset": Entry(ENDS, names="point"),  # of the clouds of which a batch has parts
    "whole_domain_offset": Entry(ENDS, names="point"),
    "domain_names": Entry(WHOLE),
    "index_valid_keys": Entry(WHOLE),
    "host_ends": Entry(WHOLE),
}
_declared: dict[str, Entry] = {}


def declare(key: str, rows: str, names: str | None = None, truth: bool = False) -> None:
    """Say what the entries ``key`` of one's samples are, see :class:`Entry`; at the top of a module, once.

    Raises:
        InputError: a key that means something else already, rows that are none of ``ROWS``, ``"ends"`` without
            ``"offset"`` in the name: hosts go on counting in entries of such names, and in no others.
    """
    if rows not in ROWS:
        raise InputError(f"rows: got {rows!r} for {key!r}, wanted one of {', '.join(ROWS)}")
    if (rows == ENDS) != ("offset" in key):
        raise InputError(f"rows: got {rows!r} for {key!r}, wanted 'ends' for keys that contain 'offset', no others")
    new = Entry(rows, names, truth)
    if known(key) and entry(key) != new:
        raise InputError(f"{key}: declared as {new}, but it is {entry(key)} already; wanted another key")
    _declared[key] = new


def known(key: str) -> bool:
    """Whether somebody says what ``key`` is."""
    return _in_table(key) in TABLE or key in _declared


def entry(key: str) -> Entry:
    """What the entry ``key`` is."""
    found = TABLE.get(_in_table(key)) or _declared.get(key)
    return found or Entry(ENDS if "offset" in key else POINT)


def names_points(key: str) -> bool:
    """Whether an entry names points by their places: choosing or reordering rows makes it wrong."""
    return entry(key).names == POINT and entry(key).rows != ENDS


def rows_of(key: str, value: Any) -> str | None:
    """``"point"``, ``"cloud"``, ``"ends"`` or ``"whole"``; None for a value without rows. Texts are one a cloud."""
    if isinstance(value, list | tuple) and not known(key):
        return CLOUD
    return entry(key).rows if isinstance(value, list | tuple) or _has_rows(value) else None


def per_point_keys(data: Mapping[str, Any]) -> list[str]:
    """Keys of the arrays or tensors of a sample with a row a point, but for those that name points by their places.

    Raises:
        InputError: one of them has another number of rows than ``coord``.
    """
    points = len(data["coord"])
    found = [k for k, v in data.items() if _has_rows(v) and entry(k).rows == POINT and not names_points(k)]
    for key in found:
        check_rows(key, data[key], points)
    return found


def check_rows(key: str, value: Any, rows: int) -> None:
    """Raise InputError unless an entry has so many rows."""
    if len(value) != rows:
        what = entry(key).rows
        raise InputError(
            f"{key}: got {len(value)} rows, wanted {rows}, one a {what}; what else it may be is said by "
            f"pointcept_bsa.samples.declare({key!r}, rows=...)"
        )


def _in_table(key: str) -> str:
    return re.sub(r"_\d+$", "", key) if key.startswith("slot_rotation_") else key


def _has_rows(value: Any) -> bool:
    return isinstance(value, np.ndarray | Tensor) and value.ndim > 0


class HostEnds:
    """What the host knows of the ``ends`` of a batch: their numbers, each with the tensor that holds them.

    They count for that very tensor alone: a batch that got another one is asked anew.
    """

    def __init__(self) -> None:
        self.of: dict[str, tuple[Tensor, tuple[int, ...]]] = {}

    def get(self, key: str, tensor: Tensor) -> tuple[int, ...] | None:
        """The numbers of ``tensor``; None if nobody has said them."""
        held, ends = self.of.get(key, (None, None))
        return ends if held is tensor else None


class Batch(dict[str, Any]):
    """Clouds laid end to end: an ordinary dict, in which the host knows the numbers of all ``ends`` entries.

    Reading them back from a device would make the host wait for it at every step, and while a CUDA graph is captured it
    cannot. Copies (``dict(batch)``, ``Point(batch)``) know them, too; in ``{**batch, "offset": other}`` those of the
    other tensor are read when somebody asks.
    """

    @classmethod
    def of(cls, entries: Mapping[str, Any], ends: Mapping[str, Sequence[int]] | None = None) -> Batch:
        """A batch of these entries; ``ends``: what is known of them, the others are read now, where they are new."""
        host = HostEnds()
        for key, value in entries.items():
            if isinstance(value, Tensor) and entry(key).rows == ENDS:
                given = None if ends is None else ends.get(key)
                host.of[key] = value, host_ends(entries, key) if given is None else tuple(given)
        return cls({**entries, "host_ends": host})

    @property
    def lengths(self) -> tuple[int, ...]:
        """Points of each cloud."""
        return lengths(self)


def host_ends(batch: Mapping[str, Any], key: str = "offset") -> tuple[int, ...]:
    """The numbers of an ``ends`` entry of any batch; of one that does not know them they are read from its device.

    Raises:
        InputError: a batch that does not know them, while a CUDA graph is captured.
    """
    tensor, host = batch[key], batch.get("host_ends")
    found = host.get(key, tensor) if isinstance(host, HostEnds) else None
    if found is not None:
        return found
    if tensor.is_cuda and torch.cuda.is_current_stream_capturing():
        raise InputError(
            f"{key}: its numbers decide shapes, and cannot be read from the GPU while a CUDA graph is captured; wanted "
            "pointcept_bsa.samples.Batch.of(batch), made before the capture"
        )
    return tuple(tensor.tolist())


def lengths(batch: Mapping[str, Any], key: str = "offset") -> tuple[int, ...]:
    """How much lies between the ``ends`` of an entry: points of each cloud."""
    return tuple(end - start for start, end in pairwise((0, *host_ends(batch, key))))


def with_lengths(entries: Mapping[str, Any], lengths: Iterable[int], like: Tensor) -> Batch:
    """The batch of these entries and an ``offset`` of clouds of so many points, of ``like``'s type and device."""
    ends = tuple(accumulate(lengths))
    offset = torch.tensor(ends, dtype=like.dtype, device=like.device)
    return Batch.of({**entries, "offset": offset}, {"offset": ends})


# Moving a batch to a device without making the host wait for it later.

ANCHORS = "anchor_offset"  # (B,) cumulative: the anchors of each cloud, its first points; the rest are queries


def to_device(batch: Mapping[str, Any], device: torch.device) -> Batch:
    """The batch with its tensors on ``device``; it knows its lengths, which are read before they leave the host."""
    moved = {k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in batch.items()}
    ends = {k: host_ends(batch, k) for k, v in batch.items() if isinstance(v, Tensor) and entry(k).rows == ENDS}
    return Batch.of(moved, ends)
