"""Which samples train, validate and test: by lists, by folders, or drawn."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from pointcept_bsa.datasets.custom.table import plain_name
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.files.json_file import parse_json
from pointcept_bsa.mesh_io.source import decoded, read_file

SPLITS = ("train", "val", "test")
HOLDOUT = 0.1  # of the training samples, where nothing is said about validation
Lists = dict[str, list[str]]


def make_split(
    names: Sequence[str],
    split_file: str | None = None,
    fractions: Sequence[float] | None = None,
    seed: int = 0,
    whole_series: bool = False,
) -> tuple[str, Lists]:
    """Return the name of the protocol and its lists ``train``, ``test`` and ``val`` or ``holdout``.

    Args:
        names: all samples.
        split_file: JSON file ``{"train": [..], "val": [..], "test": [..]}`` ("val" may be missing).
        fractions: (validation, test) parts of all samples, drawn by ``seed``.
        seed: also draws the validation samples out of the training samples where there are none.
        whole_series: draw series of samples (see :func:`series_of`) in place of samples, parts of their number.

    Where neither is given, the folders ``train``, ``val``, ``test`` divide the samples if they lie in such; else they
    are drawn 80/10/10.

    Raises:
        InputError: both given, unknown or doubled names, samples outside the three folders, too few samples.
    """
    if split_file is not None and fractions is not None:
        raise InputError("--split-file and --fractions: got both, wanted one of them")
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise InputError(f"--seed: got {seed!r}, wanted an integer from 0 to {2**32 - 1}")
    if split_file is not None:
        return _with_validation("lists", _from_file(names, split_file), seed, whole_series)
    folders = [name.split("/", 1)[0] if "/" in name else "" for name in names]
    inside = [folder in SPLITS for folder in folders]
    if fractions is None and "train" in folders and "test" in folders:
        if not all(inside):
            outside = names[inside.index(False)]
            raise InputError(
                f"--src: sample {outside!r} lies in none of the folders {list(SPLITS)} though others do, wanted all in "
                "them, or --split-file or --fractions"
            )
        lists = {part: [n for n, f in zip(names, folders, strict=True) if f == part] for part in SPLITS}
        return _with_validation(
            "folders", {part: members for part, members in lists.items() if members}, seed, whole_series
        )
    val, test = fractions if fractions is not None else (0.1, 0.1)
    drawn = " of whole series" if whole_series else ""
    return f"drawn {val:g}/{test:g}{drawn}, seed {seed}", _drawn(_units(names, whole_series), val, test, seed)


def series_of(name: str) -> str:
    """The series that a sample is likely of: its folder, or, of a name without folder, what is before its last number.

    ``run3/t_0007`` is of ``run3``, ``run3_t0007`` of ``run3_t``.
    """
    folder, slash, _ = name.rpartition("/")
    return folder if slash else re.sub(r"\d+(?=\D*$)", "*", name)


def torn_series_notes(lists: Lists) -> list[str]:
    """A note where samples of one series train and others of it are tested, as a draw among all samples does; or none.

    There must be more than one series: samples that are numbered from first to last are no series.
    """
    members: dict[str, int] = {}
    for name in {name for names in lists.values() for name in names}:
        members[series_of(name)] = members.get(series_of(name), 0) + 1
    several = {series for series, count in members.items() if count > 1}
    torn = sorted(several & set(map(series_of, lists["train"])) & set(map(series_of, lists["test"])))
    if not torn or len(several) < 2:
        return []
    return [
        f"samples of {torn[0]!r} train and others of it are tested, so of {len(torn)} of {len(several)} series: if "
        "these are steps of one simulation, the test says little about a new one, and --whole-series keeps them whole"
    ]


def _units(names: Sequence[str], whole_series: bool) -> list[list[str]]:
    """What is drawn as one: samples, or whole series of them."""
    if not whole_series:
        return [[name] for name in names]
    units: dict[str, list[str]] = {}
    for name in names:
        units.setdefault(series_of(name), []).append(name)
    return list(units.values())


def samples_of(lists: Lists, split: str, validation: str) -> list[str]:
    """Return the samples of a split; ``validation`` "test" is for protocols without validation samples of their own."""
    if "val" in lists or split == "test":
        return list(lists[split])
    if validation == "test":
        return list(lists["train" if split == "train" else "test"])
    if split == "val":
        return list(lists["holdout"])
    held_out = set(lists["holdout"])
    return [name for name in lists["train"] if name not in held_out]


def shared_samples(digests: Mapping[str, bytes], lists: Lists) -> list[str]:
    """Return a line for each pair of parts of a split that have samples of the same content, under whatever names.

    Args:
        digests: sample -> what samples of the same content share; others are not looked at.
        lists: the split; those of "holdout" validate and do not train.
    """
    held = lists.get("val", lists.get("holdout", []))
    parts = {"train": [name for name in lists["train"] if name not in set(held)], "val": held, "test": lists["test"]}
    owners = {
        part: {digests[name]: name for name in reversed(names) if name in digests} for part, names in parts.items()
    }
    lines = []
    for first, second in combinations(SPLITS, 2):
        known = owners[first]
        same = [(name, known[digests[name]]) for name in parts[second] if digests.get(name) in known]
        if same:
            pairs = ", ".join(f"{own!r} as {other!r}" for own, other in same[:3]) + (", ..." if len(same) > 3 else "")
            lines.append(
                f"SAME SAMPLES in {first} and {second}: {len(same)} of {second} have the points and values of one of "
                f"{first} ({pairs}); what is said of them says nothing about new samples"
            )
    return lines


def _drawn(units: Sequence[Sequence[str]], val: float, test: float, seed: int) -> Lists:
    if not (0 <= val < 1 and 0 < test < 1 and val + test < 1):
        raise InputError(f"--fractions: got {val:g} and {test:g}, wanted parts for validation and test, below 1 in all")
    num_val, num_test = max(1, round(len(units) * val)) if val else 0, max(1, round(len(units) * test))
    if len(units) - num_val - num_test < 1:
        what = "samples" if all(len(unit) == 1 for unit in units) else "series of samples"
        raise InputError(f"--src: has {len(units)} {what}, wanted at least {num_val + num_test + 1} to divide them")
    order = np.random.RandomState(seed).permutation(len(units))
    parts = {
        "train": order[num_test + num_val :],
        "val": order[num_test : num_test + num_val],
        "test": order[:num_test],
    }
    return {part: [name for i in sorted(parts[part]) for name in units[i]] for part in SPLITS}


def _with_validation(protocol: str, lists: Lists, seed: int, whole_series: bool) -> tuple[str, Lists]:
    for part in ("train", "test"):
        if not lists.get(part):
            raise InputError(f"split: has no samples for {part!r}, wanted at least one")
    if lists.get("val"):
        return protocol, {part: lists[part] for part in SPLITS}
    units = _units(lists["train"], whole_series)
    if whole_series and len(units) == 1:
        raise InputError("--whole-series: got one series of training samples, wanted more, of which some can validate")
    count = max(1, round(HOLDOUT * len(units))) if len(units) > 1 else 0
    drawn = sorted(np.random.RandomState(seed).permutation(len(units))[:count])
    held_out = [name for i in drawn for name in units[i]]
    series = " of whole series" if whole_series else ""
    lists = {"train": lists["train"], "test": lists["test"], "holdout": held_out}
    return f"{protocol}, holdout{series} seed {seed}", lists


def _from_file(names: Sequence[str], split_file: str) -> Lists:
    path = Path(split_file)
    content = parse_json(decoded(read_file(path, "a JSON file of lists train, val, test")), path)
    parts = content if isinstance(content, dict) else {}
    good = all(isinstance(part, list) and all(isinstance(n, str) for n in part) for part in parts.values())
    if not parts or not good or set(parts) - set(SPLITS):
        raise InputError(f"{path}: wanted an object with lists of sample names {list(SPLITS)} and nothing else")
    known: dict[str, str] = {}
    for name in names:
        if known.setdefault(plain_name(name), name) != name:
            raise InputError(f"--src: samples {known[plain_name(name)]!r} and {name!r} have one name, wanted different")
    lists: Lists = {}
    seen: set[str] = set()
    for part, members in parts.items():
        for name in members:
            own = known.get(plain_name(name))
            if own is None or own in seen:
                fault = f"is not there{nearest(name, known)}" if own is None else "is named twice"
                raise InputError(f"{path}: {part}: sample {name!r} {fault}, wanted every name once, as in --dry-run")
            seen.add(own)
            lists.setdefault(part, []).append(own)
    return {part: lists.get(part, []) for part in parts}
