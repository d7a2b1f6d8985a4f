"""A result says which weights made it; where others lie by now, every tool that shows or uses it says so."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch

from pointcept_bsa.training.cli import test_main as run_test
from pointcept_bsa.training.runs.opened_run import open_run


@pytest.fixture
def stale(small_run, tmp_path) -> Path:
    """A run whose best weights were replaced after its test."""
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    path = run / "model" / "model_best.pth"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["state_dict"] = {k: 2 * v if v.is_floating_point() else v for k, v in checkpoint["state_dict"].items()}
    path.unlink()
    path.with_name("model_best.pth.sha256").unlink()
    torch.save(checkpoint, path)
    return run


def test_the_training_s_own_test_says_which_file(small_run):
    report = json.loads((small_run / "test" / "metrics.json").read_text())
    digest = hashlib.sha256((small_run / "model" / "model_best.pth").read_bytes()).hexdigest()
    assert (report["weight_file"], report["weight_sha256"]) == ("model_best.pth", digest)


def test_compare_and_report_refuse(small_run, stale, tool, capsys, tmp_path):
    assert tool("compare", str(small_run)) == 0
    assert "the weights that were tested" not in capsys.readouterr().out
    words = f"{stale}: its test is of other weights than the model_best.pth that lies there now"
    page = tmp_path / "page.html"
    for arguments in (("compare", str(stale)), ("report", str(stale), "--output", str(page))):
        assert tool(*arguments) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
    assert tool("compare", str(stale), "--force") == 0
    assert f"NOT COMPARABLE: {words}" in capsys.readouterr().out
    assert tool("report", str(stale), "--output", str(page), "--force") == 0
    assert "its test is of other weights" in page.read_text()


def test_a_result_that_does_not_say_is_named_as_unknown(stale, tool, capsys):
    path = stale / "test" / "metrics.json"
    report = {key: value for key, value in json.loads(path.read_text()).items() if not key.startswith("weight_")}
    path.write_text(json.dumps(report))
    assert tool("compare", str(stale)) == 0
    assert "not checked: " in (out := capsys.readouterr().out) and "the weights that were tested" in out


def test_who_uses_the_weights_is_warned_and_a_new_test_mends_it(stale, tool, capsys):
    open_run(str(stale))
    assert f"{stale}: its test is of other weights" in capsys.readouterr().out
    assert run_test(["--config", str(stale / "config.py"), "--options", f"save_path={stale}"]) == 0
    assert "the result of other weights (sha256 " in capsys.readouterr().out
    open_run(str(stale))
    assert "other weights" not in capsys.readouterr().out
    assert tool("compare", str(stale)) == 0
