"""What every test gets: fixed seeds, one torch thread, the ``gpu`` marker, real data and the ball tree's peer.

Environment
    PCBSA_TEST_DATA   folder of the real data files (default: ``../shared/data`` beside the repository)
    OMP_NUM_THREADS   torch threads of the test run (default 1)
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch starts its threads, and for the processes tests start
os.environ.setdefault("MPLBACKEND", "Agg")

import hypothesis
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "distributed"))  # tests, and their processes, import ``together`` by its name
MISSING = "missing: "  # begins the reason of every skip that the summary repeats

hypothesis.settings.register_profile("pointcept_bsa", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("pointcept_bsa")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--gpu", action="store_true", help="run tests marked gpu even where torch sees no CUDA device")


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--gpu") or torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Seed before the fixtures of any scope, so that a test run alone sees the numbers it sees among others."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say aloud, with the number of tests each thing cost, what was absent."""
    counts: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else ""
        if reason.startswith(MISSING):
            counts[reason] = counts.get(reason, 0) + 1
    if counts:
        terminalreporter.section("NOT TESTED: something is missing", yellow=True, bold=True)
        for reason, count in sorted(counts.items()):
            terminalreporter.line(f"{count} test(s) skipped, {reason}", yellow=True)


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """``real_data("shapenet_car_mini.npz")`` is the path of that file; the test is skipped, loudly, without it."""
    folder = Path(os.environ.get("PCBSA_TEST_DATA") or ROOT.parent / "shared" / "data")

    def find(name: str) -> Path:
        path = folder / name
        if not path.is_file():
            pytest.skip(f"{MISSING}data file {name} (set PCBSA_TEST_DATA to its folder)")
        return path

    return find


@pytest.fixture(scope="session")
def balltree_peer() -> ModuleType:
    """The C++ ball tree of ``balltree-erwin``; the test is skipped, loudly, where it is not installed."""
    try:
        return importlib.import_module("balltree")
    except ModuleNotFoundError:
        pytest.skip(f"{MISSING}package balltree-erwin (part of the extra [test])")


class Launches(TorchDispatchMode):
    """The names of the operators that run, and the shapes of what they return (None: not one tensor)."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.shapes: list[tuple[int, ...] | None] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func._schema.name.removeprefix("aten::"))
        out = func(*args, **(kwargs or {}))
        self.shapes.append(tuple(out.shape) if isinstance(out, torch.Tensor) else None)
        return out


@pytest.fixture
def launches() -> type[Launches]:
    """``with launches() as seen: ...`` lists in ``seen.names`` the operators that ran."""
    return Launches


@pytest.fixture
def calls() -> Callable[..., contextlib.AbstractContextManager[list[str]]]:
    """``with calls(f, g) as made: ...`` lists in ``made`` the name of f or g at each of their calls in this thread."""

    @contextlib.contextmanager
    def watched(*functions: Callable[..., Any]) -> Iterator[list[str]]:
        codes, made = {inspect.unwrap(function).__code__ for function in functions}, []

        def note(frame: FrameType, event: str, argument: Any) -> None:
            if event == "call" and frame.f_code in codes:
                made.append(frame.f_code.co_name)

        before = sys.getprofile()
        sys.setprofile(note)
        try:
            yield made
        finally:
            sys.setprofile(before)

    return watched


@pytest.fixture
def interrupted() -> Callable[[Callable[..., Any], int], contextlib.AbstractContextManager[None]]:
    """``with interrupted(f, 3): ...``: Ctrl-C when f is called for the third time in this thread, as it begins."""

    @contextlib.contextmanager
    def watched(function: Callable[..., Any], number: int) -> Iterator[None]:
        code, left = inspect.unwrap(function).__code__, number

        def note(frame: FrameType, event: str, argument: Any) -> None:
            nonlocal left
            if event == "call" and frame.f_code is code:
                left -= 1
                if left == 0:
                    raise KeyboardInterrupt

        before = sys.getprofile()
        sys.setprofile(note)
        try:
            yield
        finally:
            sys.setprofile(before)
        assert left == 0, f"{function.__name__} was not called {number} times"

    return watched
