"""Trained weights as .safetensors, and back."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from host_toys import REPOSITORY
from test_training import assert_same_state, load, train

import pointcept_bsa
from pointcept_bsa.__main__ import main as pcbsa
from pointcept_bsa.errors import InputError
from pointcept_bsa.training.checkpoints.checkpoint import load_checkpoint
from pointcept_bsa.training.checkpoints.export import load_safetensors, metadata_of
from pointcept_bsa.training.cli import test_main as run_test
from pointcept_bsa.training.runs.portable_config import read_portable_config

pytest.importorskip("safetensors")


def export(*arguments: str) -> int:
    return pcbsa(["export", *map(str, arguments)])


def test_exported_weights_are_tested_and_trained_on(config, run_dir, tmp_path, toys, capsys):
    assert train(config, "ema.decay=0.9") == 0
    output = tmp_path / "out" / "model.safetensors"
    assert export(run_dir, "--output", output) == 0
    weights, metadata = load_safetensors(output)
    best = load(run_dir, "best")
    assert_same_state(weights, best["ema"])
    carried = read_portable_config(metadata["config"], "x")
    assert carried.model == {"type": "ToyLine"} and carried.data.test == {
        "type": "ToyCloud",
        "split": "test",
        "num_samples": 3,
    }
    assert metadata["version"] == pointcept_bsa.__version__ and metadata["format"] == "pt"
    source = json.loads(metadata["source"])
    assert source["file"] == "model_best.pth" and source["iter"] == best["iter"] and source["moving_average"]
    assert (tmp_path / "out" / "model.safetensors.sha256").exists()
    toys.ToyTester.results.clear()
    assert run_test(["--config", config]) == 0
    assert run_test(["--config", config, "--options", f"weight={output}"]) == 0
    assert toys.ToyTester.results[0] == toys.ToyTester.results[1]
    assert train(config, f"weight={output}", "max_iters=1", f"save_path={tmp_path / 'more'}") == 0


def test_statistics_are_the_normalizers():
    state = {"normalizer.mean": torch.tensor([2.0]), "backbone.weight": torch.zeros(2)}
    metadata = metadata_of({"state_dict": state}, REPOSITORY / "x.pth", "", "1")
    assert json.loads(metadata["statistics"]) == {"normalizer.mean": [2.0]}


def test_mistakes_are_one_line(config, run_dir, tmp_path, capsys, monkeypatch):
    output = tmp_path / "model.safetensors"
    assert export(tmp_path, "--output", output) == 2
    assert train(config, "max_iters=1") == 0
    capsys.readouterr()
    assert export(run_dir, "--output", tmp_path / "model.bin") == 2
    (tmp_path / "file").write_text("")
    assert export(run_dir, "--output", tmp_path / "file" / "model.safetensors") == 2
    output.write_bytes(b"\xff" * 100)
    assert run_test(["--config", config, "--options", f"weight={output}"]) == 2
    (run_dir / "config.py").unlink()
    assert export(run_dir, "--output", output) == 2
    error = capsys.readouterr().err
    assert error.count("error: ") == error.count("\n") == 4 and "not a readable .safetensors file" in error
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(InputError, match="safetensors cannot be imported"):
        load_checkpoint(output)
