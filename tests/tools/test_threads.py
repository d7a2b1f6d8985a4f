"""The tools have torch's threads sleep soon while they wait, unless the user says how they wait."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
UNSAID = {key: value for key, value in os.environ.items() if key not in WAITING} | {"PYTHONPATH": str(ROOT)}
SEEN = """
import os, sys
from pointcept_bsa.command import exit_code

def work():
    assert "torch" not in sys.modules
    print({{key: os.environ[key] for key in {waiting} if key in os.environ}})
    return 0

{before}
sys.exit(exit_code(work))
"""


def seen(before: str = "", **given: str) -> str:
    """What work of a tool finds in the environment."""
    text = SEEN.format(before=before, waiting=WAITING)
    done = subprocess.run(
        [sys.executable, "-c", text], env=UNSAID | given, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_threads_sleep_soon_while_they_wait():
    assert seen() == "{'GOMP_SPINCOUNT': '10000'}"


@pytest.mark.parametrize(("name", "value"), [("OMP_WAIT_POLICY", "ACTIVE"), ("GOMP_SPINCOUNT", "300000")])
def test_what_the_user_says_stays(name, value):
    assert seen(**{name: value}) == str({name: value})


def test_nothing_is_set_where_torch_has_read_it():
    assert seen(before="sys.modules['torch'] = None; work = lambda: print(os.environ.get('GOMP_SPINCOUNT')) or 0") == (
        "None"
    )


def test_torch_has_read_it_where_a_tool_works(tmp_path):
    """What OpenMP says of itself when it is loaded; the tool ends with what it was asked to read."""
    words = [sys.executable, str(ROOT / "tools" / "train.py"), "--config", str(tmp_path / "none.py")]
    done = subprocess.run(
        words, env=UNSAID | {"OMP_DISPLAY_ENV": "VERBOSE"}, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 2 and "no such file" in done.stderr
    assert "GOMP_SPINCOUNT = '10000'" in done.stderr
