"""Clouds shared by processes against whole ones: the same training, the same numbers of a test (gloo, on the CPU)."""

from __future__ import annotations

import json
import random
import re

import numpy as np
import pytest
import torch
from host_toys import ToyTester
from parts_runs import assert_close, curve, numbers, run, written
from processes import one_of, run_in, train_in
from test_training import load

from pointcept_bsa.__main__ import main as command
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import build_model
from pointcept_bsa.host.embedded.config import load_config
from pointcept_bsa.mesh_io import read_mesh
from pointcept_bsa.training import cli
from pointcept_bsa.training.env import set_seed
from pointcept_bsa.training.evaluation.bounded import bounded
from pointcept_bsa.training.loader import SharedSamples
from pointcept_bsa.training.processes.parallel import check_context

TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}  # float32 sums of the same terms in another order
FIELD = """
model = dict(
    backbone=dict(type="Pointwise-toy", in_channels=24),
    head=dict(_delete_=True, type="GaussianHead", out_channels=1),
    type="GaussianRegressor",
    criteria=[dict(type="MSELoss"), dict(type="L1Loss"), dict(type="RelativeL2Loss"), dict(type="GaussianNLLLoss")],
    scalars=dict(
        head=dict(type="ScalarHead", in_channels=16, out_channels=1),
        normalizer=dict(type="TargetNormalizer", channels=1),
        criteria=[dict(type="MSELoss")],
    ),
)
common = dict(num_points=31, scalars=("frontal_area",), cache=False)
data = dict(train=dict(num_samples=8, **common), val=dict(num_samples=3, **common), test=dict(num_samples=3, **common))
data["test"].pop("cache")
data["train"]["transform"] = [
    dict(type="Thin"),
    dict(type="RandomMirror"),
    dict(type="FourierFeatures", keys=("coord",), num_bands=3),
    dict(type="CollectPoints", feat_keys=("fourier", "normal")),
]
del common
ema = dict(_delete_=True, decay=0.5)
test = dict(save_predictions=True, pictures=True, export=("vtp",))
hooks = [
    dict(type="FitTargetNormalizer"),
    dict(type="CheckpointLoader"),
    dict(type="ModelHook"),
    dict(type="InformationWriter"),
    dict(type="RegressionEvaluator"),
    dict(type="CheckpointSaver"),
    dict(type="PreciseEvaluator"),
    dict(type="Diary"),
]
"""


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """A config, and what one process makes of it."""
    folder = tmp_path_factory.mktemp("field")
    config = written(folder, "ellipsoid_flow", FIELD)
    return config, run(1, config, folder / "one")


@pytest.mark.parametrize(("count", "options"), [(2, ()), (4, ("parallel=flat",))], ids=["2", "2 x 2, flat"])
def test_training_and_test_are_those_of_one_process(one, tmp_path, count, options):
    config, whole = one
    folder = run(count, config, tmp_path / "run", "context_parallel=2", *options)
    assert len(curve(folder)) == 6
    assert curve(folder) == pytest.approx(curve(whole), rel=1e-5)
    torch.testing.assert_close(load(folder)["state_dict"], load(whole)["state_dict"], **TOLERANCE)
    assert_close(numbers(folder), numbers(whole))
    assert json.loads((folder / "data.json").read_text()) == json.loads((whole / "data.json").read_text())
    files = [sorted(path.name for path in (run / "test").rglob("*.*")) for run in (whole, folder)]
    assert files[0] == files[1] and {"best.png", "worst.png", "ellipsoid_test_0.vtp"} <= set(files[0])
    for path in sorted((whole / "test" / "predictions").iterdir()):
        found, wanted = (np.load(part / "test" / "predictions" / path.name) for part in (folder, whole))
        for key in wanted.files:
            np.testing.assert_allclose(found[key], wanted[key], rtol=1e-4, atol=1e-5)


STEADY = ("clip_grad=0.1", "batch_size=1", "gradient_accumulation_steps=2", "evaluate=False")
SHORT = ("hooks.5.save_freq=0", "hooks.6.type=Diary")  # no test


@pytest.mark.parametrize(
    ("count", "options"),
    [(2, STEADY), (2, ("parallel=fsdp2", "optimizer.type=AdamW", "ema=None", "evaluate=False"))],
    ids=["average, clipping, accumulation, Muon", "shards"],
)
def test_other_ways_of_training(one, tmp_path, count, options):
    config, _ = one
    whole = run(1, config, tmp_path / "whole", *options, *SHORT)
    folder = run(count, config, tmp_path / "parts", "context_parallel=2", *options, *SHORT)
    assert curve(folder) == pytest.approx(curve(whole), rel=1e-5)
    for key in ("state_dict", "ema"):
        torch.testing.assert_close(load(folder)[key], load(whole)[key], **TOLERANCE)


