"""Nearest neighbours of a part of each cloud, where some of them are in other parts: those in the whole cloud.

A part is compact in space, as its balls are. First its points search among themselves: no neighbour is farther than the
k-th of these (or than the radius). The box of each ball, wider by that reach, goes to the processes whose points' box
it touches; they answer with their points inside. Then the points search once more, these points among them.

``n`` own points in ``S`` slots, ``f`` points of others, ``k`` neighbours a point, ``d`` space dimensions, ``R``
processes, ``B`` clouds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate, chain

import numpy as np
import torch
from torch import Tensor

from pointcept_bsa.distributed.by_need import Requests
from pointcept_bsa.distributed.collectives import all_gather, numbers_of_all
from pointcept_bsa.geometry.ball_tree import invert
from pointcept_bsa.geometry.exchange import Exchange
from pointcept_bsa.geometry.host_tables import derived, indices, on_device
from pointcept_bsa.geometry.neighbors import find_neighbors
from pointcept_bsa.geometry.part_layout import PartLayout
from pointcept_bsa.geometry.part_tree import PartTree
from pointcept_bsa.geometry.reorder import reorder

SEARCH, MESSAGES = "neighbors", "messages"  # for the count of bytes
SLACK = 1 + 1e-5  # of the reach: distances are compared in single precision
MAX_PAIRS = 2**22  # of balls and boxes, and of points and boxes, that are looked at at once


@dataclass(frozen=True, eq=False)
class OwnPoints:
    """The points in the own slots, in their order.

    Attributes:
        slot: (n,) of each point.
        point: (S,) in each slot; some point in empty ones.
        valid: (S,) False in empty slots; None if there are none.
        lengths: points of each cloud in each part, (R, B).
        rank: the own part.
    """

    slot: Tensor
    point: Tensor
    valid: Tensor | None
    lengths: tuple[tuple[int, ...], ...]
    rank: int

    @classmethod
    def of(cls, layout: PartLayout) -> OwnPoints:
        """Those of a part. The host waits for the numbers of the others."""
        device, group = layout.coord.device, layout.shared.group
        own = [int(valid.sum()) for valid in np.split(layout.known_valid, np.cumsum(layout.slots)[:-1])]
        rank_of_slot = derived(layout.known_valid, "rank", lambda: np.maximum(np.cumsum(layout.known_valid) - 1, 0))
        slot, point = indices(layout.known_valid, True, device), on_device(rank_of_slot, device)
        lengths = tuple(map(tuple, numbers_of_all(own, device, group)))
        return cls(slot, point, layout.valid, lengths, layout.shared.rank)

    @property
    def own(self) -> Tensor:
        """(B,) own points of each cloud, on the host."""
        return torch.tensor(self.lengths[self.rank])

    @property
    def rows(self) -> tuple[int, ...]:
        """Points of each part."""
        return tuple(map(sum, self.lengths))

    def cloud_of(self, rows: Tensor) -> Tensor:
        """The cloud of points that are counted over all parts, one part after the other."""
        ends = torch.tensor(list(accumulate(chain.from_iterable(self.lengths))), device=rows.device)
        return torch.bucketize(rows.contiguous(), ends, right=True) % len(self.own)

    def take(self, x: Tensor) -> Tensor:
        """Rows of slots (S, ...) -> of points (n, ...)."""
        return x if self.valid is None else reorder(x, self.slot, self.point, self.valid)

    def put(self, x: Tensor) -> Tensor:
        """Rows of points -> of slots; empty ones hold some point, and give it no gradient."""
        return x if self.valid is None else reorder(x, self.point, self.slot)


@dataclass(frozen=True, eq=False)
class PartNeighbors:
    """Whom the own points hear from.

    Attributes:
        points: which they are.
        index: (n, k) neighbours, the nearest first: own points, and behind them the f of ``far``; -1 for none.
        coord: (n + f, d) positions of both.
        far: points of other processes, whose rows can be fetched.
    """

    points: OwnPoints
    index: Tensor
    coord: Tensor
    far: Requests


@torch.no_grad()
def neighbors_of_part(
    tree: PartTree, num_neighbors: int, edges: str = "knn", radius: float | None = None
) -> PartNeighbors:
    """:func:`.find_neighbors` of the points in the own slots among those of the whole clouds.

    Called by all processes that share the clouds. The host waits.
    """
    points = OwnPoints.of(tree.part)
    coord, place = tree.layout.coord[points.slot], _input_places(tree)[points.slot]
    device, own, clouds = coord.device, points.own, len(points.own)

    def search(coord: Tensor, lengths: Tensor) -> Tensor:
        return find_neighbors(coord, lengths, num_neighbors, edges=edges, radius=radius)

    limit = radius if edges == "radius" and radius is not None else math.inf
    reach = _farthest(coord, search(coord, own), limit) * SLACK
    names, their_place, their_coord = _points_within(tree.part, points, reach, place)

    # Own points and those of others, by cloud and then as they lie in the input: so equal distances are told apart.
    their_cloud = points.cloud_of(names)
    cloud = torch.cat([torch.arange(clouds, device=device).repeat_interleave(own.to(device)), their_cloud])
    order = torch.cat([place, their_place]).argsort()
    order = order[cloud[order].argsort(stable=True)]
    every = own + torch.bincount(their_cloud, minlength=clouds).cpu()
    found = search(torch.cat([coord, their_coord])[order], every)[invert(order)[: len(coord)]]
    found = torch.where(found < 0, -1, order[found])

    used = found[found >= len(coord)].unique()  # of those of others
    behind = torch.searchsorted(used, found) + len(coord)
    used = used - len(coord)
    far = Requests.of(names[used], points.rows, tree.part.shared.group, MESSAGES)
    index = torch.where(found < len(coord), found, behind)
    return PartNeighbors(points, index, torch.cat([coord, their_coord[used]]), far)


def _input_places(tree: PartTree) -> Tensor:
    """(S,) numbers that rise as the points of each cloud follow each other in the input."""
    assert tree.arrival is not None
    own = torch.arange(len(tree.arrival.order), device=tree.index.device)
    # Input rows of process 0 come before those of process 1: below 2^40 rows each.
    return tree.arrival.forth(own + (tree.part.shared.rank << 40))[tree.index]


def _farthest(coord: Tensor, index: Tensor, limit: float) -> Tensor:
    """(n,) how far away a neighbour may be at most, where those in ``index`` (n, k) are known."""
    last, single = index[:, -1], coord.float().double()
    distance = (single[last] - single).square().sum(1).sqrt()
    return distance.masked_fill(last < 0, math.inf).clamp(max=limit)


def _points_within(
    layout: PartLayout, points: OwnPoints, reach: Tensor, place: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The points of other processes that may be within ``reach`` (n,) of own ones.

    Returns:
        (f,) which they are, rising, counted over the points of all processes, one process after the other; what they
        have as ``place`` (n,); their positions (f, d).
    """
    parts, device, clouds = layout.shared, layout.coord.device, len(layout.slots)
    balls = torch.tensor([s // layout.ball_size for s in layout.slots], device=device)
    cloud = torch.arange(clouds, device=device).repeat_interleave(balls)
    exact, wide = _boxes(layout), _boxes(layout, points.put(reach))
    of_clouds = torch.stack([box.amax(0) for box in exact.split(balls.tolist())])  # (B, 2 d)
    of_parts = all_gather(of_clouds, [clouds] * len(parts.slots), parts.group, SEARCH).view(-1, *of_clouds.shape)
    touched = _touch(of_parts[:, cloud], wide)
    touched[parts.rank] = False
    part, ball = touched.nonzero(as_tuple=True)
    asking = Exchange.to(part, parts.group, SEARCH)
    asked = asking.forth(torch.cat([wide[ball], cloud[ball].unsqueeze(1)], 1))
    who = torch.arange(len(parts.slots), device=device).repeat_interleave(torch.tensor(asking.receive, device=device))
    slot, who = _inside(layout, exact, cloud, asked, who)
    answering, own = Exchange.to(who, parts.group, SEARCH), points.point[slot]
    first = sum(points.rows[: parts.rank])
    names, input_place = answering.forth(torch.stack([own + first, place[own]], 1)).unbind(1)
    return names, input_place, answering.forth(layout.coord[slot])


def _boxes(layout: PartLayout, reach: Tensor | None = None) -> Tensor:
    """(balls, 2 d) the box of the points of each ball, wider by ``reach`` (S,): the largest coordinates, and the
    largest of their negatives; -inf of a ball without points."""
    single = layout.coord.float().double()
    both = torch.cat([single, -single], 1)
    if reach is not None:
        both = both + reach.unsqueeze(1)
    if layout.valid is not None:
        both = both.masked_fill(~layout.valid.unsqueeze(1), -math.inf)
    return both.unflatten(0, (-1, layout.ball_size)).amax(1)


def _touch(a: Tensor, b: Tensor) -> Tensor:
    """Whether boxes (..., 2 d) have a point in common."""
    return (a + b.roll(b.shape[-1] // 2, -1) >= 0).all(-1)


def _inside(layout: PartLayout, exact: Tensor, cloud: Tensor, asked: Tensor, who: Tensor) -> tuple[Tensor, Tensor]:
    """The own slots whose points lie in boxes (Q, 2 d + 1), and for whom; those for a process rising, none twice.

    Args:
        exact: (balls, 2 d) boxes of the own balls, of which ``cloud`` says whose they are.
        asked: boxes, and the cloud of each.
        who: (Q,) who asks.
    """
    device, m, slots = exact.device, layout.ball_size, len(layout.coord)
    points = layout.coord.float().double()
    points = torch.cat([points, -points], 1).unflatten(0, (-1, m))
    valid = None if layout.valid is None else layout.valid.view(-1, m)
    found = [torch.zeros(0, dtype=torch.long, device=device)]
    for boxes, asking in zip(*(x.split(max(1, MAX_PAIRS // len(exact))) for x in (asked, who)), strict=True):
        pairs = _touch(exact, boxes[:, None, :-1]) & (cloud == boxes[:, -1:])
        for box, ball in zip(*(x.split(max(1, MAX_PAIRS // m)) for x in pairs.nonzero(as_tuple=True)), strict=True):
            inside = _touch(points[ball], boxes[box, None, :-1])
            if valid is not None:
                inside &= valid[ball]
            pair, place = inside.nonzero(as_tuple=True)
            found.append((asking[box[pair]] * slots + ball[pair] * m + place).unique())
    every = torch.cat(found).unique()
    return every % slots, every // slots
