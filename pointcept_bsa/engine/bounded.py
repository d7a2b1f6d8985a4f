"""Evaluation within a bound on the points of one forward pass.

Clouds of a batch are run apart where together they are too many: that changes nothing. A cloud that alone is too large
is split at random into pieces of nearly equal size, each a sample of the whole cloud like those that
``SamplePoints`` trains on, so that every point is predicted once from a piece. That is an approximation: each piece
sees the cloud at a lower density. Several votes average the predictions of as many random splits.

(Balls of the tree as pieces would keep the density but lose all that lies outside; the networks here look at the whole
cloud in every layer.)
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pointcept_bsa.errors import InputError
from pointcept_bsa.host.batch import offset_of
from pointcept_bsa.host.memory import memory_watched

# Made for the whole cloud: left out of pieces, whose models compute them anew.
OF_THE_WHOLE = ("tree_order", "neighbor_index", "face")
NOT_NEEDED = ("target", "segment")  # or every piece would compute a loss


class BoundedModel:
    """Calls a model in evaluation mode on at most ``max_points`` points at once.

    Args:
        model: batch -> dict with ``pred`` (N, K) and maybe other tensors of N rows (``variance`` of the prediction).
        max_points: None for no bound.
        votes: random splits of a cloud that is too large; predictions are averaged.

    Attributes:
        pieces: name of each cloud that was split -> number of its pieces.
    """

    def __init__(self, model: nn.Module, max_points: int | None = None, votes: int = 1) -> None:
        self.model, self.max_points, self.votes = model, max_points, votes
        self.pieces: dict[str, int] = {}

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Output for the whole batch; only what has a row a point where the batch had to be run in parts.

        Raises:
            OutOfMemory: with what to lower.
        """
        with memory_watched("evaluation", batch, batch["coord"].device, self.advice):
            if self.max_points is None or len(batch["coord"]) <= self.max_points:
                return self.model(batch)
            return join(list(self.parts(batch)))

    def advice(self) -> str:
        """What to lower."""
        if self.max_points is not None:
            return f"lower test_cfg.max_points (now {self.max_points:,})"
        return "lower batch_size_val, batch_size_test, or bound a forward pass: data.test.test_cfg=dict(max_points=...)"

    def parts(self, batch: Mapping[str, Any]) -> Iterator[dict[str, Tensor]]:
        """Outputs of runs of consecutive clouds within the bound, and of large clouds."""
        assert self.max_points is not None
        starts = cloud_starts(batch)
        first = 0
        while first < len(starts) - 1:
            last = first + 1
            while last < len(starts) - 1 and starts[last + 1] - starts[first] <= self.max_points:
                last += 1
            clouds = cut_clouds(batch, starts, first, last)
            too_large = starts[last] - starts[first] > self.max_points
            yield self.in_pieces(clouds) if too_large else per_point(self.model(clouds), clouds)
            first = last

    def in_pieces(self, cloud: Mapping[str, Any]) -> dict[str, Tensor]:
        """The output for one cloud, of ``votes`` random splits."""
        assert self.max_points is not None
        n, device = len(cloud["coord"]), cloud["coord"].device
        count = -(-n // self.max_points)
        name = cloud["name"][0] if "name" in cloud else ""
        self.pieces[name] = count
        votes = []
        for vote in range(self.votes):
            order = random_order(n, name, vote).to(device)
            pieces = [piece.sort().values for piece in order.tensor_split(count)]
            found = join([per_point(self.model(part), part) for part in (cut_points(cloud, i) for i in pieces)])
            places = torch.argsort(torch.cat(pieces))
            votes.append({key: value[places] for key, value in found.items()})
        return average(votes)


def bounded(model: nn.Module, dataset: Any) -> BoundedModel:
    """The model within the bound of ``dataset.test_cfg``: ``max_points`` and ``votes``."""
    test_cfg = getattr(dataset, "test_cfg", None) or {}
    return BoundedModel(model, test_cfg.get("max_points"), test_cfg.get("votes", 1))


def random_order(n: int, name: str, vote: int) -> Tensor:
    """A random order of n points, always the same for a cloud's name and a vote."""
    own = name.rsplit("/", 1)[-1]  # tools/predict.py knows a sample by its file alone
    generator = torch.Generator().manual_seed(zlib.crc32(f"{own} {vote}".encode()))
    return torch.randperm(n, generator=generator)


def cloud_starts(batch: Mapping[str, Any]) -> list[int]:
    """First point of each cloud, and the number of all points."""
    offset = batch["offset"]
    return [0, *(getattr(offset, "host_values", None) or offset.tolist())]


def cut_clouds(batch: Mapping[str, Any], starts: list[int], first: int, last: int) -> dict[str, Any]:
    """The batch of the clouds from ``first`` to before ``last``.

    Raises:
        InputError: an entry that has neither a row a point nor one a cloud, so that it cannot be shared out.
    """
    points, clouds, cut = starts[-1], len(starts) - 1, {}
    for key, value in batch.items():
        if key in NOT_NEEDED or key == "offset":
            continue
        if _rows(value) == points:
            cut[key] = value[starts[first] : starts[last]]
        elif _rows(value) == clouds:
            cut[key] = value[first:last]
        elif key not in OF_THE_WHOLE:
            raise InputError(
                f"test_cfg.max_points: the batch's {key!r} has neither a row a point ({points}) nor one a cloud "
                f"({clouds}), wanted only such entries in CollectPoints to evaluate in pieces"
            )
    lengths = [starts[i + 1] - starts[i] for i in range(first, last)]
    return {**cut, "offset": offset_of(lengths, batch["offset"])}


def cut_points(cloud: Mapping[str, Any], index: Tensor) -> dict[str, Any]:
    """One cloud's points ``index`` as a cloud of their own."""
    points = len(cloud["coord"])
    cut = {}
    for key, value in cloud.items():
        if key in OF_THE_WHOLE or key == "offset":
            continue
        cut[key] = value[index] if _rows(value) == points else value
    return {**cut, "offset": offset_of([len(index)], cloud["offset"])}


def _rows(value: Any) -> int | None:
    return len(value) if isinstance(value, list) or (isinstance(value, Tensor) and value.ndim) else None


def per_point(output: Mapping[str, Any], batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """What of a model's output has a row a point."""
    points = len(batch["coord"])
    return {key: value for key, value in output.items() if _rows(value) == points}


def join(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Outputs one after the other."""
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def average(votes: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Means over the votes; the variance is that of the mixture of their distributions."""
    if len(votes) == 1:
        return votes[0]
    mean = {key: torch.stack([vote[key] for vote in votes]).mean(0) for key in votes[0]}
    if "variance" in mean:
        mean["variance"] += torch.stack([vote["pred"] for vote in votes]).var(0, correction=0)
    return mean
