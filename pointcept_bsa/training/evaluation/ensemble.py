"""Testing several finished runs as one: the mean of their predictions, and how far their spread can be trusted."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pointcept_bsa.errors import InputError
from pointcept_bsa.host import TESTERS
from pointcept_bsa.host.weight import identity
from pointcept_bsa.models.ensemble import Ensemble
from pointcept_bsa.training.evaluation.provenance import FILE, provenance, read_recorded, sample_names
from pointcept_bsa.training.evaluation.tester import RegressionTester
from pointcept_bsa.training.runs.opened_run import OpenedRun

DOUBTS = ("separate", "none", "unknown", "mixed", "test")  # kinds of validation, from the one that leaves none


class EnsembleTester(RegressionTester):
    """:class:`.RegressionTester` of an :class:`.Ensemble`; its report names the ``members``.

    What it says of the validation is that of the member whose weights were chosen in the most doubtful way: where one
    was chosen by the test samples, so was the ensemble.

    Args:
        cfg: of the first run, with the ``save_path`` to write to.
        members: opened runs of the same data.
        options: of the tester.

    Raises:
        InputError: members with other target statistics, or trained on another split; before anything is written.
    """

    def __init__(self, cfg: Any, members: Sequence[OpenedRun], **options: Any) -> None:
        self.members = members
        refuse_strangers(members)
        super().__init__(cfg, Ensemble([member.model for member in members]).eval(), **options)

    def run_folder(self) -> Path | None:
        return self.members[0].folder

    def report(self, records: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
        report = super().report(records, seconds)
        names = sample_names(self.test_loader.dataset, report["data"]) if report["data"] else []
        judged = [provenance(member.folder, names)["validation"] for member in self.members]
        told = [
            {
                "run": member.name,
                "backbone": dict(member.cfg.model.get("backbone", member.cfg.model)),
                "seed": member.cfg.seed,
                **identity(member.weight),
                "validation": validation,
            }
            for member, validation in zip(self.members, judged, strict=True)
        ]
        together = hashlib.sha256("".join(str(each["weight_sha256"]) for each in told).encode()).hexdigest()
        runs = ", ".join(member.name for member in self.members)
        return report | {
            "members": told,
            "weight": f"ensemble of {len(told)}: {runs}",
            "weight_file": None,
            "weight_sha256": together,
            "seed": None,
            "run": None,
            "validation": max(judged, key=lambda validation: DOUBTS.index(validation["kind"])),
        }

    def seed(self) -> int | None:
        return None


def refuse_strangers(members: Sequence[OpenedRun]) -> None:
    """Raise InputError unless all members predict the same target and, as far as known, trained on the same samples."""
    first = members[0]
    statistics, split = _statistics(first), _training_split(first)
    for other in members[1:]:
        own, trained = _statistics(other), _training_split(other)
        if own.shape != statistics.shape or not torch.allclose(own, statistics, rtol=1e-4):
            raise InputError(
                f"--ensemble: target statistics of {other.name!r} are {_shown(own)}, of {first.name!r} "
                f"{_shown(statistics)}, wanted runs of the same data, split and fields"
            )
        if None not in (split, trained) and split != trained:
            raise InputError(
                f"--ensemble: {other.name!r} was trained on the split {trained}, {first.name!r} on {split}, wanted "
                "runs of the same data, split and fields"
            )


def _statistics(member: OpenedRun) -> torch.Tensor:
    """(2, K) mean and deviation of the target."""
    normalizer = getattr(member.model, "normalizer", None)
    if normalizer is None:
        raise InputError(f"--ensemble: {member.name!r} has no normalizer, wanted runs of a DefaultRegressor")
    return torch.stack([normalizer.mean, normalizer.std]).cpu()


def _training_split(member: OpenedRun) -> str | None:
    """The hash of the samples it was trained on; None where it was not recorded."""
    path = None if member.folder is None else member.folder / FILE
    if path is None or not path.is_file():
        return None
    card = (read_recorded(path).get("train") or {}).get("card") or {}
    return card.get("split_hash")


def _shown(statistics: torch.Tensor) -> str:
    mean, std = ([f"{value:.4g}" for value in row] for row in statistics.tolist())
    return f"mean {', '.join(mean)[:40]}, std {', '.join(std)[:40]}"


def test_ensemble(cfg: Any, members: Sequence[OpenedRun]) -> Mapping[str, Any]:
    """Test the members together as ``cfg.test`` says; what is written to ``{save_path}/test/metrics.json``.

    Raises:
        InputError: a tester that is no :class:`.RegressionTester`, or members that do not belong together.
    """
    kind = TESTERS.get(cfg.test["type"])
    if not (isinstance(kind, type) and issubclass(kind, RegressionTester)):
        raise InputError(f"--ensemble: got runs with test.type={cfg.test['type']!r}, wanted a RegressionTester")
    known = set(inspect.signature(RegressionTester.__init__).parameters) - {"self", "cfg", "model", "test_loader"}
    return EnsembleTester(cfg, members, **{key: value for key, value in cfg.test.items() if key in known}).test()
