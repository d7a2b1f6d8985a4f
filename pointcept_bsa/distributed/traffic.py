"""What a process sends to the others, in bytes."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

from torch import Tensor

_counting: list[Counter[str]] = []


@contextlib.contextmanager
def counted() -> Iterator[Counter[str]]:
    """Within, add up the bytes that this process sends, by the name of what they are for; backward passes too."""
    counter: Counter[str] = Counter()
    _counting.append(counter)
    try:
        yield counter
    finally:
        _counting.remove(counter)


def count(name: str, numbers: int, like: Tensor) -> None:
    """Note that ``numbers`` of the type of ``like`` are sent for ``name``."""
    for counter in _counting:
        counter[name] += numbers * like.element_size()
