"""A checkpoint with any entry taken out, of another type or shape, or not a number: one line or a run, no traceback.

Environment
    PCBSA_MUTATIONS   how many mutated checkpoints a schedule and optimizer (default 150)
"""

from __future__ import annotations

import copy
import os
import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from test_survival import break_off
from test_training import load, train

from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded.config import load_config
from pointcept_bsa.training.checkpoints.state import check
from pointcept_bsa.training.env import default_setup
from pointcept_bsa.training.optimizer import build_optimizer
from pointcept_bsa.training.runs.folder import unlock_folders
from pointcept_bsa.training.trainer import DefaultTrainer

GONE = object()
VALUES = [GONE, None, "x", -1, 3, 2.5, float("nan"), float("inf"), 2**70, True, b"x", [], [1], {}, {"a": 1}, {1: "b"}]
VALUES += [
    torch.ones(7),
    torch.tensor(float("nan")),
    torch.ones(2, 2).to_sparse(),
    torch.ones(3, dtype=torch.complex64),
]
VALUES += [torch.arange(4), [[], {}], ["x", "y", "z"], (1, 2, 3)]
CYCLE = 'dict(_delete_=True, type="OneCycleLR", max_lr=0.3)'
PARTS = {
    "AdamW": ('dict(_delete_=True, type="AdamW", lr=0.3, amsgrad=True)', CYCLE),
    "SGD": ('dict(_delete_=True, type="SGD", lr=0.1, momentum=0.9)', 'dict(_delete_=True, type="CosineAnnealingLR")'),
    "Muon": ('dict(_delete_=True, type="Muon", lr=0.1)', 'dict(_delete_=True, type="PolyLR")'),
    "Lion": ('dict(_delete_=True, type="Lion", lr=0.1)', 'dict(_delete_=True, type="MultiStepLR", milestones=[0.5])'),
}  # fmt: skip


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Paths to every entry; of long lists the first three and the last."""
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list | tuple):
        items = [*enumerate(value[:3]), *([(len(value) - 1, value[-1])] if len(value) > 3 else [])]
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


def mutated(checkpoint: dict, path: tuple, value: Any) -> dict:
    """A copy with the entry replaced or taken out."""

    def change(node: Any, rest: tuple) -> Any:
        new = list(node) if isinstance(node, tuple) else copy.copy(node)
        if len(rest) > 1:
            new[rest[0]] = change(node[rest[0]], rest[1:])
        elif value is GONE:
            del new[rest[0]]
        else:
            new[rest[0]] = value
        return tuple(new) if isinstance(node, tuple) else new

    return change(checkpoint, path)


def write(checkpoint: dict, path) -> None:
    torch.save(checkpoint, path)
    path.with_name(path.name + ".sha256").unlink(missing_ok=True)


@pytest.fixture(params=PARTS)
def broken_off(request, config, run_dir):
    """A config and the checkpoint of its run, broken off within the second epoch."""
    path = config.replace("toy.py", f"{request.param}.py")
    optimizer, scheduler = PARTS[request.param]
    with open(path, "w") as file:
        file.write(f'_base_ = ["toy.py"]\noptimizer = {optimizer}\nscheduler = {scheduler}\nema = dict(decay=0.9)\n')
    try:
        build_optimizer({"type": request.param, "lr": 0.1}, torch.nn.Linear(2, 2))
    except InputError as error:
        pytest.skip(str(error))
    break_off(path, 1, "save_every=4", "log_interval=3", "clip_grad=10.0")
    return path, load(run_dir)


def test_no_mutation_is_a_traceback(broken_off, run_dir, capsys):
    path, checkpoint = broken_off
    options = {"save_path": str(run_dir), "resume": True, "save_every": 4, "log_interval": 3, "clip_grad": 10.0}
    trainer = DefaultTrainer(default_setup(load_config(path, options)))
    check(trainer, checkpoint, "as it is")
    draw = random.Random(0)
    cases = [(place, value) for place in places(checkpoint) for value in VALUES]
    number = int(os.environ.get("PCBSA_MUTATIONS", 150))
    cases = draw.sample(cases, min(number, len(cases)))
    file, taken = run_dir / "model" / "model_last.pth", 0
    older = file.with_name("model_last.1.pth")
    older.unlink(missing_ok=True)
    for place, value in cases:
        changed = mutated(checkpoint, place, value)
        if place[0] not in ("state_dict", "ema"):  # judged by the reader
            try:
                check(trainer, changed, "mutated")
            except InputError as error:
                assert "\n" not in str(error) and len(str(error)) < 1500
                continue
        write(changed, file)
        code = train(path, *(f"{key}={item}" for key, item in options.items()))
        said = capsys.readouterr().err
        assert code in (0, 2) and said.count("\n") == (code == 2), (place, value, code, said)
        taken += code == 0
    assert 0 < taken < len(cases) / 2
    unlock_folders()


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("iter",), "6", "entry 'iter' does not fit: got '6', wanted an integer"),
        (("total_iters",), None, "entry 'total_iters' does not fit: got None, wanted an integer"),
        (("best_metric_value",), float("nan"), "entry 'best_metric_value' does not fit: got nan, wanted a number"),
        (("optimizer",), {}, "entry 'optimizer' does not fit: got {}, wanted a dict with 'state' and 'param_groups'"),
        (("optimizer", "state"), {}, "optimizer.state' does not fit: it is empty after 11 iterations"),
        (("optimizer", "state", 0, "exp_avg"), torch.zeros(5), "shape (5,), wanted a tensor of shape (1, 3)"),
        (("optimizer", "state", 0, "exp_avg"), GONE, "optimizer.state[0]' does not fit: it has exp_avg_sq, step, "),
        (("optimizer", "param_groups", 0, "params"), [0], "1 parameters, this run's has 2"),
        (("optimizer", "param_groups", 0, "betas"), GONE, "no 'betas': another optimizer's"),
        (("scheduler",), {"T_max": 40, "last_epoch": 3}, "it has T_max, last_epoch, wanted"),
        (("scheduler", "total_steps"), 40, "scheduler.total_steps' does not fit: got 40, this run's is 12"),
        (("scheduler", "last_epoch"), 3, "got 3, the checkpoint is of iteration 11"),
        (("rng",), "x", "entry 'rng' does not fit: got 'x', wanted a list"),
        (("rng", 0, "torch"), torch.zeros(3), "no state of the random number generators"),
        (("storage",), [1], "entry 'storage' does not fit"),
        (("storage",), {"loss": [1.0, 2.0, float("nan")]}, "entry 'storage' does not fit"),
        (("best_metric_value",), 10**400, "entry 'best_metric_value' does not fit: got int, wanted a number"),
        (("scheduler", "base_lrs"), [10**400], "scheduler.base_lrs' does not fit"),
        (("optimizer", "param_groups", 0, "eps"), 1e308, "param_groups[0].eps' does not fit: got 1e+308"),
        (("optimizer", "param_groups", 0, "maximize"), True, "param_groups[0].maximize' does not fit: got True"),
        (("storage",), GONE, "has no storage, which every checkpoint has"),
        (("hooks",), 3, "entry 'hooks' does not fit"),
        (("ends",), [0, 20], "2 ends of epochs do not fit epoch 1, iteration 11"),
        (("state_dict", "linear.bias"), torch.full((1,), torch.nan), "state_dict.linear.bias' does not fit: it is NaN"),
        (("state_dict", "linear.bias"), 3, "state_dict['linear.bias']: got int, wanted a dense tensor of real numbers"),
        (("ema",), {"linear.bias": torch.zeros(1)}, "entry 'ema' does not fit: it has no linear.weight"),
        (("record", "config"), 3, "entry 'record' does not fit"),
        (("guard",), [1, 2], "entry 'guard' does not fit: got [1, 2], wanted None or three numbers"),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else "",
)  # fmt: skip
def test_an_entry_that_does_not_fit_is_named(config, run_dir, capsys, place, value, words):
    options = ("save_every=1", "ema.decay=0.9", "clip_grad=1.0")
    with pytest.raises(RuntimeError, match="killed"):
        train(config, *options, "hooks.4.type=StopAt", "hooks.4.iteration=11")
    before = {p: p.read_bytes() for p in run_dir.rglob("*") if p.is_file() and "model_last" not in p.name}
    checkpoint = load(run_dir)
    for path in (run_dir / "model").glob("model_last*"):
        path.unlink()
    write(mutated(checkpoint, place, value), run_dir / "model" / "model_last.pth")
    capsys.readouterr()
    assert train(config, *options, "resume=True") == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert {p: p.read_bytes() for p in before} == before  # nothing of the run has been touched
