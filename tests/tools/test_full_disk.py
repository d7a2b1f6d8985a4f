"""A tool whose output has no room ends in one line with exit code 2, whatever it was writing."""

from __future__ import annotations

import builtins
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from pointcept_bsa.__main__ import main as pcbsa
from pointcept_bsa.errors import InputError
from pointcept_bsa.files.npy_file import save_npy

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "configs" / "ellipsoid_flow" / "bsa.py")
TINY = ["device=cpu", "num_worker=0", "max_iters=2", "eval_every=2", "seed=0", "test.pictures=False"]
TINY += [f"data.{split}.num_samples=2" for split in ("train", "val", "test")]
TINY += [f"data.{split}.num_points=64" for split in ("train", "val", "test")]
TINY += ["model.backbone.depth=1", "model.backbone.ball_size=32"]
FULL = "No space left on device"


def run_tool(name: str, *words: object) -> int:
    return pcbsa([name.removesuffix("_data"), *map(str, words)])


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A run, a cloud, and raw data."""
    folder = tmp_path_factory.mktemp("place")
    assert run_tool("train", "--config", CONFIG, "--options", f"save_path={folder / 'run'}", *TINY) == 0
    np.savez(folder / "cloud.npz", coord=np.random.rand(70, 3), normal=np.random.rand(70, 3))
    (folder / "raw").mkdir()
    for i in range(4):
        coord = np.random.rand(50, 3)
        np.savez(folder / "raw" / f"s{i}.npz", coord=coord, p=coord[:, 0] + i)
    return folder


@pytest.fixture
def full(tmp_path, monkeypatch) -> Path:
    """A folder in which every file is /dev/full."""
    folder = tmp_path / "full"
    folder.mkdir()
    own = builtins.open

    def to_full(file, mode="r", *args, **kwargs):
        inside = isinstance(file, str | os.PathLike) and Path(file).is_relative_to(folder)
        return own("/dev/full" if inside and set(mode) & set("wax+") else file, mode, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", to_full)
    return folder


OUTPUTS = {
    "train": lambda place, full: ["--config", CONFIG, "--options", f"save_path={full / 'run'}", *TINY],
    "test": lambda place, full: [
        *("--config", place / "run" / "config.py", "--options", f"save_path={full / 'run'}", "resume=False"),
        f"weight={place / 'run' / 'model' / 'model_best.pth'}",
    ],
    "predict": lambda place, full: [
        *("--weight", place / "run", "--input", place / "cloud.npz", "--output", full / "out.vtp"),
    ],
    "prepare_data": lambda place, full: ["custom", "--src", place / "raw", "--dst", full / "data", "--target", "p"],
    "export": lambda place, full: [place / "run", "--output", full / "model.safetensors"],
    "compare": lambda place, full: [place / "run", "--output", full / "tables"],
    "report": lambda place, full: [place / "run", "--output", full / "report.html"],
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_files_that_have_no_room(name, place, full, capsys):
    capsys.readouterr()
    assert run_tool(name, *OUTPUTS[name](place, full)) == 2
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and FULL in lines[0] and str(full) in lines[0] and "Traceback" not in error, error


@pytest.mark.parametrize("name", ["compare", "test"])
def test_a_standard_output_that_has_no_room(name, place, tmp_path):
    words = [place / "run"] if name == "compare" else OUTPUTS[name](place, tmp_path)
    with open("/dev/full", "w") as output:
        done = subprocess.run(
            [sys.executable, ROOT / "tools" / f"{name}.py", *words], stdout=output, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2, done.stderr
    assert done.stderr == f"error: cannot be read or written ({FULL})\n"


def test_temporary_files_that_have_no_room(tmp_path, monkeypatch, capsys):
    """Configs are read from a copy there."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "lost"))
    assert run_tool("train", "--config", CONFIG, "--options", f"save_path={tmp_path / 'run'}", *TINY) == 2
    error = capsys.readouterr().err
    assert error.count("error: ") == 1 and "the folder of temporary files cannot be used" in error and "TMPDIR" in error


def test_an_array_is_never_cut_short_in_silence(tmp_path):
    for count in (10, 100_000):
        save_npy(tmp_path / "x.npy", np.arange(count))
        assert np.array_equal(np.load(tmp_path / "x.npy"), np.arange(count))
        with pytest.raises(InputError, match=f"/dev/full: cannot be written .{FULL}"):
            save_npy(Path("/dev/full"), np.arange(count))
