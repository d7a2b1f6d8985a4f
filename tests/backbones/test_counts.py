"""Numbers too small to build a network of are refused by name, whatever the network."""

from __future__ import annotations

import inspect

import pytest

from pointcept_bsa.backbones.counts import LEAST, check_count
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import MODELS

NETWORKS = sorted(name for name in MODELS.module_dict if name.partition("-")[2].startswith("v"))


@pytest.mark.parametrize("network", NETWORKS)
def test_every_count_has_a_least_value(network):
    parameters = inspect.signature(MODELS.module_dict[network]).parameters
    counts = [name for name, p in parameters.items() if str(p.annotation) in ("int", "int | None", "Sequence[int]")]
    assert counts and set(counts) <= set(LEAST)
    for name in counts:
        bad = LEAST[name] - 1
        value = [bad] * len(parameters[name].default) if isinstance(parameters[name].default, tuple) else bad
        with pytest.raises(InputError, match=rf"{name}: got .*, wanted .* of at least {LEAST[name]}"):
            MODELS.build(dict(type=network, **{name: value}))


def test_other_values_are_no_counts():
    for name, value in (("near", None), ("mp_steps", 0), ("depth", 1), ("rotate", -45.0), ("channels", [4, 5])):
        check_count(name, value)
    with pytest.raises(InputError, match="channels: got \\[4, 0\\], wanted integers of at least 1"):
        check_count("channels", [4, 0])
