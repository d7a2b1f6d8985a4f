"""Testing molecular dynamics: one step ahead, window by window, and rollouts of whole trajectories.

In a rollout a trained model runs on its own predictions, and the motion is judged as a whole. Single trajectories of a
chaotic system part from the true ones soon, whatever the model. What can be asked of a rollout is that it does not fall
apart, and that its statistics are those of the simulation.

Letters: S steps, N beads, E bonds.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from pointcept_bsa.datasets.molecular_dynamics import HISTORY, MolecularDynamicsDataset
from pointcept_bsa.errors import InputError
from pointcept_bsa.files.atomic import write_file
from pointcept_bsa.host import TESTERS, collate_fn, comm
from pointcept_bsa.samples import per_point_keys, to_device
from pointcept_bsa.training.checkpoints.checkpoint import unwrap
from pointcept_bsa.training.evaluation.bounded import evaluation_mode
from pointcept_bsa.training.evaluation.tester import RegressionTester, write_json

QUANTILES = np.linspace(0.0005, 0.9995, 1000)  # at which two distributions are compared


@dataclass
class Rollout:
    """One trajectory made by a model.

    Attributes:
        name: the true trajectory whose first 16 frames it begins with.
        frames: those 16 and the predicted ones, each (N, 3).
        failure: why it ended before its time: "not finite" or "torn bond"; None: it did not.
    """

    name: str
    frames: list[np.ndarray]
    failure: str | None = None
    longest_bond: float = field(default=np.inf, repr=False)
    random: np.random.Generator = field(default_factory=np.random.default_rng, repr=False)

    @property
    def predicted(self) -> np.ndarray:
        """(S, N, 3)"""
        return np.stack(self.frames[HISTORY:]) if len(self.frames) > HISTORY else np.empty((0, *self.frames[0].shape))


@torch.no_grad()
def simulate(
    model: nn.Module,
    dataset: MolecularDynamicsDataset,
    trajectories: Sequence[str],
    steps: int,
    sampled: bool = True,
    seed: int = 0,
    bond_limit: float = 2.0,
) -> list[Rollout]:
    """Run the model on, all trajectories in one batch: x[t+1] = 2 x[t] - x[t-1] + acceleration.

    Args:
        model: gives ``pred`` (N, 3), the acceleration in physical units, and ``variance`` (N, 3) if it is sampled.
        dataset: gives the first frames, the inputs and the transforms.
        trajectories: names of trajectories of the data set.
        steps: S.
        sampled: draw the acceleration from the predicted distribution; else take its mean.
        seed: of the draws; a trajectory's draws do not depend on which others run with it.
        bond_limit: a bond longer than so many times the longest true one is torn: the rollout ends before that frame.

    Raises:
        InputError: ``sampled`` with a model that predicts no variance.
    """
    device = next(model.parameters()).device
    rollouts = [_start(dataset, name, bond_limit, seed) for name in trajectories]
    bonds = {name: dataset.bonds(name) for name in trajectories}
    with evaluation_mode(model):
        for _ in range(steps):
            running = [rollout for rollout in rollouts if rollout.failure is None]
            if not running:
                break
            samples = [_sample(dataset, rollout.name, rollout.frames[-HISTORY:]) for rollout in running]
            output = model(to_device(collate_fn(samples), device))
            if sampled and "variance" not in output:
                raise InputError("rollout: the model predicts no variance to sample from, wanted sampled=False")
            mean = output["pred"].double().cpu().numpy()
            std = output["variance"].double().sqrt().cpu().numpy() if sampled else None
            start = 0
            for rollout in running:
                part = slice(start, start + len(rollout.frames[-1]))
                start = part.stop
                step = mean[part]
                if std is not None:
                    step = step + std[part] * rollout.random.standard_normal(step.shape)
                _advance(rollout, step, bonds[rollout.name])
    return rollouts


def _start(dataset: MolecularDynamicsDataset, name: str, bond_limit: float, seed: int) -> Rollout:
    positions = np.asarray(dataset.positions(name), dtype=np.float64)
    longest = bond_lengths(positions, dataset.bonds(name)).max(initial=0.0)
    random = np.random.default_rng([seed, *name.encode()])
    limit = bond_limit * longest if longest > 0 else np.inf
    return Rollout(name, list(positions[:HISTORY]), longest_bond=limit, random=random)


def _sample(dataset: MolecularDynamicsDataset, name: str, history: list[np.ndarray]) -> dict[str, Any]:
    fields = dataset.inputs(name, np.stack(history))
    data: dict[str, Any] = {k: v.astype(np.float32) if v.dtype.kind == "f" else v for k, v in fields.items()}
    data |= {"target": np.zeros((len(data["coord"]), 3), np.float32), "name": name}
    return dataset.transform(data | {"index_valid_keys": per_point_keys(data)})


def _advance(rollout: Rollout, acceleration: np.ndarray, bonds: np.ndarray) -> None:
    last, before = rollout.frames[-1], rollout.frames[-2]
    following = 2 * last - before + acceleration
    if not np.isfinite(following).all():
        rollout.failure = "not finite"
    elif bond_lengths(following[None], bonds).max(initial=0.0) > rollout.longest_bond:
        rollout.failure = "torn bond"
    else:
        rollout.frames.append(following)


def radius_of_gyration(positions: np.ndarray) -> np.ndarray:
    """Root mean square distance of the beads from their centre, all beads alike: (S, N, 3) -> (S,)."""
    centred = positions - positions.mean(axis=1, keepdims=True)
    return np.sqrt(np.square(centred).sum(axis=2).mean(axis=1))


def bond_lengths(positions: np.ndarray, bonds: np.ndarray) -> np.ndarray:
    """Lengths of the bonds (E, 2) in every frame: (S, N, 3) -> (S, E)."""
    return np.linalg.norm(positions[:, bonds[:, 0]] - positions[:, bonds[:, 1]], axis=2)


def wasserstein(a: np.ndarray, b: np.ndarray) -> float:
    """Distance of two distributions of numbers: mean distance of their quantiles (Wasserstein-1), in their unit."""
    return float(np.abs(np.quantile(a, QUANTILES) - np.quantile(b, QUANTILES)).mean())


def judge_rollout(rollout: Rollout, dataset: MolecularDynamicsDataset, steps: int) -> dict[str, Any]:
    """What one rollout was like beside the true trajectory, all of whose frames after the first 16 count.

    Returns:
        ``stable_steps`` of ``steps``, ``failure``; for ``radius_of_gyration``, ``bond_length`` and ``speed`` (root mean
        square displacement of a bead between frames): mean and standard deviation of truth and rollout, and the
        distance of their distributions; None for those where the rollout has fewer than two frames.
    """
    bonds = dataset.bonds(rollout.name)
    truth = np.asarray(dataset.positions(rollout.name), dtype=np.float64)[HISTORY:]
    predicted = rollout.predicted
    record: dict[str, Any] = {
        "name": rollout.name,
        "beads": truth.shape[1],
        "steps": steps,
        "stable_steps": len(predicted),
        "failure": rollout.failure,
    }
    enough = len(predicted) > 1 and len(truth) > 1
    for name, measure in (
        ("radius_of_gyration", radius_of_gyration),
        ("bond_length", lambda x: bond_lengths(x, bonds).reshape(-1)),
        ("speed", lambda x: np.sqrt(np.square(np.diff(x, axis=0)).sum(axis=2).mean(axis=1))),
    ):
        record[name] = _compare(measure(truth), measure(predicted)) if enough else None
    return record


def _compare(truth: np.ndarray, rollout: np.ndarray) -> dict[str, Any] | None:
    if not truth.size:  # a chain without bonds
        return None
    both = {"truth": truth, "rollout": rollout}
    moments = {key: {"mean": float(v.mean()), "std": float(v.std())} for key, v in both.items()}
    return {**moments, "distance": wasserstein(truth, rollout)}


def summarize_rollouts(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over the rollouts: share that lasted, steps, and of each quantity the relative error of its mean and the
    distance of the distributions over the true mean."""
    summary: dict[str, Any] = {
        "rollouts": len(records),
        "stable": float(np.mean([r["failure"] is None for r in records])),
        "stable_steps": float(np.mean([r["stable_steps"] for r in records])),
    }
    for name in ("radius_of_gyration", "bond_length", "speed"):
        found = [r[name] for r in records if r[name] is not None and r[name]["truth"]["mean"] != 0]
        errors = [abs(f["rollout"]["mean"] - f["truth"]["mean"]) / abs(f["truth"]["mean"]) for f in found]
        distances = [f["distance"] / abs(f["truth"]["mean"]) for f in found]
        summary[name] = {
            "rollouts": len(found),
            "relative_error_of_mean": float(np.mean(errors)) if found else None,
            "relative_distance": float(np.mean(distances)) if found else None,
        }
    return summary