def test_bfloat16_with_average_and_clipping_interrupted_and_resumed_by_more_processes(one, tmp_path):
    """Two processes that share their clouds, or after a kill two pairs: the same curve, weights and average."""
    config, _ = one
    options = (*BF16, "clip_grad=0.1", "optimizer.type=AdamW", "evaluate=False", *SHORT[1:])
    whole = run(2, config, tmp_path / "whole", "context_parallel=2", *options)
    kill = ("save_every=2", "hooks.7.type=KillAt", "hooks.7.iteration=5", "hooks.7.rank=1")
    codes, said = train_in(2, config, f"save_path={tmp_path}/run", "context_parallel=2", *options, *kill)
    assert codes == [2, -9] and "Traceback" not in said, said
    folder = run(4, config, tmp_path / "run", "context_parallel=2", *options, resume=True)
    assert curve(folder) == pytest.approx(curve(whole), rel=1e-3)
    for key in ("state_dict", "ema"):
        torch.testing.assert_close(load(folder)[key], load(whole)[key], rtol=1e-2, atol=2e-3)


def test_a_lost_process_ends_all_and_the_run_goes_on_with_whole_clouds(one, tmp_path):
    config, whole = one
    kill = ("save_every=2", "hooks.7.type=KillAt", "hooks.7.iteration=5", "hooks.7.rank=1")
    codes, said = train_in(2, config, f"save_path={tmp_path}/run", "context_parallel=2", *kill)
    assert codes == [2, -9] and "another process of this run has ended" in said
    assert "Traceback" not in said, said
    assert load(tmp_path / "run")["iter"] == 4
    folder = run(1, config, tmp_path / "run", *SHORT[1:], resume=True)
    assert curve(folder) == pytest.approx(curve(whole), rel=1e-5)
    torch.testing.assert_close(load(folder)["state_dict"], load(whole)["state_dict"], **TOLERANCE)
    assert "context_parallel: 2 there, 1 here" in (folder / "train.log").read_text()


BF16 = ("enable_amp=True", "amp_dtype=bfloat16")  # weights cast, and gradients collected, at once


@pytest.mark.parametrize(
    "options",
    [
        ("context_parallel=2", *BF16),
        ("parallel=flat", "gradient_accumulation_steps=2"),
        ("context_parallel=2", "find_unused_parameters=True"),
    ],
    ids=["parts, bfloat16", "flat, accumulation", "ddp"],
)
def test_a_parameter_that_nothing_uses_does_not_decay(one, tmp_path, options):
    decay = ("optimizer.type=AdamW", "optimizer.weight_decay=0.5", "model.backbone.type=Unheard-toy")
    folder = run(2, one[0], tmp_path / "run", *decay, *options, "evaluate=False", *SHORT)
    weights = load(folder)["state_dict"]
    assert torch.equal(weights["backbone.unheard"], torch.ones(3))
    assert not torch.equal(weights["backbone.norm.weight"], torch.ones(16))


@pytest.mark.parametrize("options", [(), BF16], ids=["float32", "bfloat16"])
def test_numbers_that_are_not_finite_in_one_part_end_both_processes(one, tmp_path, options):
    spoil = ("data.train.transform.0.type=Spoil", "evaluate=False", f"save_path={tmp_path}/run")
    codes, said = train_in(2, one[0], "context_parallel=2", *spoil, *SHORT, *options)
    assert codes == [2, 2] and "Traceback" not in said, said
    assert "the batch's part in another process is not finite" in said and "the batch's 'feat' is not finite" in said


def test_numbers_of_processes_that_do_not_fit(one, tmp_path, capsys):
    options = ["--config", one[0], "--options", f"save_path={tmp_path}/run"]
    assert cli.train_main([*options, "context_parallel=2"]) == 2
    assert "context_parallel: got 2, wanted a divisor of the 1 processes" in capsys.readouterr().err
    codes, said = train_in(4, one[0], f"save_path={tmp_path}/run", "context_parallel=2", "batch_size=3")
    assert codes == [2] * 4
    assert "batch_size=3: it counts all groups of 2 processes, expected a multiple of 2" in said


@pytest.mark.parametrize(
    "settings",
    [dict(max_points=40), dict(max_points=20, votes=2), dict(piece_points=12)],
    ids=["clouds apart", "pieces", "density"],
)
def test_a_test_of_parts(one, tmp_path, settings):
    config, whole = one
    options = [f"data.test.test_cfg.{key}={value}" for key, value in settings.items()]
    found = []
    for count in (1, 2):
        own = [f"weight={whole}/model/model_last.pth", f"save_path={tmp_path}/{count}", f"context_parallel={count}"]
        arguments = ["--config", config, "--options", *own, *options, "batch_size_test=2", "test.pictures=False"]
        codes, said = run_in(count, cli.test_main, arguments)
        assert codes == [0] * count, said
        found.append(numbers(tmp_path / str(count)))
    assert_close(found[1], found[0])


