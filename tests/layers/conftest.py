"""The switch between plain and fused layers; tests of several processes find ``together``."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from pointcept_bsa.layers.fused.switch import switched

sys.path.insert(0, str(Path(__file__).parents[1] / "distributed"))  # as there: processes import it by its name


@pytest.fixture
def fuse():
    """Turns the switch to the fused layers on until the end of the test."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(switched(True))
