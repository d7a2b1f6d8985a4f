"""Testing molecular dynamics: one step ahead, window by window, and rollouts of whole trajectories."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from pointcept_bsa.datasets.molecular_dynamics import HISTORY, MolecularDynamicsDataset
from pointcept_bsa.errors import InputError
from pointcept_bsa.files.atomic import write_file
from pointcept_bsa.host import TESTERS, comm
from pointcept_bsa.training.evaluation.rollout import judge_rollout, simulate, summarize_rollouts
from pointcept_bsa.training.evaluation.tester import RegressionTester, write_json


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
        model = getattr(self.model, "module", self.model)
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
