"""What a run's ``data.json`` says of its training: which samples, which chose the weights, how many points a cloud had.

A training writes the names of its samples; a test compares them with the names of its own. So what a report says about
test samples among them does not rest on what a config calls its splits.

The points, the density that a network knows, are counted while the training goes on, from the batches as the model gets
them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pointcept_bsa.distributed.parts import whole_lengths
from pointcept_bsa.errors import InputError
from pointcept_bsa.files.json_file import json_text, parse_json, read_json, write_json
from pointcept_bsa.geometry.padding import VALID
from pointcept_bsa.host import comm
from pointcept_bsa.samples import ANCHORS

FILE = "data.json"
MOST_NAMES = 200_000  # longer lists are not written; their overlap with others is not known then
UNKNOWN = f"not recorded (the run's folder has no {FILE})"


def record_data(folder: str | Path, train: Any, val: Any) -> None:
    """Write the cards and sample names of the training set and of the validation set (None: there is none)."""
    write_json(Path(folder) / FILE, {"train": _described(train), "val": None if val is None else _described(val)})


def _described(dataset: Any) -> dict[str, Any] | None:
    """Card and names; None for a data set that has neither."""
    if not hasattr(dataset, "card") or not hasattr(dataset, "get_data_name"):
        return None
    card = dataset.card()
    return {"card": card, "names": sample_names(dataset, card) if card["num_samples"] <= MOST_NAMES else None}


def sample_names(dataset: Any, card: Mapping[str, Any]) -> list[str]:
    """Names of the samples of a data set, each once."""
    return [dataset.get_data_name(i) for i in range(card["num_samples"])]


def provenance(folder: str | Path | None, tested: Sequence[str]) -> dict[str, Any]:
    """What a test's report says about training and validation.

    Args:
        folder: of the training run; None: not known.
        tested: names of the test samples.

    Returns:
        ``training``: samples, split_hash, shared_with_test. ``validation``: the same, and ``kind`` ("separate",
        "test", "mixed", "none", "unknown") with a ``statement`` for people. None where nothing was recorded.
    """
    path = Path(folder) / FILE if folder is not None else None
    if path is None or not path.is_file():
        recorded: dict[str, Any] = {}
    else:
        recorded = read_recorded(path)
    train, val = recorded.get("train"), recorded.get("val")
    known = bool(recorded) and train is not None
    training = _counted(train, tested)
    validation = {**_counted(val, tested), **_judged(train, val, tested, known)}
    return {"training": training, "validation": validation}


def read_recorded(path: Path) -> dict[str, Any]:
    """The content of ``data.json``. Raises InputError for one that ``record_data`` did not write."""
    content = read_json(path, words_as_null=True)
    parts = [content.get(part) for part in ("train", "val")] if isinstance(content, dict) else [0]
    if not all(part is None or _is_described(part) for part in parts):
        raise InputError(f"{path}: is damaged: wanted cards and names of the samples of train and val; remove it")
    return content


def _is_described(part: Any) -> bool:
    card, names = (part.get("card"), part.get("names")) if isinstance(part, dict) else (None, None)
    good = isinstance(card, dict) and isinstance(card.get("num_samples"), int) and "split_hash" in card
    good = good and "names" in part
    return good and (names is None or (isinstance(names, list) and all(isinstance(name, str) for name in names)))


def _counted(part: Mapping[str, Any] | None, tested: Sequence[str]) -> dict[str, Any]:
    if part is None:
        return {"samples": None, "split_hash": None, "shared_with_test": None}
    card, names = part["card"], part["names"]
    shared = None if names is None else len(set(names) & set(tested))
    return {"samples": card["num_samples"], "split_hash": card["split_hash"], "shared_with_test": shared}


def _judged(
    train: Mapping[str, Any] | None, val: Mapping[str, Any] | None, tested: Sequence[str], known: bool
) -> dict[str, str]:
    """Kind and statement of the validation."""
    if not known or train is None:
        return {"kind": "unknown", "statement": UNKNOWN}
    if val is None or val["card"]["num_samples"] == 0:
        return {"kind": "none", "statement": "no validation samples: the last weights are tested"}
    if val["names"] is None:
        return {"kind": "unknown", "statement": f"{val['card']['num_samples']} samples, too many to compare by name"}
    names, total = set(val["names"]), val["card"]["num_samples"]
    shared, trained = len(names & set(tested)), len(names & set(train["names"] or ()))
    also = f"; {trained} of them were also TRAINED ON" if trained else ""
    if shared == total:
        return {
            "kind": "test",
            "statement": f"TEST SAMPLES: the best weights were chosen by {shared} of the {len(tested)} samples "
            f"that are tested (the papers' way){also}",
        }
    if shared:
        return {"kind": "mixed", "statement": f"{shared} of {total} validation samples are TEST SAMPLES{also}"}
    if trained:
        return {"kind": "mixed", "statement": f"{total} samples, none of them tested{also}"}
    if train["names"] is None:
        return {"kind": "separate", "statement": f"{total} samples, none of them tested"}
    return {"kind": "separate", "statement": f"{total} samples, none of them trained on or tested"}


POINTS = "points"


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
    write_json(path, {**recorded, POINTS: asdict(points)})


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
        if POINTS in recorded:
            return _checked(recorded[POINTS], f"{path}: {POINTS}")
    if text is not None:
        return _checked(parse_json(text, POINTS), POINTS)
    for transform in (cfg.get("data") or {}).get("train", {}).get("transform") or ():
        for kind, argument in (("SamplePoints", "num_points"), ("SampleAnchors", "num_anchors")):
            if transform.get("type") == kind:
                return TrainingPoints(*[transform[argument]] * 3)
    return None
