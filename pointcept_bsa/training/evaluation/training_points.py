"""How many points a cloud had in training: the density that a network knows.

Counted while the training goes on, from the batches as the model gets them, and kept beside the names of the samples
in the run's ``data.json``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pointcept_bsa.distributed.parts import whole_lengths
from pointcept_bsa.errors import InputError
from pointcept_bsa.files.json_file import json_text, parse_json, write_json
from pointcept_bsa.geometry.padding import VALID
from pointcept_bsa.host import comm
from pointcept_bsa.samples import ANCHORS
from pointcept_bsa.training.evaluation.provenance import FILE, read_recorded

KEY = "points"


@dataclass(frozen=True)
class TrainingPoints:
    """Points of the clouds as they were trained on.

    Attributes:
        min, median, max: over the clouds, each as often as it came.
    """

    min: int
    median: int
    max: int

    def to_json(self) -> str:
        """Text, read by :func:`parse`."""
        return json_text(asdict(self), indent=None).strip()


class PointCounter:
    """Counts the clouds of training batches by their points."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()

    def note(self, batch: Mapping[str, Any]) -> None:
        """Take in a batch that is still on the host; one on a device is left out rather than waited for."""
        if "offset" not in batch or batch["offset"].is_cuda:
            return
        points = whole_lengths(
            batch, ANCHORS if ANCHORS in batch else "offset"
        )  # the density is that of what is attended to
        if VALID in batch:  # slots
            points = tuple(int(valid.sum()) for valid in batch[VALID].split(points))
        self.counts.update(points)

    def result(self) -> TrainingPoints | None:
        """Of all processes, the same in each; None before the first batch."""
        total: Counter[int] = sum(comm.all_gather(self.counts), Counter())
        sizes, half = sorted(total), sum(total.values()) / 2
        passed = 0
        for size in sizes:
            passed += total[size]
            if passed >= half:
                return TrainingPoints(sizes[0], size, sizes[-1])
        return None


def record_points(folder: str | Path, points: TrainingPoints) -> None:
    """Add them to what the run's folder says about its training data."""
    path = Path(folder) / FILE
    recorded = read_recorded(path) if path.is_file() else {}
    write_json(path, {**recorded, KEY: asdict(points)})


def _checked(content: Any, where: str) -> TrainingPoints:
    """Raises InputError for what :meth:`TrainingPoints.to_json` does not write."""
    good = isinstance(content, dict) and content.keys() == {"min", "median", "max"}
    if not good or not all(type(count) is int and count > 0 for count in content.values()):
        raise InputError(f"{where}: wanted min, median and max, each a positive integer, got {str(content)[:100]}")
    return TrainingPoints(**content)


def training_points(
    folder: str | Path | None, cfg: Mapping[str, Any], text: str | None = None
) -> TrainingPoints | None:
    """As a run's folder says; else ``text``, of exported weights; else what its config samples.

    None: not known. Raises InputError for counts that are none.
    """
    path = Path(folder) / FILE if folder is not None else None
    if path is not None and path.is_file():
        recorded = read_recorded(path)
        if KEY in recorded:
            return _checked(recorded[KEY], f"{path}: {KEY}")
    if text is not None:
        return _checked(parse_json(text, KEY), KEY)
    for transform in (cfg.get("data") or {}).get("train", {}).get("transform") or ():
        for kind, argument in (("SamplePoints", "num_points"), ("SampleAnchors", "num_anchors")):
            if transform.get("type") == kind:
                return TrainingPoints(*[transform[argument]] * 3)
    return None
