from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ..small_runs import ROOT, SMALL, benchmark_settings, benchmark_tool, load_tool, small_run, tool  # noqa: F401

sys.path.insert(0, str(Path(__file__).parent))  # configs, also in spawned processes, import host_toys by name

from toy_config import CONFIG


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def config(tmp_path: Path, run_dir: Path) -> str:
    path = tmp_path / "toy.py"
    path.write_text(CONFIG.format(save_path=str(run_dir)))
    return str(path)


@pytest.fixture
def toys():
    import host_toys

    for log in (host_toys.Diary.notes, host_toys.Diary.names, host_toys.ToyTester.results):
        log.clear()
    return host_toys
