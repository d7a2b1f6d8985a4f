"""Rows written in random order, in bounded memory, so that any run of them is a random sample.

The shuffle of Rao (1961) and Sandelius (1962): each row goes to a bucket drawn for it, then every bucket, small enough
for the memory, is permuted. All orders are equally likely. The draws follow from the seed and the number of rows alone,
so that all arrays of a mesh get one order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from pointcept_bsa.files.npy_file import NpyRows
from pointcept_bsa.mesh_io.streams import BLOCK

BUCKET = 1 << 20  # rows of a bucket, nearly


class ShuffledRows:
    """The order of ``rows`` rows that come in blocks of ``BLOCK``.

    ``keep``: write this many of them, or up to an eighth more, drawn at random; None: all. ``kept`` says how many.
    """

    def __init__(self, rows: int, seed: int, keep: int | None = None, bucket: int = BUCKET, block: int = BLOCK) -> None:
        self.rows, self.seed, self.block = rows, seed, block
        if keep is not None:
            bucket = max(1, min(bucket, keep // 8))
        self.buckets = min(max(1, -(-rows // bucket)), 1 << 16)
        counts = np.zeros(self.buckets, np.int64)
        for number in range(-(-rows // block)):
            counts += np.bincount(self._bucket_of(number), minlength=self.buckets)
        starts = np.concatenate([[0], np.cumsum(counts)])
        self._written = self.buckets if keep is None or keep >= rows else int(np.searchsorted(starts, keep))
        self.starts = starts[: self._written + 1]
        self.kept = int(self.starts[-1])

    def write(self, files: Sequence[tuple[Path, int, str]], blocks: Iterable[tuple[np.ndarray, ...]]) -> None:
        """Write ``files`` (path, columns, type), of which ``blocks`` have the rows: an array (n, columns) for each.

        Raises:
            InputError: they cannot be written.
        """
        with ExitStack() as stack:
            opened = [NpyRows(path, self.kept, columns, dtype) for path, columns, dtype in files]
            for file in opened:
                stack.callback(file.close)
            self._sort_into_buckets(opened, blocks)
            for one in range(self._written):
                start, count = int(self.starts[one]), int(self.starts[one + 1] - self.starts[one])
                order = np.random.default_rng([self.seed, 1, one]).permutation(count)
                for file in opened:
                    file.write(start, file.read(start, count)[order])

    def _sort_into_buckets(self, files: Sequence[NpyRows], blocks: Iterable[tuple[np.ndarray, ...]]) -> None:
        filled = self.starts[:-1].copy()
        for number, block in enumerate(blocks):
            bucket = self._bucket_of(number)
            order = np.argsort(bucket, kind="stable")
            counts = np.bincount(bucket, minlength=self.buckets)[: self._written]
            ends = np.cumsum(counts)
            for file, values in zip(files, block, strict=True):
                ordered = values[order]
                for one in np.flatnonzero(counts):
                    file.write(int(filled[one]), ordered[ends[one] - counts[one] : ends[one]])
            filled += counts

    def _bucket_of(self, number: int) -> np.ndarray:
        """The bucket of each row of a block."""
        rows = min(self.block, self.rows - number * self.block)
        return np.random.default_rng([self.seed, 0, number]).integers(self.buckets, size=rows, dtype=np.uint16)
