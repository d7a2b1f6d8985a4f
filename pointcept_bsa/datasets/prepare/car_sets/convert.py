"""One domain of one case: from its files to ``.npy`` files of shuffled rows, in bounded memory."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from pointcept_bsa.datasets.arrays import check_finite, read_npy
from pointcept_bsa.datasets.car_sets.spec import Domain
from pointcept_bsa.datasets.inputs import check_narrowed
from pointcept_bsa.datasets.prepare.car_sets.domain import OpenedDomain, geometry_blocks
from pointcept_bsa.datasets.prepare.layout import check_destination
from pointcept_bsa.datasets.prepared import sample_folder_name
from pointcept_bsa.datasets.statistics import RunningStatistics
from pointcept_bsa.errors import InputError
from pointcept_bsa.files.atomic import write_text
from pointcept_bsa.files.json_file import json_text, read_json
from pointcept_bsa.files.npy_file import NpyRows
from pointcept_bsa.files.progress import Progress
from pointcept_bsa.mesh_io.streams import BLOCK

Record = dict[str, Any]  # what <domain>.json holds
Outputs = dict[str, tuple[Path, int, str]]  # name -> file, columns, type
BUCKET = 1 << 20  # rows of a bucket, nearly


def finished(root: Path, case: str, domain: Domain) -> Record | None:
    """What was recorded of a domain that is there and whole; else None."""
    folder = root / sample_folder_name(case)
    try:
        record = read_json(folder / f"{domain.name}.json")
        if not isinstance(record["files"], list):
            return None
        for field in (*domain.geometry, *domain.fields):
            read_npy(folder / f"{domain.name}_{field.name}.npy", (record["rows"], field.columns), "fi")
            if field.name != "row" and record["fields"][field.name]["count"] != record["of"]:
                return None
    except (InputError, KeyError, TypeError):
        return None
    return record


def convert(
    root: Path, case: str, domain: Domain, files: list[list[Path]], label: str, keep: int | None = None
) -> None:
    """Write a domain of a case below ``root``; its files get their places when all of them are whole.

    ``keep``: about so many random rows of it; None: all. Statistics are those of all.

    Raises:
        InputError: damaged files, NaN or infinity in them, no room on the disk.
    """
    final = root / sample_folder_name(case)
    part = root / f".{final.name}.{domain.name}.part"
    if part.exists():  # left by a run that was cut short
        shutil.rmtree(part)
    try:
        with OpenedDomain(domain, files) as opened:
            columns = sum(field.columns for field in (*domain.geometry, *domain.fields))
            order = ShuffledRows(opened.rows, zlib.crc32(f"{case}/{domain.name}".encode()), keep)
            check_destination(root, 4 * columns * order.kept + opened.mesh.points.num_bytes)
            part.mkdir(parents=True)
            record = {**_write(part, opened, order, label), "keep": keep, "files": sizes(files)}
        final.mkdir(exist_ok=True)
        marker = final / f"{domain.name}.json"
        marker.unlink(missing_ok=True)
        for file in part.glob(f"{domain.name}_*.npy"):
            file.rename(final / file.name)
        write_text(marker, json_text(record))
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write(folder: Path, opened: OpenedDomain, order: ShuffledRows, label: str) -> Record:
    domain, rows = opened.domain, opened.rows
    place = {f.name: folder / f"{domain.name}_{f.name}.npy" for f in (*domain.geometry, *domain.fields)}
    outputs: Outputs = {f.name: (place[f.name], f.columns, "<f4") for f in (*domain.geometry, *domain.fields)}
    outputs["row"] = (place["row"], 1, "<i4" if rows < 2**31 else "<i8")
    total = 4 * rows * sum(columns for _, columns, _ in outputs.values())
    progress = Progress(label, total, unit="B")
    statistics = {name: RunningStatistics() for name in outputs if name != "row"}

    def checked(names: list[str], blocks: Iterator[dict[str, np.ndarray]]) -> Iterator[tuple[np.ndarray, ...]]:
        for block in blocks:
            values = {name: _narrowed(block[name], name, opened.mesh.where) for name in names}
            for name in names:
                if name in statistics:
                    statistics[name].update(values[name])
                progress.update(4 * values[name].size)
            yield tuple(values.values())

    def write(names: list[str], blocks: Iterator[dict[str, np.ndarray]]) -> None:
        order.write([outputs[name] for name in names], checked(names, blocks))

    scratch = folder / "corners.npy"
    names = [field.name for field in domain.geometry if field.name != "row"]
    write(names, geometry_blocks(opened.mesh, domain, scratch))
    scratch.unlink(missing_ok=True)
    for field in domain.fields:
        write([field.name], ({field.name: block} for block in opened.blocks(field)))
    write(["row"], ({"row": np.arange(start, min(start + BLOCK, rows))[:, None]} for start in range(0, rows, BLOCK)))
    progress.close()
    fields = {name: {**each.result(), "count": each.count} for name, each in statistics.items()}
    return {"rows": order.kept, "of": rows, "fields": fields}


def _narrowed(values: np.ndarray, name: str, where: object) -> np.ndarray:
    check_finite(values, name, str(where))
    if values.dtype.kind != "f":
        return values if name == "row" else values.astype(np.float32)
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    check_narrowed(narrow, name, str(where))
    return narrow


def sizes(files: list[list[Path]]) -> list[list[list[Any]]]:
    """Name and size of each file, which tell whether it is the one that was read."""
    return [[[path.name, path.stat().st_size] for path in paths] for paths in files]


def merged(records: list[Record], field: str) -> dict[str, Any]:
    """Statistics of a field over the cases of ``records``."""
    running = RunningStatistics()
    for record in records:
        running.add(record["fields"][field], record["of"])
    return running.result()


class ShuffledRows:
    """The order of ``rows`` rows that come in blocks of ``BLOCK``: random, in bounded memory.

    Any run of them is a random sample. The shuffle of Rao (1961) and Sandelius (1962): each row goes to a bucket drawn
    for it, then every bucket, small enough for the memory, is permuted. All orders are equally likely. The draws follow
    from the seed and the number of rows alone, so that all arrays of a mesh get one order.

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
