"""Values of a config that are of another kind than the class they are for says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pointcept_bsa.errors import InputError
from pointcept_bsa.host import DATASETS, LOSSES, MODELS, TESTERS, TRANSFORMS
from pointcept_bsa.host.embedded.kinds import wrong_kind
from pointcept_bsa.host.embedded.registry import Registry


class Everything:
    def __init__(
        self,
        count: int = 1,
        size: float = 1,
        name: str = "a",
        flag: bool = False,
        how: bool | str = False,
        maybe: int | None = None,
        sizes: Sequence[int] = (),
        names: Sequence[str] | None = None,
        pair: tuple[float, float] = (0, 1),
        each: int | Mapping[str, int] = 1,
        lots: Sequence[Mapping[str, Any]] = (),
        loose: Any = None,
        path: Path | None = None,
        sloppy: int = None,  # type: ignore[assignment]
        array: np.ndarray | Sequence[float] = (),
    ) -> None: ...


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("count", "two", "count: got 'two', wanted an integer"),
        ("count", 2.0, "count: got 2.0, wanted an integer"),
        ("count", True, "count: got True, wanted an integer"),
        ("count", None, "count: got None, wanted an integer"),
        ("count", [1], "count: got [1], wanted an integer"),
        ("size", "1e-3x", "size: got '1e-3x', wanted a number"),
        ("name", 3, "name: got 3, wanted a text"),
        ("flag", 1, "flag: got 1, wanted True or False"),
        ("flag", "yes", "flag: got 'yes', wanted True or False"),
        ("how", 1, "how: got 1, wanted True or False or a text"),
        ("maybe", "x", "maybe: got 'x', wanted an integer or None"),
        ("sizes", 4, "sizes: got 4, wanted a list of integers"),
        ("sizes", [4, "x"], "sizes: got [4, 'x'], wanted a list of integers"),
        ("names", "mse", "names: got 'mse', wanted a list of texts or None"),
        ("pair", 1, "pair: got 1, wanted a list of numbers"),
        ("each", "anchors=3", "each: got 'anchors=3', wanted an integer or a dict"),
        ("lots", "MSELoss", "lots: got 'MSELoss', wanted a list of values"),
    ],
)
def test_another_kind_is_told(name, value, wanted):
    assert wrong_kind(Everything, {name: value}) == wanted


def test_what_fits_or_is_not_plain_passes():
    good = dict(count=np.int64(3), size=2, name="b", flag=True, how="x", maybe=None, sizes=[1, 2], names=("a",))
    good |= dict(pair=[0, 1], each={"a": 1}, lots=[{"type": "x"}], loose=3, path="a/b", sloppy=None)
    assert wrong_kind(Everything, good) is None
    assert wrong_kind(Everything, dict(count=torch.tensor(3), sizes=np.arange(3), array=np.arange(3))) is None


@pytest.mark.parametrize(
    ("registry", "cfg", "message"),
    [
        (MODELS, dict(type="BSA-v1m1", depth="two"), r"BSA-v1m1\): depth: got 'two', wanted an integer"),
        (MODELS, dict(type="BSA-v1m1", in_channels=2.5), "in_channels: got 2.5, wanted an integer"),
        (MODELS, dict(type="Erwin-v1m1", enc_depths=6), "enc_depths: got 6, wanted a list of integers"),
        (LOSSES, dict(type="MSELoss", physical="no"), "physical: got 'no', wanted True or False"),
        (LOSSES, dict(type="MSELoss", loss_weight="big"), "loss_weight: got 'big', wanted a number"),
        (TRANSFORMS, dict(type="FourierFeatures", keys="coord"), "keys: got 'coord', wanted a list of texts"),
        (DATASETS, dict(type="EllipsoidFlowDataset", num_points="many"), "num_points: got 'many', wanted an integer"),
        (TESTERS, dict(type="RegressionTester", cfg=None, metrics="mse"), "metrics: got 'mse', wanted a list of texts"),
    ],
)
def test_a_mistake_in_a_config_names_the_argument(registry, cfg, message):
    with pytest.raises(InputError, match=message):
        registry.build(cfg)


def test_annotations_of_others_count_only_where_their_class_fails():
    own = Registry("own")

    @own.register_module()
    class Loose:
        def __init__(self, rate: int = 1):
            self.rate = rate

    @own.register_module()
    class Strict:
        def __init__(self, rate: int = 1):
            self.rate = range(rate)

    assert own.build(dict(type="Loose", rate=0.5)).rate == 0.5
    with pytest.raises(InputError, match="rate: got 0.5, wanted an integer"):
        own.build(dict(type="Strict", rate=0.5))
