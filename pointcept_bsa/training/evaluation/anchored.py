"""Evaluation from anchors: some points of a cloud are encoded once, and every point is predicted as a query.

Anchors are drawn uniformly without replacement, always the same ones for a cloud's name and a seed. They, too, are
predicted as queries: a prediction depends on where a point is, not on whether it was drawn. What the device holds is
the anchors' keys and values, and one chunk of queries, however many there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.domains import DOMAIN
from pointcept_bsa.host.memory import memory_watched
from pointcept_bsa.samples import to_device
from pointcept_bsa.training.checkpoints.checkpoint import unwrap
from pointcept_bsa.training.evaluation.bounded import (
    BoundedModel,
    Split,
    average,
    cloud_starts,
    cut_clouds,
    cut_points,
    join,
    random_order,
)

CHUNK = 32768


Anchors = int | Mapping[str, int]


def told_anchors(anchors: Anchors) -> str:
    """ "2048", or "1024 surface, 2048 volume"."""
    if isinstance(anchors, Mapping):
        return ", ".join(f"{count} {name}" for name, count in anchors.items())
    return str(anchors)


class AnchoredModel(BoundedModel):
    """Calls a model in evaluation mode on the anchors of each cloud, then on all its points, a chunk at a time.

    A batch on the host stays there: only anchors and chunks go to the model's device, and outputs come back.

    Args:
        model: with ``encode_anchors``, ``decode`` and ``scalars_of``, as :class:`.DefaultRegressor` has them.
        anchors: how many, of a cloud with fewer points all; or {domain: how many} for each domain of the model.
        chunk: queries at a time.
        votes: draws of anchors; predictions are averaged.
        seed: of the draw.

    Raises:
        InputError: another model, or one whose parameters are in shards; other domains than those of the model.
    """

    def __init__(self, model: nn.Module, anchors: Anchors, chunk: int = CHUNK, votes: int = 1, seed: int = 0) -> None:
        super().__init__(model, votes=votes)
        self.anchors, self.chunk, self.seed = anchors, chunk, seed
        self.network: Any = unwrap(model)
        if not hasattr(self.network, "encode_anchors"):
            raise InputError(
                f"test_cfg.anchors: {type(self.network).__name__} has no way for queries, wanted DefaultRegressor or "
                "GaussianRegressor"
            )
        self.domains = list(getattr(self.network, "domains", None) or ())
        if isinstance(anchors, Mapping) and set(anchors) != set(self.domains):
            wanted = f"numbers of {self.domains}" if self.domains else "a number: the model has no domains"
            raise InputError(f"test_cfg.anchors: got {dict(anchors)}, wanted {wanted}")
        if any(type(parameter.data).__name__ == "DTensor" for parameter in model.parameters()):
            raise InputError("test_cfg.anchors: got parameters in shards (parallel='fsdp2'), wanted 'ddp' or 'flat'")

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        with memory_watched("evaluation", batch, next(self.model.parameters()).device, self.advice):
            starts = cloud_starts(batch)
            return join([self.cloud(cut_clouds(batch, starts, i, i + 1)) for i in range(len(starts) - 1)])

    def advice(self) -> str:
        return f"lower test_cfg.chunk (now {self.chunk:,}) or test_cfg.anchors (now {told_anchors(self.anchors)})"

    def split(self, n: int) -> Split | None:
        return None

    @torch.no_grad()
    def cloud(self, cloud: Mapping[str, Any]) -> dict[str, Tensor]:
        """The output for one cloud."""
        n, name = len(cloud["coord"]), cloud["name"][0] if "name" in cloud else ""
        device = next(self.model.parameters()).device
        votes = []
        for vote in range(self.votes):
            drawn = self.draw(random_order(n, name, self.seed + vote), cloud)
            anchors = to_device(cut_points(cloud, drawn.to(cloud["coord"].device)), device)
            memory = self.network.encode_anchors(anchors)
            outputs = (self.network.decode(memory, to_device(part, device), self.chunk) for part in self.chunks(cloud))
            there = cloud["coord"].device
            whole = self.network.scalars_of(memory)
            found = join([{key: value.to(there) for key, value in output.items()} for output in outputs])
            votes.append(found | {key: value.to(there) for key, value in whole.items()})
        return average(votes)

    def draw(self, order: Tensor, cloud: Mapping[str, Any]) -> Tensor:
        """The anchors among the points in random ``order``, ascending."""
        if not isinstance(self.anchors, Mapping):
            return order[: self.anchors].sort().values
        domain = cloud[DOMAIN].to(order.device)[order]
        parts = [order[domain == i][: self.anchors[name]] for i, name in enumerate(self.domains)]
        return torch.cat(parts).sort().values

    def chunks(self, cloud: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The cloud's points as queries, in their order."""
        n = len(cloud["coord"])
        for first in range(0, n, self.chunk):
            yield cut_points(cloud, slice(first, min(first + self.chunk, n)))

    def describe(self) -> str:
        """What people read."""
        return (
            f"every point predicted as a query of {told_anchors(self.anchors)} anchors (all points where there are no "
            f"more), drawn at random (seed {self.seed}), {self.votes} vote(s)"
        )
