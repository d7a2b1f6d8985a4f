"""Which samples trained a model, which chose its weights, and whether test samples were among them.

A training writes the names of its samples to ``{save_path}/data.json``; a test compares them with the names of its own.
So what a report says does not rest on what a config calls its splits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pointcept_bsa.errors import InputError
from pointcept_bsa.files.json_file import read_json, write_json

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
