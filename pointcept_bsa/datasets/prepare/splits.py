"""Who trains, who validates, who tests: drawn by a seed, the first and the last of a file, or published lists."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pointcept_bsa.datasets.base import SPLITS, split_hash
from pointcept_bsa.datasets.prepare.layout import Protocols
from pointcept_bsa.errors import InputError

HOLDOUT_SEED = 1


def seeded_split(names: Sequence[str], counts: Sequence[int], seed: int) -> dict[str, list[str]]:
    """Return train, val and test lists of ``counts`` names each, drawn by ``seed``, in the order of ``names``.

    The draw is ``numpy.random.RandomState(seed).permutation``, a stream that numpy keeps for good: first the test
    samples, then validation, the rest is training.
    """
    order = np.random.RandomState(seed).permutation(len(names))
    _, num_val, num_test = counts
    parts = {
        "train": order[num_test + num_val :],
        "val": order[num_test : num_test + num_val],
        "test": order[:num_test],
    }
    return {part: [names[i] for i in sorted(parts[part])] for part in SPLITS}


def fractions(total: int, val: float, test: float) -> tuple[int, int, int]:
    """Return the counts (train, val, test) of ``total`` samples, at least one each.

    Raises:
        InputError: fewer than three samples.
    """
    if total < 3:
        raise InputError(f"--src: has {total} samples, wanted at least 3: to train, to validate, to test")
    num_val, num_test = max(1, round(total * val)), max(1, round(total * test))
    return total - num_val - num_test, num_val, num_test


def drawn_protocol(names: Sequence[str], counts: tuple[int, int, int], seed: int, protocol: str) -> Protocols:
    """Return ``protocol``, a draw of ``counts`` (train, val, test).

    Another number of samples is divided in the same proportion, under a protocol of its own name.

    Raises:
        InputError: fewer than three samples.
    """
    total = sum(counts)
    if len(names) != total:
        counts = fractions(len(names), counts[1] / total, counts[2] / total)
        protocol = f"{'/'.join(map(str, counts))}, seed {seed}"
    return {protocol: seeded_split(names, counts, seed)}


def ends_protocols(
    names: Sequence[str], unit: str, protocols: Sequence[str], counts: tuple[int, int] | None, wanted: str
) -> Protocols:
    """Return protocols whose first samples train and whose last ones test; a tenth of the training is "holdout", too.

    Args:
        unit: what a sample is called in errors.
        protocols: their names, all with the same lists; the first is the default.
        counts: how many train and test; None: this is another number of samples than the papers', which makes the
            protocol "partial" with a sixth for the test, if ``wanted`` is empty.
        wanted: the papers' number of samples, for the error.

    Raises:
        InputError: another number of samples that is not wanted, or fewer than two.
    """
    if counts is None and wanted:
        raise InputError(
            f"--src: has {len(names)} {unit}, wanted {wanted} (protocol {protocols[0]}); "
            "--allow-partial prepares what is there as protocol 'partial'"
        )
    if counts is None and len(names) < 2:
        raise InputError(f"--src: has {len(names)} {unit}, wanted at least 2: one to train, one to test")
    if counts is None:
        num_test = max(1, len(names) // 6)
        protocols, counts = ("partial",), (len(names) - num_test, num_test)
    num_train, num_test = counts
    held_out = np.sort(np.random.RandomState(HOLDOUT_SEED).permutation(num_train)[: num_train // 10])
    parts = {
        "train": list(names[:num_train]),
        "test": list(names[-num_test:]),
        "holdout": [names[i] for i in held_out],
    }
    return dict.fromkeys(protocols, parts)


def read_lists(
    folder: Path, files: Mapping[str, str], pattern: re.Pattern[str], unit: str, wanted: str
) -> dict[str, list[str]]:
    """Return the names of the samples of each split.

    Args:
        files: split -> its file in ``folder``, with a name a line.
        pattern: what a name looks like; ``wanted`` says the same in words.
        unit: what samples are called in errors.

    Raises:
        InputError: a list is missing or empty, a name comes twice or looks otherwise.
    """
    lists = {part: _read_list(folder / file, pattern, unit, wanted) for part, file in files.items()}
    names = [name for part in SPLITS for name in lists[part]]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{folder}: {twice!r} is named twice, wanted every {unit} once")
    return lists


def other_lists(lists: Mapping[str, Sequence[str]], published: Mapping[str, str]) -> list[str]:
    """Return the splits whose samples are not the published ones: ``published`` holds the ``split_hash`` of each."""
    return [part for part in SPLITS if split_hash(lists[part]) != published[part]]


def _read_list(path: Path, pattern: re.Pattern[str], unit: str, wanted: str) -> list[str]:
    units = f"{unit.removesuffix('y')}ies" if unit.endswith("y") else f"{unit}s"
    try:
        names = path.read_text(encoding="utf-8").split()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), wanted a list of {units}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not text, wanted a list of {units}, one a line") from None
    bad = [name for name in names if not pattern.fullmatch(name)]
    if bad or not names:
        raise InputError(f"{path}: has {len(names)} names{f', one is {bad[0]!r}' if bad else ''}, wanted {wanted}")
    return names
