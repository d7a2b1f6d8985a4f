"""Rollouts of models whose motion is known, and the tester on a trained-for-nothing network."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
import torch
from torch import nn

from pointcept_bsa.datasets.molecular_dynamics import HISTORY, MolecularDynamicsDataset, prepare_md
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import MODELS, Config, collate_fn
from pointcept_bsa.training.evaluation.molecular_dynamics_tester import (
    MolecularDynamicsTester,
    bond_lengths,
    judge_rollout,
    radius_of_gyration,
    simulate,
    summarize_rollouts,
    wasserstein,
)

FRAMES = 40
TRANSFORM = [
    dict(
        type="CollectPoints",
        keys=("coord", "target", "name", "neighbor_index"),
        feat_keys=("velocity", "particle_type"),
    )
]


def motion(frames, beads, speed):
    """A straight chain whose beads are one apart; it drifts, and swings about its place: x(t) = n + v t + cos(w t)."""
    t = np.arange(frames)[:, None]
    x = np.arange(beads) + speed * t + 0.3 * np.cos(0.5 * t)
    return np.stack([x, np.zeros_like(x), np.zeros_like(x)], axis=2)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("md")
    lists = {"train": ["a1"], "val": ["a2"], "test_class2": ["b1", "b2"]}
    (folder / "raw" / "splits").mkdir(parents=True)
    for part, names in lists.items():
        (folder / "raw" / "splits" / f"{part}.txt").write_text("\n".join(names))
        for i, name in enumerate(names):
            place = folder / "raw" / ("polymer_test" if part == "test_class2" else "polymer_train") / name
            place.mkdir(parents=True)
            beads = 4 + 3 * i
            arrays = {
                "position": motion(FRAMES + i, beads, 0.02 * i).astype(np.float32),
                "ptype": np.zeros(beads, np.int64),
                "bond": np.stack([np.arange(beads - 1), np.arange(1, beads)], axis=1),
            }
            keys = {"position": "position", "ptype": "particle_type", "bond": "bond_indices"}
            for file, key in keys.items():
                with h5py.File(place / f"{file}.h5", "w") as h5:
                    h5[key] = arrays[file]
    prepare_md(str(folder / "raw"), str(folder / "o"), allow_partial=True)
    return str(folder / "o")


class Oscillator(nn.Module):
    """The exact law of ``motion``: x[t+1] - 2 x[t] + x[t-1] = (2 cos w - 2) times the swing; the swing's part of the
    velocities follows from two of them. Then as much noise as it is told."""

    def __init__(self, std=0.0, push=0.0):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.std, self.push = std, push
        self.sizes = []

    def forward(self, batch):
        assert not self.training
        self.sizes.append(len(batch["offset"]))
        velocity = batch["feat"][:, :45].reshape(-1, 15, 3).double()
        # second differences obey the same law as the swing: a[t+1] = 2 cos w a[t] - a[t-1]
        a = velocity.diff(dim=1)
        pred = 2 * np.cos(0.5) * a[:, -1] - a[:, -2] + self.push
        return {"pred": pred, "variance": torch.full_like(pred, self.std**2)}


def test_the_exact_law_gives_the_true_trajectory_back(root):
    data = MolecularDynamicsDataset("test", root, transform=TRANSFORM)
    first, second = simulate(Oscillator().train(), data, ["b1", "b2"], steps=24)
    for rollout in (first, second):
        truth = np.asarray(data.positions(rollout.name), np.float64)
        assert rollout.failure is None and len(rollout.predicted) == 24
        np.testing.assert_allclose(rollout.predicted, truth[HISTORY : HISTORY + 24], atol=2e-3)
    record = judge_rollout(second, data, 24)
    assert record["radius_of_gyration"]["truth"]["mean"] == pytest.approx(2.0, rel=1e-4)  # of 0, 1, .. 6
    assert record["bond_length"]["rollout"]["mean"] == pytest.approx(1.0, rel=1e-3)
    assert record["speed"]["distance"] < 0.02
    summary = summarize_rollouts([record])
    assert summary["stable"] == 1 and summary["radius_of_gyration"]["relative_error_of_mean"] < 1e-3


def test_a_model_is_left_in_its_mode_and_sampling_does_not_depend_on_company(root):
    data = MolecularDynamicsDataset("test", root, transform=TRANSFORM)
    model = Oscillator(std=0.01).train()
    together = simulate(model, data, ["b1", "b2"], steps=5, seed=3)
    assert model.training
    alone = simulate(model, data, ["b2"], steps=5, seed=3)
    np.testing.assert_allclose(together[1].predicted, alone[0].predicted)
    other = simulate(model, data, ["b2"], steps=5, seed=4)
    assert np.abs(other[0].predicted - alone[0].predicted).max() > 1e-3
    mean = simulate(model, data, ["b2"], steps=5, sampled=False)
    exact = simulate(Oscillator(), data, ["b2"], steps=5)
    np.testing.assert_allclose(mean[0].predicted, exact[0].predicted)


def test_a_rollout_that_falls_apart_ends_and_the_others_go_on(root):
    class Tears(Oscillator):
        def forward(self, batch):
            out = super().forward(batch)
            if len(self.sizes) > 3:
                out["pred"][0, 1] += 1.5  # the first bead of the first chain
            return out

    data = MolecularDynamicsDataset("test", root, transform=TRANSFORM)
    model = Tears()
    torn, second = simulate(model, data, ["b1", "b2"], steps=8)
    assert torn.failure == "torn bond" and len(torn.predicted) == 4  # 1.5 after one push, more than 2 after the next
    assert second.failure == "torn bond" and len(second.predicted) == 6
    assert model.sizes == [2] * 5 + [1] * 2
    record = judge_rollout(torn, data, 8)
    assert record["stable_steps"] == 4 and record["failure"] == "torn bond"

    broken = simulate(Oscillator(push=float("nan")), data, ["b1"], steps=8)[0]
    assert broken.failure == "not finite" and len(broken.predicted) == 0
    record = judge_rollout(broken, data, 8)
    assert record["radius_of_gyration"] is None
    summary = summarize_rollouts([record])
    assert summary["stable"] == 0 and summary["bond_length"] == {
        "rollouts": 0,
        "relative_error_of_mean": None,
        "relative_distance": None,
    }


def test_a_model_without_variance_cannot_be_sampled(root):
    class Plain(Oscillator):
        def forward(self, batch):
            return {"pred": super().forward(batch)["pred"]}

    data = MolecularDynamicsDataset("test", root, transform=TRANSFORM)
    with pytest.raises(InputError, match="predicts no variance"):
        simulate(Plain(), data, ["b1"], steps=1)
    assert len(simulate(Plain(), data, ["b1"], steps=1, sampled=False)[0].predicted) == 1


def test_measures_by_hand():
    square = np.array([[[0.0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0]]])
    assert radius_of_gyration(square) == pytest.approx([2**0.5])
    np.testing.assert_allclose(bond_lengths(square, np.array([[0, 1], [0, 2]])), [[2, 8**0.5]])
    assert wasserstein(np.zeros(10), np.full(7, 3.0)) == pytest.approx(3)
    rng = np.random.default_rng(0)
    assert wasserstein(rng.normal(size=20000), 1 + rng.normal(size=20000)) == pytest.approx(1, abs=0.03)


@pytest.fixture
def tester(root, tmp_path):
    def build(**options):
        data = MolecularDynamicsDataset("test", root, transform=TRANSFORM, test_mode=True)
        model = MODELS.build(
            dict(
                type="GaussianRegressor",
                backbone=dict(type="ErwinNSA-v1m1", in_channels=49, channels=16, depth=1, num_heads=4, mp_steps=1),
                head=dict(type="GaussianHead", in_channels=16, out_channels=3),
                normalizer=dict(type="TargetNormalizer", channels=3, mean=[0.0] * 3, std=[1.0] * 3),
                criteria=[dict(type="GaussianNLLLoss")],
            )
        )
        cfg = Config(dict(save_path=str(tmp_path), model=dict(backbone=dict(type="ErwinNSA-v1m1")), seed=0))
        loader = torch.utils.data.DataLoader(data, batch_size=8, collate_fn=collate_fn)
        return MolecularDynamicsTester(cfg, model, loader, pictures=False, **options)

    return build


def test_the_tester_writes_windows_and_rollouts(tester, tmp_path):
    report = tester(rollout_steps=3, rollout_batch=1).test()
    assert "nll" in report["metrics"] and len(report["samples"]) == 24 + 25
    rollout = json.loads((tmp_path / "test" / "rollout.json").read_text())
    assert [r["name"] for r in rollout["rollouts"]] == ["b1", "b2"] and rollout["summary"]["rollouts"] == 2
    assert rollout["rollouts"][0]["steps"] == 3 and rollout["data"]["dataset"] == "molecular_dynamics"
    with np.load(tmp_path / "test" / "rollouts" / "b2.npz") as file:
        assert file["position"].shape == (rollout["rollouts"][1]["stable_steps"], 7, 3)


def test_rollouts_are_as_long_as_their_trajectories_or_not_at_all(tester, tmp_path):
    tester(rollouts=0).test()
    assert not (tmp_path / "test" / "rollout.json").exists()
    records = tester(sampled=False).roll_out()["rollouts"]
    assert [r["steps"] for r in records] == [FRAMES - HISTORY, FRAMES + 1 - HISTORY]
    assert all(r["stable_steps"] <= r["steps"] for r in records)
    with pytest.raises(InputError, match="test.rollout_steps: got 0"):
        tester(rollout_steps=0)
