"""For tests of kernels: exact products, and in Triton's interpreter a line a kernel, with its tests and their time."""

from __future__ import annotations

import os
from collections import defaultdict

import pytest
import torch


@pytest.fixture(autouse=True)
def precise():
    """No TF32 in what the kernels are held against."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if os.environ.get("TRITON_INTERPRET", "0") in ("", "0"):
        return
    found: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            file, _, test = report.location
            kernel = f"{os.path.basename(file)[5:-3]}: {test.partition('[')[0].removeprefix('test_')}"
            found[kernel].append((outcome, report.duration))
    terminalreporter.section("kernels in the interpreter")
    for kernel, tests in sorted(found.items()):
        failed = sum(outcome == "failed" for outcome, _ in tests)
        seconds = sum(duration for _, duration in tests)
        terminalreporter.line(f"{seconds:6.1f} s  {len(tests):3d} tests  {kernel}{f'  {failed} FAILED' * bool(failed)}")
