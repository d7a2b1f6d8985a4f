"""A tool answers ``--help`` at once, from anywhere, and says what is missing where packages are."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE

from pointcept_bsa.__main__ import main as pcbsa
from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded.config import Config, run_custom_imports
from pointcept_bsa.version import __version__

ROOT = Path(__file__).resolve().parents[2]
TOOLS = sorted(path.stem for path in (ROOT / "tools").glob("*.py"))
SECONDS = 2.0  # of a processor: others use the machine, too


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A Python that finds the package only as the tools find it."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE
    )


@pytest.mark.parametrize("words", [*([tool] for tool in TOOLS), ["prepare_data", "custom"]], ids=" ".join)
def test_help_comes_at_once(tmp_path, words):
    tool = str(ROOT / "tools" / f"{words[0]}.py")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run(tmp_path, "-X", "importtime", tool, *words[1:], "--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < SECONDS
    assert done.returncode == 0 and done.stdout.startswith("usage: ")
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "pointcept_bsa.arguments" in imported
    assert not imported & {"torch", "numpy", "scipy", "mmengine", "matplotlib"}


@pytest.mark.parametrize("tool", ["train", "predict", "compare", "prepare_data"])
def test_packages_that_are_not_installed_are_told(tmp_path, tool):
    words = {
        "train": ["--config", "x.py"],
        "predict": ["--weight", "x", "--input", "y", "--output", "z"],
        "compare": ["x"],
        "prepare_data": ["beams", "--src", "x", "--dst", "y"],
    }
    done = run(tmp_path, "-S", str(ROOT / "tools" / f"{tool}.py"), *words[tool])  # without site-packages
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and "is not installed" in lines[0] and "pip install -c constraints.txt -e ." in lines[0]


def test_a_module_of_ones_own_that_is_not_found(tmp_path, monkeypatch):
    cfg = Config(dict(custom_imports=dict(imports=["pointcept_bsa", "my_lost_part"], allow_failed_imports=False)))
    with pytest.raises(InputError, match=r"no module 'my_lost_part' .*PYTHONPATH=\. for"):
        run_custom_imports(cfg)
    (tmp_path / "my_lost_part.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    run_custom_imports(cfg)


def test_the_version_is_told(capsys):
    assert pcbsa(["--version"]) == 0
    assert capsys.readouterr().out == f"pointcept_bsa {__version__}\n"
