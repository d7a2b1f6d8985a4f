"""Triton kernels in tests: on the GPU where there is one, else in a process of their own under Triton's interpreter.

Triton reads ``TRITON_INTERPRET`` when it is first imported: a process in which it was imported cannot turn it on.
``PCBSA_KERNELS=separate``: none is started, as ``.ci/run`` runs the kernels in a phase of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") not in ("", "0")
DEVICE = "cuda" if torch.cuda.is_available() and not INTERPRETED else "cpu"

kernel_test = pytest.mark.skipif(
    DEVICE == "cpu" and not INTERPRETED, reason="runs in the process of test_in_the_interpreter"
)


def run_in_interpreter(file: str) -> None:
    """Run the tests of ``file`` again in a process in which Triton interprets its kernels."""
    if DEVICE == "cuda" or INTERPRETED:
        pytest.skip("the kernels run in this process")
    if os.environ.get("PCBSA_KERNELS") == "separate":
        pytest.skip("the kernels run in a phase of their own")
    environment = os.environ | {"TRITON_INTERPRET": "1", "PCBSA_OPS": "triton", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", file]
    done = subprocess.run(command, env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
