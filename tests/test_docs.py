"""The pages of pointcept_bsa/docs do what they say: their files are written and their commands run, in order."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pointcept_bsa.host.embedded.config import DEFAULTS, REQUIRED, TOLERATED

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "pointcept_bsa" / "docs"
BLOCK = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> Iterator[tuple[str, str, str]]:
    """Language, file name (or nothing) and text of every block of a page."""
    for found in BLOCK.finditer((DOCS / page).read_text(encoding="utf-8")):
        yield found[1], found[2], found[3]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """An empty folder that looks like a clean checkout with the package installed."""
    for name in ("tools", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("my_"):
            del sys.modules[name]


PAGES = [ROOT / "README.md", *sorted((ROOT / "pointcept_bsa").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    files = [link for link in links if "://" not in link]
    assert [link for link in files if not (page.parent / link).exists()] == []


def run_command(line: str, monkeypatch: pytest.MonkeyPatch, *more: str) -> None:
    """A line ``python tools/x.py ...`` in this process; fails unless its exit code is 0."""
    words = shlex.split(line)
    while "=" in words[0]:
        words.pop(0)  # PYTHONPATH=., done by the fixture
    assert words[0] == "python" and words[1].startswith("tools/"), line
    monkeypatch.setattr(sys, "argv", [*words[1:], *more])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(words[1], run_name="__main__")
    assert not stopped.value.code, line


def follow(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Do what a page says, trainings for a moment only; the commands."""
    done = []
    names = {"__name__": page}  # one session a page
    for language, name, text in blocks(page):
        if language == "python" and name:
            (folder / name).write_text(re.sub(r"^max_iters = \d+", "max_iters = 2", text, flags=re.MULTILINE))
        elif language == "python":
            exec(compile(text, page, "exec"), names)
        elif language == "bash":
            for line in text.strip().splitlines():
                short = re.sub(r"max_iters=\d+", "max_iters=1 model.backbone.depth=1", line)
                run_command(short, monkeypatch)
                done.append(line)
    return done


def test_the_tutorial_leads_from_raw_cars_to_a_picture_in_paraview(checkout, monkeypatch, real_data, capsys):
    pyvista = pytest.importorskip("pyvista", reason="missing: package pyvista (part of the extra [test])")
    for name in ("shapenet_car_plaid_20.npz", "shapenet_car_mini.npz"):
        (checkout / name).symlink_to(real_data(name))
    done = follow("tutorial.md", checkout, monkeypatch)
    assert len(done) == 12
    said = capsys.readouterr().out
    assert "Cd " in said and "velocity 30" in said
    car = pyvista.read("my_car_predicted.vtp")
    assert "predicted_pressure" in car.point_data and "predicted_pressure" in car.cell_data
    run = checkout / "exp/cars/bsa"
    for name in ("training_range.json", "test/metrics.json", "test/worst.png", "test/export/plaid_car_14.vtp"):
        assert (run / name).stat().st_size
    for name in ("receptive.png", "receptive.vtp", "influence.png", "tree.png", "gates.png"):
        assert (run / "pictures" / name).stat().st_size
    assert (checkout / "exp/cars/report.html").stat().st_size


def test_the_worked_examples_of_extending_work(checkout, monkeypatch):
    assert len(follow("extending.md", checkout, monkeypatch)) == 1
    assert (checkout / "exp/plate/model/model_best.pth").is_file()
    for name, lines in {"BallTree.build(": 5, "BallSparseAttention(": 5, "pointcept_bsa.load(": 4}.items():
        example = [text for _, _, text in blocks("extending.md") if name in text]
        assert len(example) == 1 and len([line for line in example[0].splitlines() if line]) <= lines + 1, name


def test_every_key_of_a_config_is_explained():
    text = (DOCS / "config.md").read_text(encoding="utf-8")
    tolerated = [key for key in TOLERATED if "wandb" not in key]
    missing = [key for key in (*DEFAULTS, *REQUIRED, *tolerated) if f"`{key}`" not in text]
    assert not missing


def test_the_defaults_that_are_told_are_those_that_hold():
    told = {}
    for row in re.finditer(
        r"^\| ((?:`\w+`(?:, )?)+) \| ([^|]*) \| ", (DOCS / "config.md").read_text("utf-8"), re.MULTILINE
    ):
        keys, values = re.findall(r"`(\w+)`", row[1]), [value.strip("` ") for value in row[2].split(",")]
        told |= dict(zip(keys, values * (len(keys) // len(values)), strict=True))
    told = {key: value for key, value in told.items() if key in DEFAULTS}
    assert len(told) > 30 and told == {key: str(DEFAULTS[key]) for key in told}


def test_the_readme_is_a_front_door():
    assert len((ROOT / "README.md").read_bytes()) <= 9_000
