"""Every tool tells a slip of the user in one line with exit code 2."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE

from pointcept_bsa.arguments import DictAction, Parser, given, parse_options
from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded.config import load_config
from pointcept_bsa.host.pointcept.__main__ import main as pointcept_main
from pointcept_bsa.training.cli import exit_code

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


def test_texts_of_options_keep_their_spaces(monkeypatch):
    monkeypatch.setenv("HOME", "/of/mine")
    words = [
        "save_path=exp/my run (1)/a  b",
        "data.train.names=[ Fall 1 , 'Fall  2', ( 3, p stat ) ]",
        "keys=p stat, 2",
        "seed= 3 ",
        "weight=~/my runs/x.pth",
        "x=a~b",
    ]
    assert parse_options(words) == {
        "save_path": "exp/my run (1)/a  b",
        "data.train.names": ["Fall 1", "Fall  2", (3, "p stat")],
        "keys": ["p stat", 2],
        "seed": 3,
        "weight": "/of/mine/my runs/x.pth",
        "x": "a~b",
    }


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


def test_a_file_that_is_not_there(tmp_path, monkeypatch, capsys):
    """Told in one line where the user named it, or what it lies in; a fault of the program where nobody did."""
    monkeypatch.setattr(given, "_paths", set())
    lost = tmp_path / "runs" / "lost.txt"
    with pytest.raises(FileNotFoundError):
        exit_code(lambda: len(lost.read_text()))
    with pytest.raises(FileNotFoundError):
        exit_code(lambda: len((ROOT / "pointcept_bsa" / "lost.json").read_text()))
    parser = Parser()
    parser.add_argument("--output")
    parser.add_argument("--options", nargs="+", action=DictAction)
    for words in (["--output", str(lost)], ["--options", f"data.root={lost.parent}"], ["--output", str(lost / "x")]):
        given._paths.clear()
        parser.parse_args(words)
        assert exit_code(lambda: len(lost.read_text())) == 2
        assert capsys.readouterr().err == f"error: {lost}: cannot be read or written (No such file or directory)\n"
    parser.parse_args(["--output", str(ROOT)])
    with pytest.raises(FileNotFoundError):
        exit_code(lambda: len((ROOT / "pointcept_bsa" / "lost.json").read_text()))


def test_places_of_a_config_are_given(tmp_path, monkeypatch):
    monkeypatch.setattr(given, "_paths", set())
    load_config(CONFIG, {"save_path": str(tmp_path / "run")})
    assert given.is_given(tmp_path / "run" / "model") and not given.is_given(tmp_path / "other")


def test_a_bug_keeps_its_traceback():
    with pytest.raises(OSError, match="bug"):
        exit_code(lambda: (_ for _ in ()).throw(OSError("bug")))
    with pytest.raises(ZeroDivisionError):
        exit_code(lambda: 1 // 0)


def main_of(tool):
    spec = importlib.util.spec_from_file_location(f"tool_{tool}", ROOT / "tools" / f"{tool}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, "main", None) or getattr(module, f"{tool}_main")


def refused(capsys, tool, *words):
    code, error = main_of(tool)([str(word) for word in words]), capsys.readouterr().err
    lines = error.strip().splitlines()
    assert code == 2 and "Traceback" not in error and lines[-1].startswith("error: "), (tool, words, code, error)
    assert sum(line.startswith("error") for line in lines) == 1, (tool, words, error)
    return lines[-1]


@pytest.fixture
def wrong(tmp_path):
    """Places that are not what is wanted; nothing may come beside them."""
    for name in ("empty.py", "empty.npz", "empty.pth", "way"):
        (tmp_path / name).write_text("")
    for name in ("folder.py", "folder"):
        (tmp_path / name).mkdir()
    (tmp_path / "broken.py").write_text("model = dict(\n")
    (tmp_path / "raises.py").write_text("1 / 0\n")
    (tmp_path / "base.py").write_text("_base_ = ['./none.py']\n")
    (tmp_path / "bytes.py").write_bytes(b"\xff\xfe\x00")
    before = sorted(tmp_path.rglob("*"))
    yield tmp_path
    assert [path for path in sorted(tmp_path.rglob("*")) if "__pycache__" not in path.parts] == before


SLIPS = ("sede=1", "seed.a=1", "hooks.99.type=x", "hooks.x.type=x", "model.x={'a':1}", "model.x=[{'a':1,'b':2}]")
SLIPS += ("model=3", "hooks=3", "hooks.0=4", "data.train=4", "device=tpu", "model.backbone.depths=(1")


@pytest.mark.parametrize("tool", [tool for tool in TOOLS if NEEDED.get(tool) and tool != "predict"])
def test_wrong_values_of_the_config(capsys, tool, wrong):
    for option in SLIPS:
        line = refused(capsys, tool, *NEEDED[tool], "--options", f"save_path={wrong / 'run'}", option)
        assert option.split("=")[0].split(".")[0] in line


@pytest.mark.parametrize("tool", [tool for tool in TOOLS if NEEDED.get(tool) and tool != "predict"])
def test_configs_that_are_none(capsys, tool, wrong):
    for name in ("none.py", "empty.py", "folder.py", "broken.py", "raises.py", "base.py", "bytes.py", "way"):
        words = [str(wrong / name) if word == CONFIG else word for word in NEEDED[tool]]
        refused(capsys, tool, *words, "--options", f"save_path={wrong / 'run'}")


@pytest.mark.parametrize("name", ["none", "folder", "way", "empty.pth", "empty.npz", "/dev/null", ""])
def test_runs_and_weights_that_are_none(capsys, wrong, name):
    place = wrong / name if name and not name.startswith("/") else name
    refused(capsys, "compare", place, "--output", wrong / "tables")
    refused(capsys, "report", place, "--output", wrong / "report.html")
    refused(capsys, "export", place, "--output", wrong / "model.safetensors")
    refused(capsys, "predict", "--weight", place, "--input", "y", "--output", wrong / "z.vtp")
    refused(capsys, "visualize", "receptive", place, "--output", wrong / "pictures")


@pytest.mark.parametrize("name", ["none", "folder", "way", "empty.npz"])
def test_raw_data_that_is_none(capsys, wrong, name):
    for data in ("shapenet_car", "periodic_hills", "elasticity", "cosmology", "airfrans", "beams", "ventricle"):
        refused(capsys, "prepare_data", data, "--src", wrong / name, "--dst", wrong / "out")
    for data in ("proteins", "nbody", "md", "airfoil", "pipe", "plasticity", "eagle"):
        refused(capsys, "prepare_data", data, "--src", wrong / name, "--dst", wrong / "out")
    refused(capsys, "prepare_data", "custom", "--target", "p", "--src", wrong / name, "--dst", wrong / "out")


def test_nobody_reads_any_more():
    """The reader of ``compare.py | head`` has gone: no traceback."""
    code = "from pointcept_bsa.training.cli import exit_code\nimport sys\n"
    code += "def run():\n    while True:\n        print('x' * 1000)\nsys.exit(exit_code(run))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as run:
        run.stdout.readline()
        run.stdout.close()
        assert run.stderr.read() == "" and run.wait(PATIENCE) == 141


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--pointcept", "none", "--config", CONFIG],
        ["train", "--pointcept", ".", "--config", "none.py"],
        ["train"],
        ["paint", "--pointcept", ".", "--config", CONFIG],
    ],
)
def test_the_door_to_pointcept(capsys, words):
    assert pointcept_main(words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ")
