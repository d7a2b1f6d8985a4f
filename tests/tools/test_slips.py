"""Every tool tells a slip of the user in one line with exit code 2."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded.cli import exit_code
from pointcept_bsa.host.embedded.options import parse_options

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "configs" / "ellipsoid_flow" / "bsa.py")
# What each tool needs beside --options; a tool without --options has None.
NEEDED = {
    "train": ["--config", CONFIG],
    "tune": ["--config", CONFIG, "--trials", "1", "--budget", "1"],
    "test": ["--config", CONFIG],
    "baselines": ["--config", CONFIG],
    "benchmark": ["--config", CONFIG, "--sizes", "64", "--device", "cpu"],
    "predict": ["--weight", "x", "--input", "y", "--output", "z"],
    "visualize": ["tree", "--config", CONFIG],
    "compare": None,
    "export": None,
    "prepare_data": None,
    "report": None,
}
TOOLS = sorted(path.stem for path in (ROOT / "tools").glob("*.py"))
WRONG = (["seed", "=", "0"], ["seed"], ["seed=", "0"], ["=0"], [""], ["hooks=[1,2"], ["hooks=(1,[2)"], ["a..b=1"])


def ends(tool, *words):
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / f"{tool}.py"), *words], capture_output=True, text=True, cwd=ROOT
    )
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 2, (tool, words, lines)
    assert "Traceback" not in done.stderr, (tool, words, lines)
    assert lines[-1].startswith("error: "), (tool, words, lines)
    return lines[-1]


def test_every_tool_is_known_here():
    assert sorted(NEEDED) == TOOLS


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_a_wrong_option_is_named(words):
    with pytest.raises(InputError, match="--options"):
        parse_options(words)


def test_right_options_are_read():
    words = ["a.b=1", "c=[1,2.5]", "d=(x,True)", "e=None", "f=a=b", "g=1,2"]
    assert parse_options(words) == {"a.b": 1, "c": [1, 2.5], "d": ("x", True), "e": None, "f": "a=b", "g": [1, 2]}


@pytest.mark.parametrize("tool", [tool for tool in TOOLS if NEEDED.get(tool)])
def test_spaces_around_the_sign(tool):
    line = ends(tool, *NEEDED[tool], "--options", "seed", "=", "0")
    assert "--options" in line and "'seed'" in line and "wanted key=value" in line.lower()


@pytest.mark.parametrize("tool", TOOLS)
def test_an_unknown_argument(tool):
    ends(tool, "--no-such-argument")


@pytest.mark.parametrize("write", [lambda way: (way / "x").mkdir(), lambda way: (way / "x").write_text("y")])
def test_a_file_in_the_way(tmp_path, capsys, write):
    (tmp_path / "way").write_text("")
    assert exit_code(lambda: write(tmp_path / "way")) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'way' / 'x'}: cannot be read or written (Not a directory)\n"


def test_a_full_disk(capsys):
    def write() -> int:
        with open("/dev/full", "w") as file:
            file.write("x")
        return 0

    assert exit_code(write) == 2
    assert capsys.readouterr().err == "error: cannot be read or written (No space left on device)\n"


def test_a_bug_keeps_its_traceback():
    with pytest.raises(OSError, match="bug"):
        exit_code(lambda: (_ for _ in ()).throw(OSError("bug")))
    with pytest.raises(ZeroDivisionError):
        exit_code(lambda: 1 // 0)
