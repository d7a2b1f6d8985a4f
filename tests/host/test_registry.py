from __future__ import annotations

import pytest

from pointcept_bsa.datasets.point_field import FILE_OPTIONS
from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded.registry import DATASETS, Registry


@pytest.fixture
def parts():
    registry = Registry("parts")

    @registry.register_module()
    class Wheel:
        def __init__(self, radius: int) -> None:
            self.radius = int(radius)

    @registry.register_module("Car-v1m1")
    class Car:
        def __init__(self, wheels: list, spare: dict | None = None) -> None:
            self.wheels = [registry.build(wheel) for wheel in wheels]
            self.spare = registry.build(spare) if spare else None

    return registry


def test_builds_by_name_and_leaves_the_config_alone(parts):
    cfg = {"type": "Wheel", "radius": 3}
    assert parts.build(cfg).radius == 3
    assert cfg == {"type": "Wheel", "radius": 3}
    assert parts.build({"type": parts.get("Wheel"), "radius": 4}).radius == 4


def test_duplicate_name_raises_key_error_unless_forced(parts):
    with pytest.raises(KeyError):
        parts.register_module("Wheel")(int)
    parts.register_module("Wheel", force=True, module=int)
    assert parts.get("Wheel") is int


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        ({"type": "Weel"}, "model.type='Weel' is not in the parts registry (did you mean 'Wheel'?)"),
        ({"radius": 1}, "model: no key 'type'"),
        ({"type": "Wheel", "radus": 1}, "model (Wheel): unknown argument 'radus' (did you mean 'radius'?)"),
        ({"type": "Wheel"}, "model (Wheel): missing argument 'radius'"),
        ({"type": "Wheel", "radius": "big"}, "model (Wheel): invalid literal"),
        (
            {"type": "Car-v1m1", "wheels": [{"type": "Wheel", "radius": 1}, {"type": "Wheel", "radius": "big"}]},
            "model.wheels[1] (Wheel): invalid literal",
        ),
        ({"type": "Car-v1m1", "wheels": [], "spare": {"type": "Wheal"}}, "model.spare.type='Wheal'"),
        ("Wheel", "model: expected a dict"),
    ],
)
def test_mistakes_name_the_place_and_the_nearest_name(parts, cfg, message):
    with pytest.raises(InputError) as caught:
        parts.build(cfg, path="model")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        (
            {"type": "PipeDataset", "feilds": ()},
            "data (PipeDataset): unknown argument 'feilds' (did you mean 'fields'?)",
        ),
        ({"type": "PipeDataset", "transform": 3}, "data (PipeDataset): transform: got 3, wanted "),
        ({"type": "PipeDataset", "split": 3}, "data (PipeDataset): split: got 3, wanted "),
        (
            {"type": "CustomFieldDataset", "sead": 1},
            "data (CustomFieldDataset): unknown argument 'sead' (did you mean 'seed'?)",
        ),
    ],
)
def test_so_do_those_in_what_a_class_hands_on(cfg, message):
    with pytest.raises(InputError) as caught:
        DATASETS.build(cfg, path="data")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("option", FILE_OPTIONS)
def test_what_a_class_takes_from_those_it_hands_on_is_known(option, tmp_path):
    with pytest.raises(InputError, match=r"data \(CustomFieldDataset\): ") as caught:
        DATASETS.build({"type": "CustomFieldDataset", "data_root": str(tmp_path), option: None}, path="data")
    assert "unknown argument" not in str(caught.value)


def test_a_class_of_others_may_hand_on_to_anything(parts):
    @parts.register_module()
    class Open:
        def __init__(self, **more: int) -> None:
            self.more = more

    assert parts.build({"type": "Open", "radius": 3}).more == {"radius": 3}
