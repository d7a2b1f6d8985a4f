"""Evaluation within a bound on the points of one forward pass, or at the density of training.

Clouds of a batch are run apart where together they are too many: that changes nothing. A cloud that alone is too large
is split at random into pieces, each a sample of the whole cloud like those that ``SamplePoints`` trains on, so that
every point is predicted from a piece. Each piece sees the whole geometry at a lower density. Where that is done for
the memory (``max_points``) the pieces are of nearly equal size, and it is an approximation. Where it is done for the
density (``piece_points``) every piece has the size of the clouds in training: a network whose neighbours and balls
shrink when a cloud has more points than in training may predict better so. Several votes average the predictions of as
many random splits.

(Balls of the tree as pieces would keep the density but lose all that lies outside; the networks here look at the whole
cloud in every layer.)
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pointcept_bsa import samples
from pointcept_bsa.distributed.mesh import context_size
from pointcept_bsa.distributed.parts import own_rows, whole_lengths
from pointcept_bsa.errors import InputError
from pointcept_bsa.host.memory import memory_watched
from pointcept_bsa.models.gaussian import mixture
from pointcept_bsa.samples import (
    CLOUD,
    ENDS,
    POINT,
    Batch,
    check_rows,
    entry,
    host_ends,
    names_points,
    rows_of,
    with_lengths,
)
from pointcept_bsa.training.evaluation.provenance import TrainingPoints

DENSER = 1.1  # a cloud of up to so many times the points of training is of its density
TRAINING = "training"
WHOLE, AT_TRAINING = "whole", "at_training_density"  # names of ways in records, reports and curves


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Within, the model is in evaluation mode; afterwards in the one it was in."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@dataclass(frozen=True)
class Split:
    """How a cloud is predicted: ``votes`` times in ``count`` pieces of ``size`` points.

    With ``even`` its points are shared out evenly and ``size`` is the most of a piece; else the last piece is filled up
    with points of others.
    """

    size: int
    count: int
    votes: int
    even: bool


class BoundedModel:
    """Calls a model in evaluation mode on at most ``max_points`` points at once, on clouds at a density.

    Args:
        model: batch -> dict with ``pred`` (N, K) and maybe other tensors of N rows (``variance`` of the prediction).
        max_points: None for no bound.
        votes: random splits of a cloud that is too large; predictions are averaged.
        piece_points: points of a piece of a cloud that is too dense; None: no cloud is.
        dense: a cloud of more points than this is too dense; None: of more than ``piece_points``.

    Attributes:
        pieces: name of each cloud that was split -> number of its pieces.
    """

    def __init__(
        self,
        model: nn.Module,
        max_points: int | None = None,
        votes: int = 1,
        piece_points: int | None = None,
        dense: float | None = None,
    ) -> None:
        self.model, self.max_points, self.votes = model, max_points, votes
        self.piece_points, self.dense = piece_points, piece_points if dense is None else dense
        self.pieces: dict[str, int] = {}

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Output for the whole batch; only what has a row a point where the batch had to be run in parts, and scalars
        of clouds, which of a cloud in pieces are the mean over these.

        Raises:
            OutOfMemory: with what to lower.
        """
        with memory_watched("evaluation", batch, batch["coord"].device, self.advice):
            within = self.max_points is None or sum(whole_lengths(batch)) <= self.max_points
            if within and not any(self.plan(batch)):
                return self.model(batch)
            return join(list(self.parts(batch)))

    def advice(self) -> str:
        """What to lower."""
        if self.max_points is not None:
            return f"lower test_cfg.max_points (now {self.max_points:,})"
        return "lower batch_size_val, batch_size_test, or bound a forward pass: data.test.test_cfg=dict(max_points=...)"

    def plan(self, batch: Mapping[str, Any]) -> list[Split | None]:
        """How each cloud is split; None: not at all."""
        return [self.split(points) for points in whole_lengths(batch)]

    def split(self, n: int) -> Split | None:
        """How a cloud of n points is split; None: not at all."""
        if self.piece_points is not None and self.dense is not None and n > self.dense:
            size = self.piece_points if self.max_points is None else min(self.piece_points, self.max_points)
            return Split(size, -(-n // size), self.votes, even=False)
        if self.max_points is not None and n > self.max_points:
            return Split(self.max_points, -(-n // self.max_points), self.votes, even=True)
        return None

    def parts(self, batch: Mapping[str, Any]) -> Iterator[dict[str, Tensor]]:
        """Outputs of runs of consecutive clouds within the bound, and of clouds that are split."""
        starts, plan, points = cloud_starts(batch), self.plan(batch), whole_lengths(batch)
        most = math.inf if self.max_points is None else self.max_points
        first = 0
        while first < len(starts) - 1:
            last = first + 1
            while plan[first] is None and last < len(plan) and plan[last] is None:
                if sum(points[first : last + 1]) > most:
                    break
                last += 1
            clouds = cut_clouds(batch, starts, first, last)
            split = plan[first]
            yield per_point(self.model(clouds), clouds) if split is None else self.in_pieces(clouds, split)
            first = last

    def in_pieces(self, cloud: Mapping[str, Any], split: Split) -> dict[str, Tensor]:
        """The output for one cloud, of random splits."""
        (n,), (own,), device = whole_lengths(cloud), own_rows(cloud), cloud["coord"].device
        name = cloud["name"][0] if "name" in cloud else ""
        self.pieces[name] = split.count
        votes = []
        for vote in range(split.votes):
            order = random_order(n, name, vote).to(device)
            parts = (within(points, keep, own) for points, keep in shares(order, split))
            found = join([self.piece(cloud, points, keep) for points, keep in parts])
            places = torch.argsort(within(order, n, own)[0])
            of_clouds = {key for key in found if entry(key).rows == CLOUD}
            mean = {key: found[key].mean(0, keepdim=True) for key in of_clouds}  # of the pieces
            votes.append(mean | {key: value[places] for key, value in found.items() if key not in of_clouds})
        return average(votes)

    def piece(self, cloud: Mapping[str, Any], points: Tensor, keep: int) -> dict[str, Tensor]:
        """The output for the first ``keep`` of ``points``, a piece, which the model gets in the order of the cloud."""
        index, order = points.sort()
        part = cut_points(cloud, index)
        places = torch.argsort(order)[:keep]
        found = per_point(self.model(part), part)
        return {key: value if entry(key).rows == CLOUD else value[places] for key, value in found.items()}


def shares(order: Tensor, split: Split) -> Iterator[tuple[Tensor, int]]:
    """The points of each piece, and how many of them, from the first, no other piece has had."""
    if split.even:
        yield from ((points, len(points)) for points in order.tensor_split(split.count))
        return
    for points in order.split(split.size):
        yield torch.cat([points, order[: split.size - len(points)]]), len(points)


def within(points: Tensor, keep: int, own: slice) -> tuple[Tensor, int]:
    """Those of some points of a cloud that lie in the part ``own``, by their places in it; how many are of ``keep``."""
    mine = (points >= own.start) & (points < own.stop)
    return points[mine] - own.start, int(mine[:keep].sum())


def test_settings(dataset: Any) -> Mapping[str, Any]:
    """``test_cfg`` of a data set, of any host."""
    return getattr(dataset, "test_cfg", None) or {}


def bounded(model: nn.Module, test_cfg: Mapping[str, Any], trained: TrainingPoints | None = None) -> BoundedModel:
    """The model as ``test_cfg`` wants it: ``max_points``, ``votes`` and ``piece_points``, or ``anchors``.

    Raises:
        InputError: pieces of the training's density where that is not known (``trained``); anchors of a model that has
            no way for queries.
    """
    if test_cfg.get("anchors") is not None:
        if context_size() > 1:
            raise InputError("test_cfg.anchors: got some with context_parallel, wanted anchors=None")
        from pointcept_bsa.training.evaluation.anchored import AnchoredModel  # which stands on this file

        return AnchoredModel(model, **{key: value for key, value in test_cfg.items() if value is not None})
    piece_points = test_cfg.get("piece_points")
    if piece_points != TRAINING:
        return BoundedModel(model, test_cfg.get("max_points"), test_cfg.get("votes", 1), piece_points)
    if trained is None:
        raise InputError(
            "test_cfg.piece_points: got 'training', but nothing says how many points clouds had in training; "
            "wanted a number"
        )
    return at_training_density(model, test_cfg, trained)


def at_training_density(model: nn.Module, test_cfg: Mapping[str, Any], trained: TrainingPoints) -> BoundedModel:
    """The model on clouds of the training's density: larger ones in pieces of the median of training."""
    dense = DENSER * trained.max
    return BoundedModel(model, test_cfg.get("max_points"), test_cfg.get("votes", 1), trained.median, dense)


def both_ways(model: nn.Module, test_cfg: Mapping[str, Any], trained: TrainingPoints | None) -> dict[str, BoundedModel]:
    """The model on whole clouds and, where it is known, at the density of training: ``WHOLE``, ``AT_TRAINING``.

    Both are within the memory bound of ``test_cfg``; where that is below the pieces' size there is only the one, and
    none where every point is predicted from anchors.
    """
    if test_cfg.get("anchors") is not None:
        return {}
    bound = test_cfg.get("max_points")
    ways = {WHOLE: BoundedModel(model, bound, test_cfg.get("votes", 1))}
    if trained is not None and (bound is None or bound >= trained.median):
        ways[AT_TRAINING] = at_training_density(model, test_cfg, trained)
    return ways


def describe_way(name: str, way: BoundedModel) -> str:
    """What people read for the name of one of :func:`both_ways`."""
    if name == WHOLE:
        return "whole clouds"
    votes = f", {way.votes} votes" if way.votes > 1 else ""
    return f"at the density of training (pieces of {way.piece_points} points{votes})"


def random_order(n: int, name: str, vote: int) -> Tensor:
    """A random order of n points, always the same for a cloud's name and a vote."""
    own = name.rsplit("/", 1)[-1]  # tools/predict.py knows a sample by its file alone
    generator = torch.Generator().manual_seed(zlib.crc32(f"{own} {vote}".encode()))
    return torch.randperm(n, generator=generator)


def cloud_starts(batch: Mapping[str, Any]) -> list[int]:
    """First point of each cloud, and the number of all points."""
    return [0, *host_ends(batch)]


def cut_clouds(batch: Mapping[str, Any], starts: list[int], first: int, last: int) -> Batch:
    """The batch of the clouds from ``first`` to before ``last``, without what models learn: pieces have no loss.

    Raises:
        InputError: an entry without rows that could be shared out.
    """
    points, clouds, cut = starts[-1], len(starts) - 1, {}
    for key, value in batch.items():
        rows = rows_of(key, value)
        if key == "offset" or entry(key).truth or entry(key).rows == samples.WHOLE:
            continue
        if rows == POINT:
            check_rows(key, value, points)
            cut[key] = value[starts[first] : starts[last]]
        elif rows == CLOUD:
            check_rows(key, value, clouds)
            cut[key] = value[first:last]
        elif rows == ENDS and len(value) % clouds == 0:
            each = len(value) // clouds
            before = value[first * each - 1] if first else 0
            cut[key] = value[first * each : last * each] - before
        else:
            raise InputError(
                f"test_cfg.max_points: got {key!r} in the batch, which has no rows to share out, wanted none in "
                "CollectPoints to evaluate in pieces"
            )
    return with_lengths(cut, [starts[i + 1] - starts[i] for i in range(first, last)], batch["offset"])


def cut_points(cloud: Mapping[str, Any], index: Tensor | slice) -> Batch:
    """One cloud's points ``index`` as a cloud of their own; what named points, or counted them, is left out."""
    cut = {}
    for key, value in cloud.items():
        rows = rows_of(key, value)
        if rows in (ENDS, samples.WHOLE) or entry(key).rows == samples.WHOLE or names_points(key):
            continue
        cut[key] = value[index] if rows == POINT else value
    return with_lengths(cut, [len(cut["coord"])], cloud["offset"])


def per_point(output: Mapping[str, Any], batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """What of a model's output has a row a point, or a row a cloud."""
    found = {k: v for k, v in output.items() if isinstance(v, Tensor) and rows_of(k, v) in (POINT, CLOUD)}
    for key, value in found.items():
        check_rows(key, value, len(batch["coord"] if rows_of(key, value) == POINT else batch["offset"]))
    return found


def join(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Outputs one after the other."""
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def average(votes: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Means over the votes; the variance is that of the mixture of their distributions."""
    if len(votes) == 1:
        return votes[0]
    stacked = {key: torch.stack([vote[key] for vote in votes]) for key in votes[0]}
    mean = {key: values.mean(0) for key, values in stacked.items()}
    if "variance" in mean:
        mean["variance"] = mixture(stacked["pred"], stacked["variance"])[1]
    return mean
