"""A real checkout of Pointcept, named by the variable ``POINTCEPT``; what needs it is skipped, loudly, without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from patience import PATIENCE

from pointcept_bsa.datasets.preparers import prepare

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # the modules here import each other by name, also in processes that tests start
ROOT = HERE.parents[1]
Run = Callable[..., str]


@pytest.fixture(scope="session")
def checkout() -> Path:
    named = os.environ.get("POINTCEPT")
    if not named:
        pytest.skip("missing: a checkout of Pointcept (set POINTCEPT to its folder)")
    folder = Path(named)
    assert (folder / "tools" / "train.py").is_file(), f"POINTCEPT={named!r} is no checkout of Pointcept"
    return folder


@pytest.fixture(scope="session")
def run_python() -> Run:
    """Run a new interpreter with the repository and this folder on its path; its output, or a failure with it."""

    def run(*arguments: str, returncode: int = 0, **environment: str) -> str:
        paths = [str(ROOT), str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {key: value for key, value in os.environ.items() if not key.startswith("PCBSA_")}
        env |= {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", **environment}
        done = subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env=env, capture_output=True, text=True, timeout=PATIENCE
        )
        assert done.returncode == returncode, f"exit code {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-6000:]}"
        return done.stdout + done.stderr

    return run


@pytest.fixture(scope="session")
def report_of(run_python, tmp_path_factory, request) -> Callable[[str], dict]:
    """``report_of("embedded")``: what ``host_checks`` found in that host; run once a host."""
    reports: dict[str, dict] = {}

    def report(host: str) -> dict:
        if host not in reports:
            path = tmp_path_factory.mktemp(host) / "report.json"
            folder = [str(request.getfixturevalue("checkout"))] if host == "pointcept" else []
            run_python(str(HERE / "run_checks.py"), str(path), *folder, PCBSA_HOST=host)
            reports[host] = json.loads(path.read_text())
        return reports[host]

    return report


@pytest.fixture(scope="session")
def cars(tmp_path_factory, real_data) -> Path:
    """The four real cars, prepared."""
    folder = tmp_path_factory.mktemp("data") / "shapenet_car"
    prepare("shapenet_car", src=str(real_data("shapenet_car_mini.npz")), dst=str(folder))
    return folder
