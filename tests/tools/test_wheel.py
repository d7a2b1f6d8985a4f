"""A wheel is enough: away from the checkout it has the configs and the tools, and builds and trains networks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE

from pointcept_bsa.__main__ import main
from pointcept_bsa.arguments.carried import COMMANDS, command_line, config_names, config_path

ROOT = Path(__file__).resolve().parents[2]
TINY = ["device=cpu", "num_worker=0", "max_iters=1", "eval_every=1", "test.pictures=False", "model.backbone.depth=1"]
TINY += [f"data.{split}.num_samples=2" for split in ("train", "val", "test")]


@pytest.fixture(scope="module")
def away(tmp_path_factory) -> Path:
    """A folder elsewhere; ``site`` in it has what the wheel installs."""
    pytest.importorskip("setuptools", minversion="70.1", reason="missing: package setuptools (of the extra [test])")
    folder = tmp_path_factory.mktemp("away")
    source = folder / "source"
    for name in ("pointcept_bsa", "configs", "tools"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, source], check=True, timeout=PATIENCE
    )
    (wheel,) = folder.glob("*.whl")
    subprocess.run(
        [*pip, "install", "--no-deps", "--no-index", "--no-compile", "--target", folder / "site", wheel],
        check=True,
        timeout=PATIENCE,
    )
    shutil.rmtree(source)
    return folder


def run(folder: Path, *words: str) -> str:
    """Standard output of a Python that finds the package in the wheel alone."""
    environment = {**os.environ, "PYTHONPATH": str(folder / "site"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_command_lists_tools_and_configs(away):
    script = str(away / "site" / "bin" / "pcbsa")
    said = run(away, script, "--help")
    assert all(f"\n  {command} " in said for command in COMMANDS)
    assert run(away, script, "configs").split() == config_names()
    assert run(away, "-m", "pointcept_bsa", "prepare", "--help").startswith("usage: pcbsa prepare ")


def test_a_network_is_built_of_a_carried_config(away):
    code = (
        "import pointcept_bsa; from pointcept_bsa.host import build_model; "
        "from pointcept_bsa.host.embedded.config import load_config; "
        "cfg = load_config('configs/shapenet_car/bsa.py'); print(pointcept_bsa.__file__); "
        "print(cfg.filename); print(type(build_model(cfg.model).backbone).__name__)"
    )
    package, config, network = run(away, "-c", code).split()
    assert Path(package).is_relative_to(away) and network == "BSATransformer"
    assert Path(config) == away / "site" / "pointcept_bsa" / "configs" / "shapenet_car" / "bsa.py"


def test_a_run_is_trained_and_exported(away):
    command = ["-m", "pointcept_bsa"]
    run(away, *command, "train", "--config", "ellipsoid_flow/bsa", "--options", "save_path=run", *TINY)
    run(away, *command, "export", "run", "--output", "model.safetensors")
    assert (away / "run" / "test" / "metrics.json").is_file()
    code = (
        "import numpy, pointcept_bsa; points = numpy.random.default_rng(0).random((40, 3)); "
        "network = pointcept_bsa.load('model.safetensors', device='cpu'); "
        "print(len(network.predict(points, normal=points)['pressure_coefficient']))"
    )
    assert run(away, "-c", code) == "40\n"


def test_every_tool_has_a_command():
    assert sorted(COMMANDS.values()) == sorted(path.stem for path in (ROOT / "tools").glob("*.py"))


def test_a_config_on_the_disk_comes_first(tmp_path, monkeypatch):
    own = str(ROOT / "configs" / "shapenet_car" / "bsa.py")
    monkeypatch.chdir(tmp_path)
    for name in ("shapenet_car/bsa", "shapenet_car/bsa.py", "configs/shapenet_car/bsa", "configs/shapenet_car/bsa.py"):
        assert config_path(name) == own
    for name in ("shapenet_car/bsb", "../configs/shapenet_car/bsa.py", str(tmp_path / "shapenet_car/bsa.py"), ""):
        assert config_path(name) == name
    (tmp_path / "shapenet_car").mkdir()
    (tmp_path / "shapenet_car" / "bsa.py").touch()
    assert config_path("shapenet_car/bsa.py") == "shapenet_car/bsa.py"


@pytest.mark.parametrize("words", [["trian"], ["configs", "bsa"], ["train", "--config", "shapenet_car/bsb"]])
def test_a_slip_is_one_line_with_the_nearest_name(words, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pcbsa"])
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert "did you mean" in error


def test_commands_that_are_told_can_be_typed(monkeypatch, tmp_path):
    words = ("custom", "--src", "<your files>", "--dst", "my data/a")
    assert command_line("prepare_data", *words) == (
        "python tools/prepare_data.py custom --src <your files> --dst 'my data/a'"
    )
    monkeypatch.setattr("pointcept_bsa.arguments.carried.PACKAGE", tmp_path)
    (tmp_path / "tools").mkdir()  # as in an installed wheel
    assert command_line("prepare_data", *words) == "pcbsa prepare custom --src <your files> --dst 'my data/a'"
    assert command_line("train", "--config", Path("a.py")) == "pcbsa train --config a.py"
