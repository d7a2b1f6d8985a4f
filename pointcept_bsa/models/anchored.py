"""Anchors and queries in a model: training on both, and prediction at any number of points.

A training batch whose points are anchors and queries has ``ANCHORS`` (B,), cumulative counts as ``offset``: the anchors
of each cloud are its first points.

On the CPU a matrix product of another height, or a vector function of another length, may round otherwise. There
queries are predicted ``ROWS`` at a time, the last ones filled up with copies, by one thread: so the prediction of a
query is the same, bit for bit, whichever queries stand beside it and wherever chunks end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pointcept_bsa.backbones.anchored import AnchoredBackbone
from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.host_tables import host_table, on_device
from pointcept_bsa.geometry.padding import VALID
from pointcept_bsa.samples import ANCHORS, CLOUD, POINT, Batch, entry, lengths, rows_of

ROWS = {"cpu": 512, "cuda": 32768}  # of queries that pass through the network together


def anchored(backbone: nn.Module) -> AnchoredBackbone:
    """The backbone. Raises InputError for one that has no way for queries."""
    if not isinstance(backbone, AnchoredBackbone):
        raise InputError(
            f"anchors: {type(backbone).__name__} predicts at its own points alone, wanted BSA-v1m1, ErwinNSA-v1m1 or "
            "FullAttention-v1m1"
        )
    return backbone


def features_of_both(network: AnchoredBackbone, batch: Mapping[str, Any]) -> Tensor:
    """Features (N, C) of anchors and queries, in the order of the batch.

    Raises:
        InputError: a padded batch, a cloud without anchors or without queries.
    """
    if VALID in batch:
        raise InputError("pad_clouds: got padded clouds of anchors and queries, wanted pad_clouds=None")
    anchors, queries, back = _tables(lengths(batch), lengths(batch, ANCHORS))
    memory = network.encode_anchors(_part(batch, anchors, lengths(batch, ANCHORS)))
    others = tuple(n - a for n, a in zip(lengths(batch), memory.lengths, strict=True))
    assert memory.feat is not None
    feat = torch.cat([memory.feat, network.decode(memory, _part(batch, queries, others))])
    return feat.index_select(0, on_device(back, feat.device))


def counted(batch: Mapping[str, Any], anchors_too: bool) -> Tensor | None:
    """(N,) False for the points of a batch that do not count in its loss: its anchors, unless they do too."""
    if ANCHORS not in batch or anchors_too:
        return None
    return ~anchors_alone(batch)


def anchors_alone(batch: Mapping[str, Any]) -> Tensor:
    """(N,) True for the anchors of a batch of anchors and queries."""
    anchors = _tables(lengths(batch), lengths(batch, ANCHORS))[0]
    none = torch.zeros(len(batch["coord"]), dtype=torch.bool, device=batch["coord"].device)
    return none.index_fill_(0, on_device(anchors, none.device), True)


@torch.no_grad()
def by_rows(
    function: Callable[[dict[str, Any]], dict[str, Tensor]], queries: Mapping[str, Any], rows: int | None = None
) -> dict[str, Tensor]:
    """``function`` of the queries of one cloud, ``rows`` of them at a time; its outputs one behind the other.

    Args:
        function: treats each query for itself.
        queries: ``coord`` (Q, d), ``feat`` (Q, C), ``offset``.
        rows: how many at most; None: see ``ROWS``. On the CPU always as many as that says, whatever is given.
    """
    device, count = queries["coord"].device, len(queries["coord"])
    padded = device.type == "cpu"
    rows = ROWS["cpu"] if padded else rows or ROWS["cuda"]
    parts = []
    with _one_thread(device):
        for first in range(0, count, rows):
            last = first + rows if padded else min(first + rows, count)
            index = torch.arange(first, last, device=device).clamp_(max=count - 1)
            found = function(_cut(queries, index, (last - first,)))
            parts.append({key: value[: count - first] for key, value in found.items()})
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


@contextmanager
def _one_thread(device: torch.device) -> Iterator[None]:
    """On the CPU threads share out the elements of a tensor wherever that ends, and round what is left otherwise."""
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@lru_cache(maxsize=16)
def _tables(points: tuple[int, ...], anchors: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places of the anchors and of the queries in a batch, and of the batch's points in the one behind the other."""
    if len(points) != len(anchors) or not all(0 < a < n for a, n in zip(anchors, points, strict=False)):
        raise InputError(
            f"{ANCHORS}: got {anchors} anchors in clouds of {points} points, wanted at least one anchor and one query "
            "in each"
        )
    starts = [0, *accumulate(points)]
    of_anchors = np.concatenate([s + np.arange(a) for s, a in zip(starts, anchors, strict=False)])
    queries = np.setdiff1d(np.arange(starts[-1]), of_anchors)
    back = np.argsort(np.concatenate([of_anchors, queries]))
    return host_table(of_anchors), host_table(queries), host_table(back)


def _part(batch: Mapping[str, Any], index: np.ndarray, counts: Sequence[int]) -> Batch:
    return _cut(batch, on_device(index, batch["coord"].device), counts)


def _cut(batch: Mapping[str, Any], index: Tensor, counts: Sequence[int]) -> Batch:
    """Some points of a batch as a batch; what has a row a cloud stays, what names points by their place goes."""
    kept = {k: v for k, v in batch.items() if entry(k).names is None and entry(k).rows in (POINT, CLOUD)}
    points = {key: value[index] for key, value in kept.items() if rows_of(key, value) == POINT}
    ends = _ends(tuple(counts))
    offset = on_device(ends, batch["offset"].device)  # without a copy that the host waits for
    return Batch.of({**kept, **points, "offset": offset}, {"offset": ends.tolist()})


@lru_cache(maxsize=16)
def _ends(lengths: tuple[int, ...]) -> np.ndarray:
    return host_table(np.cumsum(lengths))
