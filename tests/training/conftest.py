from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ..small_runs import ROOT, SMALL, benchmark_settings, benchmark_tool, load_tool, small_run, tool  # noqa: F401

sys.path.insert(0, str(Path(__file__).parent))  # configs, also in spawned processes, import host_toys by name

CONFIG = """
custom_imports = dict(imports=["host_toys"], allow_failed_imports=False)
save_path = {save_path!r}
seed = 3
device = "cpu"
num_worker = 0
batch_size = 2
epoch = 4
eval_epoch = 2
log_interval = 1
model = dict(type="ToyLine")
optimizer = dict(type="AdamW", lr=0.3)
scheduler = dict(type="OneCycleLR", max_lr=0.3)
data = dict(
    train=dict(type="ToyCloud", split="train"),
    val=dict(type="ToyCloud", split="val", num_samples=2),
    test=dict(type="ToyCloud", split="test", num_samples=3),
)
hooks = [
    dict(type="CheckpointLoader"),
    dict(type="ModelHook"),
    dict(type="IterationTimer"),
    dict(type="InformationWriter"),
    dict(type="Diary"),
    dict(type="ToyEvaluator"),
    dict(type="CheckpointSaver"),
    dict(type="PreciseEvaluator"),
]
test = dict(type="ToyTester")
"""


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def config(tmp_path: Path, run_dir: Path) -> str:
    path = tmp_path / "toy.py"
    path.write_text(CONFIG.format(save_path=str(run_dir)))
    return str(path)


@pytest.fixture
def toys():
    import host_toys

    for log in (host_toys.Diary.notes, host_toys.Diary.names, host_toys.ToyTester.results):
        log.clear()
    return host_toys
