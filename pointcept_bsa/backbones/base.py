"""What every backbone here does before and after its network: read the cloud, write the features."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from pointcept_bsa.backbones.counts import with_checked_counts
from pointcept_bsa.backbones.parts import check_parts
from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.ball_tree import cloud_lengths
from pointcept_bsa.geometry.padding import VALID, CloudPadding
from pointcept_bsa.host import Point
from pointcept_bsa.layers.conditioning import Conditioning
from pointcept_bsa.old_names import takes_old_arguments
from pointcept_bsa.samples import ANCHORS, PARAMETERS, host_ends


class Backbone(nn.Module):
    """A network from point features to point features.

    ``forward(Point | dict) -> Point`` reads ``feat`` (N, in_channels), ``coord`` (N, d) and ``offset`` (B,), and
    returns a Point with the same entries in the same order but ``feat`` (N, out_channels).

    Raises:
        InputError: features or coordinates of another width than the network was built for, or an empty cloud.

    A class that says ``shares_clouds = True`` also takes a part of each cloud in each of several processes
    (``context_parallel``), see :mod:`pointcept_bsa.distributed.mesh`, and returns the features of exactly these points.
    """

    shares_clouds = False
    wants_widths = True  # feat and coord as wide as in_channels and dimensionality say

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if "__init__" in vars(cls):
            cls.__init__ = with_checked_counts(takes_old_arguments(cls.__init__))  # type: ignore[method-assign]

    def __init__(self, in_channels: int, out_channels: int, dimensionality: int):
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.dimensionality = dimensionality
        self.condition: Conditioning | None = None

    def condition_on(self, parameters: int | None, widths: Sequence[int]) -> None:
        """Make the blocks (of ``widths`` channels) depend on so many ``parameters`` of a cloud; None: on none."""
        if parameters is not None:
            self.condition = Conditioning(parameters, widths)

    def films(self, point: Mapping[str, Any], lengths: tuple[int, ...]) -> list[Tensor] | None:
        """What each block is conditioned by, (B, 4, C) each; None: nothing."""
        return None if self.condition is None else self.condition(point, len(lengths))

    @abstractmethod
    def encode(self, point: Point, lengths: tuple[int, ...]) -> Tensor:
        """Features (N, out_channels) in input order, for clouds of ``lengths`` points."""

    def static_geometry(self, coord: Tensor) -> dict[str, Tensor]:
        """What spares the network work on one cloud (N, d) whose points stay where they are: entries of its sample.

        By name of the entry, (N, ...) each, in the form in which data sets hand them on; none if there is nothing.
        """
        return {}

    def padding(self, unit: int) -> CloudPadding:
        """What lays a sample into the slots of this network and fills it up to a multiple of ``unit`` of them.

        Of a batch of such samples the network makes features (S, out_channels) in the order of the slots; those of
        the points are the same as without padding. For training; see :mod:`pointcept_bsa.geometry.padding`.

        Raises:
            InputError: a network that takes points only, or a unit that does not fit its balls.
        """
        raise InputError(f"pad_clouds: {type(self).__name__} takes no padded clouds, wanted pad_clouds=None")

    def forward(self, point: Mapping[str, Any]) -> Point:
        lengths = self.check(point)
        out = Point(point)
        out["feat"] = self.encode(out, lengths)
        return out

    def check(self, point: Mapping[str, Any]) -> tuple[int, ...]:
        """Points of each cloud. Raises InputError unless the clouds fit the network."""
        check_parts(self, point)
        for key in ("coord", "feat", "offset"):
            if key not in point:
                raise InputError(f"{key}: missing from the sample (it has {sorted(point)}), wanted by every backbone")
        wanted = (("feat", "in_channels", self.in_channels), ("coord", "dimensionality", self.dimensionality))
        for key, argument, width in wanted:
            if point[key].shape[-1] != width:
                raise InputError(f"{key}: got {point[key].shape[-1]} channels, wanted {argument}={width}")
        if point["coord"].shape[0] == 0:
            raise InputError("coord: got a cloud with no points, wanted at least one")
        if ANCHORS in point:
            raise InputError(
                f"{ANCHORS}: got anchors and queries (SampleAnchors), which the model takes for points alike; wanted "
                "DefaultRegressor or GaussianRegressor"
            )
        if PARAMETERS in point and self.condition is None:
            raise InputError(
                f"{PARAMETERS}: got {tuple(point[PARAMETERS].shape)} in the batch, which {type(self).__name__} with "
                "condition=None does not use; wanted condition=P, or no parameter_keys in CollectPoints"
            )
        if VALID in point and type(self).padding is Backbone.padding:
            raise InputError(f"{VALID}: got a padded batch, which {type(self).__name__} does not take")
        try:
            return cloud_lengths(host_ends(point), point["coord"].shape[0])
        except ValueError as error:
            raise InputError(str(error)) from error
