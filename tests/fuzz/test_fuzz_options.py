"""Any value in a config trains, or is refused in one line with exit code 2: no stack trace for a user's mistake.

The whole training is run, one iteration on tiny clouds. ``PCBSA_FUZZ_OPTIONS=500`` tries more, other ones each time.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
import torch
from fuzz_sandbox import watched
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from patience import PATIENCE

from pointcept_bsa.host.embedded.config import load_config
from pointcept_bsa.training.cli import train_main

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "ellipsoid_flow"
TINY = ["device=cpu", "seed=0", "num_worker=0", "epoch=1", "eval_epoch=1", "max_iters=1", "evaluate=False", "ema=None"]
TINY += ["test.pictures=False", "data.train.num_points=40", "data.train.num_samples=2", "data.train.cache=False"]
# Not changed: where things go, what starts processes, what would only take long.
KEPT = (
    r"(save_path|weight|num_worker|custom_imports.*|deterministic|device|data\.(val|test)\..*|data\.train\.num_samples)"
)
VALUES = ("None", "-1", "0", "1", "2", "3", "7", "0.5", "-0.5", "1e-30", "nan", "x", "True", "[]", "[1]", "[2,3,4]")
LONG = "PCBSA_FUZZ_OPTIONS" in os.environ
EXAMPLES = int(os.environ.get("PCBSA_FUZZ_OPTIONS", "3"))


def leaves(value, path=""):
    """The places of all values in a config, as --options names them."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list | tuple) and any(isinstance(item, dict | list | tuple) for item in value):
        items = enumerate(value)
    else:
        yield path
        return
    for key, item in items:
        yield from leaves(item, f"{path}.{key}" if path else str(key))


def keys_of(backbone):
    config = load_config(str(CONFIGS / f"{backbone}.py")).to_dict()
    return [key for key in leaves(config) if not re.fullmatch(KEPT, key) and not key.startswith("_")]


@pytest.mark.parametrize(
    "backbone",
    ["bsa", "erwin", "erwin_nsa", "full_attention", "ptv3", "upt", "abupt", "mspt"] if LONG else ["bsa", "ptv3"],
)
def test_any_value_trains_or_is_refused(backbone, tmp_path, capsys):
    keys = keys_of(backbone)

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=not LONG,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(st.tuples(st.sampled_from(keys), st.sampled_from(VALUES)), min_size=1, max_size=2))
    def run(pairs):
        changed = [f"{key}={value}" for key, value in pairs]
        options = [*TINY, f"save_path={tmp_path / 'run'}", *changed]
        torch.manual_seed(0)
        shutil.rmtree(tmp_path / "run", ignore_errors=True)  # a folder has one run
        with watched(tmp_path, seconds=PATIENCE) as seen:
            code = train_main(["--config", str(CONFIGS / f"{backbone}.py"), "--options", *options])
        error = capsys.readouterr().err.strip().splitlines()
        assert code in (0, 2), changed
        assert code == 0 or error[-1].startswith("error: "), (changed, error[-3:])
        assert not [entry for entry in seen if entry.startswith("wrote") and entry != "wrote /dev/null"], (
            changed,
            seen,
        )

    run()


def test_a_head_of_another_width_than_the_backbone_is_refused(tmp_path, capsys):
    options = [*TINY, f"save_path={tmp_path / 'run'}", "model.head.in_channels=3"]
    assert train_main(["--config", str(CONFIGS / "bsa.py"), "--options", *options]) == 2
    assert "head.in_channels: got 3, wanted 32 as the backbone has features" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