@TESTERS.register_module("MolecularDynamicsTester")
class MolecularDynamicsTester(RegressionTester):
    """:class:`.RegressionTester`, then rollouts: ``{save_path}/test/rollout.json``, ``test/rollouts/<name>.npz``.

    Args:
        rollouts: how many of the test trajectories to roll out, from the first; 0: none; None: all.
        rollout_steps: predicted frames of each; None: as many as the true trajectory has after its first 16.
        rollout_batch: trajectories that run together.
        sampled: draw accelerations from the predicted distribution; else take its mean.
        rollout_seed: of the draws.
        cfg, model, test_loader, verbose, metrics, key, others: as :class:`.RegressionTester`.
    """

    shares_clouds = False

    def __init__(
        self,
        cfg: Any,
        model: nn.Module | None = None,
        test_loader: Any = None,
        verbose: bool = False,
        metrics: Sequence[str] = ("nll", "mse", "rmse", "mae", "r2"),
        key: str = "nll",
        rollouts: int | None = None,
        rollout_steps: int | None = None,
        rollout_batch: int = 40,
        sampled: bool = True,
        rollout_seed: int = 0,
        **others: Any,
    ):
        for name, value, least in (
            ("rollouts", rollouts, 0),
            ("rollout_steps", rollout_steps, 1),
            ("rollout_batch", rollout_batch, 1),
        ):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise InputError(f"test.{name}: got {value!r}, wanted an integer of at least {least}")
        super().__init__(cfg, model, test_loader, verbose, metrics=metrics, key=key, **others)
        if not isinstance(self.test_loader.dataset, MolecularDynamicsDataset):
            raise InputError(f"data.test: got {type(self.test_loader.dataset).__name__}, wanted molecular dynamics")
        self.rollouts = rollouts
        self.rollout_steps = rollout_steps
        self.rollout_batch = rollout_batch
        self.sampled = sampled
        self.rollout_seed = rollout_seed

    def test(self) -> dict[str, Any]:
        """Run the test; returns what is written to ``metrics.json``."""
        report = super().test()
        if comm.is_main_process() and self.rollouts != 0:
            self.roll_out()
        return report

    def roll_out(self) -> dict[str, Any]:
        """Roll out test trajectories; returns what is written to ``rollout.json``."""
        dataset, start = self.test_loader.dataset, time.perf_counter()
        names = dataset.trajectories[: self.rollouts]
        model = unwrap(self.model)
        records: list[dict[str, Any]] = []
        for first in range(0, len(names), self.rollout_batch):
            group = names[first : first + self.rollout_batch]
            known = max(len(dataset.positions(name)) - HISTORY for name in group)
            steps = self.rollout_steps or known
            made = simulate(model, dataset, group, steps, self.sampled, self.rollout_seed)
            for rollout in made:
                wanted = self.rollout_steps or len(dataset.positions(rollout.name)) - HISTORY
                del rollout.frames[HISTORY + wanted :]
                if len(rollout.predicted) == wanted:
                    rollout.failure = None
                records.append(judge_rollout(rollout, dataset, wanted))
                self.write_rollout(rollout.name, rollout.predicted)
            self.logger.info(f"Rollouts: {len(records)}/{len(names)}, {time.perf_counter() - start:.0f} s")
        report = {
            "data": dataset.card(),
            "units": "length unit of the simulation; a step is a frame",
            "sampled": self.sampled,
            "seed": self.rollout_seed,
            "summary": summarize_rollouts(records),
            "rollouts": records,
            "seconds": round(time.perf_counter() - start, 3),
        }
        write_json(self.folder / "rollout.json", report)
        self.print_rollouts(report["summary"])
        return report

    def write_rollout(self, name: str, positions: np.ndarray) -> None:
        path = self.folder / "rollouts" / f"{name}.npz"
        write_file(path, lambda file: np.savez(file, position=positions.astype(np.float32)))

    def print_rollouts(self, summary: dict[str, Any]) -> None:
        self.logger.info(
            f"Rollouts: {summary['rollouts']}, {summary['stable']:.0%} to the end, "
            f"{summary['stable_steps']:.1f} stable steps on average"
        )
        for name in ("radius_of_gyration", "bond_length", "speed"):
            found = summary[name]
            if found["rollouts"]:
                self.logger.info(
                    f"{name:<20} mean off by {found['relative_error_of_mean']:.3%}, distributions apart by "
                    f"{found['relative_distance']:.3%} of the true mean ({found['rollouts']} rollouts)"
                )
            else:
                self.logger.info(f"{name:<20} none: no rollout has two frames")
        self.logger.info(f"Written to {self.folder / 'rollout.json'}")
