"""What Pointcept writes into a checkpoint can be read here, and what it reads from one is there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pointcept_bsa.errors import InputError
from pointcept_bsa.training.checkpoints.checkpoint import load_checkpoint
from pointcept_bsa.training.checkpoints.state import scaler_state


def test_best_metric_may_be_a_number_of_numpy(tmp_path):
    """Pointcept's SemSegEvaluator publishes one."""
    path = tmp_path / "model_best.pth"
    torch.save({"state_dict": {"w": torch.ones(1)}, "best_metric_value": np.float64(0.25)}, path)
    assert load_checkpoint(path)["best_metric_value"] == 0.25


def test_other_objects_are_refused(tmp_path):
    path = tmp_path / "model_best.pth"
    torch.save({"state_dict": {"w": torch.ones(1)}, "best_metric_value": np.random.default_rng()}, path)
    with pytest.raises(InputError, match="not a readable checkpoint"):
        load_checkpoint(path)


def test_bfloat16_run_leaves_a_scaler_that_pointcept_can_load():
    """Pointcept loads one whenever mixed precision resumes, and refuses an empty one."""
    torch.amp.GradScaler("cpu").load_state_dict(scaler_state(None, enable_amp=True))
    assert scaler_state(None, enable_amp=False) is None
    used = torch.amp.GradScaler("cpu", init_scale=8.0)
    assert scaler_state(used, enable_amp=True)["scale"] == 8.0
