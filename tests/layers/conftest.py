"""The switch between plain and fused layers."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from pointcept_bsa.layers.fused.switch import switched


@pytest.fixture
def fuse():
    """Turns the switch to the fused layers on until the end of the test."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(switched(True))