def test_a_prediction_of_parts(one, tmp_path):
    whole = one[1]
    source = whole / "test" / "export" / "ellipsoid_test_0.vtp"
    found = []
    for count in (1, 2):
        words = ["predict", "--weight", str(whole), "--input", str(source), "--output", f"{tmp_path}/{count}.vtp"]
        codes, said = run_in(count, command, [*words, "--options", "device=cpu"])
        assert codes == [0] * count and said.count("31 points") == 1, said
        found.append(read_mesh(tmp_path / f"{count}.vtp").point_data)
    assert found[0].keys() == found[1].keys()
    for key in found[0]:
        np.testing.assert_allclose(found[1][key], found[0][key], rtol=1e-4, atol=1e-5)


JOINT = """
model = dict(
    backbone=dict(type="Pointwise-toy", in_channels=33),
    domains=dict(surface=dict(head=dict(in_channels=16)), volume=dict(head=dict(in_channels=16), weight=0.5)),
    normalizer=dict(mean=[0.0] * 5, std=[0.5] * 5),
)
points = dict(num_points=dict(surface=9, volume=32))
data = dict(train=dict(num_samples=4, **points), val=dict(num_samples=2, **points), test=dict(num_samples=2, **points))
del points
test = dict(pictures=False)
hooks = [
    dict(type="FitTargetNormalizer"),
    dict(type="ModelHook"),
    dict(type="InformationWriter"),
    dict(type="CheckpointSaver"),
    dict(type="PreciseEvaluator"),
]
evaluate = False
"""


def test_a_part_without_points_of_a_domain(tmp_path):
    config = written(tmp_path, "ellipsoid_flow_joint", JOINT)
    whole = run(1, config, tmp_path / "whole")
    folder = run(2, config, tmp_path / "parts", "context_parallel=2")
    assert curve(folder) == pytest.approx(curve(whole), rel=1e-5)
    torch.testing.assert_close(load(folder)["state_dict"], load(whole)["state_dict"], **TOLERANCE)
    assert_close(numbers(folder), numbers(whole))


@pytest.fixture
def half(one):
    """The first of two processes that share a cloud, and a config."""
    with one_of(2, context_parallel=2):
        yield load_config(one[0], {"context_parallel": 2})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pad_clouds": 64}, "pad_clouds=64: with context_parallel=2 wanted pad_clouds=None"),
        ({"compile": "eager"}, "compile=eager: with context_parallel=2 wanted compile=False"),
        ({"model.backbone.type": "Whole-toy"}, "Whole takes whole clouds, wanted context_parallel=1"),
        ({"model.criteria": [{"type": "OwnLoss"}]}, "OwnLoss takes whole clouds, wanted context_parallel=1"),
        (
            {"model.norm": "batch"},
            "model.norm: got 'batch' with context_parallel, wanted 'cloud', 'layer'",
        ),
        ({"model": {"type": "ToyLine"}}, "ToyLine takes whole clouds, wanted context_parallel=1"),
    ],
)
def test_what_wants_whole_clouds_is_refused(half, options, said):
    cfg = half
    for key, value in options.items():
        cfg.merge_from_dict({key: value}) if key != "model" else cfg.__setattr__(key, value)
    with pytest.raises(InputError, match=re.escape(said)):
        check_context(cfg, torch.device("cpu"), build_model(cfg.model))


def test_testers_and_ways_for_whole_clouds_are_refused(half):
    with pytest.raises(InputError, match="ToyTester takes whole clouds, wanted context_parallel=1"):
        ToyTester(half, model=torch.nn.Linear(1, 1))
    with pytest.raises(InputError, match="test_cfg.anchors: got some with context_parallel"):
        bounded(torch.nn.Linear(1, 1), dict(anchors=4))


class Noisy:
    """Samples that draw from every generator of the host."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> dict:
        noise = torch.rand(9, 1) + np.random.rand() + random.random() + index
        return {"coord": noise, "offset": torch.tensor([9])}


@pytest.mark.parametrize("draw", [(2, 17), 2], ids=["training", "evaluation"])
def test_processes_draw_the_same_sample_and_leave_the_generators_alone(draw):
    parts = []
    for rank in range(2):
        data = SharedSamples(Noisy(), 5)
        data.rank, data.size = rank, 2
        set_seed(rank)
        before = torch.get_rng_state()
        parts.append(data[draw]["coord"])
        assert torch.equal(torch.get_rng_state(), before) and np.random.rand() == np.random.RandomState(rank).rand()
    whole = SharedSamples(Noisy(), 5)
    assert torch.equal(torch.cat(parts), whole[draw]["coord"])
    other = (2, 18) if isinstance(draw, tuple) else 1
    assert not torch.equal(whole[other]["coord"], whole[draw]["coord"])
