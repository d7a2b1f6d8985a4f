"""ShapeNet-Car: from the raw ``mlcfd_data`` folder, or the file of four cars, to the prepared folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pointcept_bsa.datasets.arrays import read_npz
from pointcept_bsa.datasets.prepare.download import download, extract, verify
from pointcept_bsa.datasets.prepare.layout import (
    Protocols,
    finish,
    is_finished,
    refuse_other_data,
    write_sample,
)
from pointcept_bsa.datasets.prepare.mlcfd import (
    NUM_CARS,
    NUM_TEST,
    RAW_FILES,
    checked_arrays,
    find_param_root,
    full_protocols,
    load_raw_car,
    random_split,
    usable_folders,
)
from pointcept_bsa.datasets.prepare.progress import Progress
from pointcept_bsa.errors import InputError

URL = "http://www.nobuyuki-umetani.com/publication/mlcfd_data.zip"
FIELDS = ("coord", "pressure")
CARD = """# ShapeNet-Car, prepared

Pressure of the air on the surfaces of cars; one folder a car, written by `tools/prepare_data.py shapenet_car`.

| file | shape | unit | meaning |
|---|---|---|---|
| coord.npy | (N, 3) float32 | m | surface points; x width, y height, z length, flow along +z |
| pressure.npy | (N,) float32 | Pa | pressure of the solver at density 1 |
| face.npy (where known) | (F, 3 or 4) int32 | | corners of the faces, as rows of coord |

Source: N. Umetani, B. Bickel, "Learning three-dimensional flow for interactive aerodynamic design", ACM TOG 37(4), 2018
(`mlcfd_data`). The 96 points of the raw meshes that belong to no face are left out; nothing is scaled.
Protocol A: test = `torch.randperm(889, generator seed 0)[:189]` of the sorted folders. Protocol B: test = param0.
`holdout` is part of `train`: these samples serve as validation unless the papers' way (validation = test) is asked for.
Statistics of the whole training split (`train`, holdout included) are in `stats.json`.
"""


@dataclass(frozen=True)
class Car:
    """One car: ``load(*source)`` gives its arrays, named ``fields``."""

    sample_id: str
    fields: tuple[str, ...]
    source: tuple
    load: Callable[..., dict[str, np.ndarray]]


def prepare_shapenet_car(
    src: str | None,
    dst: str,
    *,
    dry_run: bool = False,
    fetch: bool = False,
    url: str = URL,
    workers: int = 1,
    overwrite: bool = False,
    allow_partial: bool = False,
) -> None:
    """Write the prepared folder ``dst``; finished samples of an earlier run are kept.

    Args:
        src: the raw folder (param0 .. param8 in it or up to three levels below), or ``shapenet_car_mini.npz``.
            With ``fetch``: where to unpack the download; default ``mlcfd_data`` beside ``dst``.
        dst: the folder to write.
        dry_run: only report.
        fetch: download the raw data first, from ``url``.
        workers: threads; they help where the disk is slow, since reading is most of the work there.
        overwrite: redo finished samples, replace other data in ``dst``.
        allow_partial: accept fewer or more than 889 usable folders; the split is then called "partial".

    Raises:
        InputError: bad arguments or data.
    """
    if workers < 1:
        raise InputError(f"--workers: got {workers}, wanted at least 1")
    root = Path(dst)
    if fetch:
        src = _fetch(src, root, url, dry_run)
        if src is None:
            return
    if src is None:
        raise InputError("--src: is missing, wanted the raw mlcfd_data folder or shapenet_car_mini.npz, or --download")
    source = Path(src)
    if source.suffix == ".npz":
        cars, protocols, default = _from_mini(source)
    else:
        cars, protocols, default = _from_raw(source, allow_partial)
    refuse_other_data(root, (car.sample_id for car in cars), overwrite)
    todo = [car for car in cars if overwrite or not is_finished(root, car.sample_id, car.fields)]
    if dry_run:
        _report(root, cars, todo, protocols, default)
        return
    root.mkdir(parents=True, exist_ok=True)
    _write_all(root, todo, workers)
    finish(root, protocols, default, FIELDS, CARD)
    print(f"prepared {len(cars)} cars in {root} ({len(todo)} written, {len(cars) - len(todo)} were there)")


def _fetch(src: str | None, root: Path, url: str, dry_run: bool) -> str | None:
    folder = Path(src) if src is not None else root.parent / "mlcfd_data"
    archive = folder.with_name(url.rpartition("/")[2] or "mlcfd_data.zip")
    if folder.exists():
        print(f"{folder} is there: not downloaded again")
        return str(folder)
    if dry_run:
        print(f"would fetch {url} to {archive} and unpack {' and '.join(RAW_FILES)} of every car into {folder}")
        return None
    if not archive.is_file():
        download(url, archive)
    print(verify(archive))
    print(f"unpacked {extract(archive, folder, RAW_FILES)} files into {folder}")
    return str(folder)


def _from_mini(path: Path) -> tuple[list[Car], Protocols, str]:
    arrays = read_npz(path)
    count = sum(key.startswith("points_") for key in arrays)
    if count < 2 or any(f"{kind}_{i}" not in arrays for i in range(count) for kind in ("points", "pressure")):
        raise InputError(f"{path}: has arrays {sorted(arrays)}, wanted points_i and pressure_i for i = 0, 1, ...")
    cars = []
    for i in range(count):
        fields = FIELDS + (("face",) if f"faces_{i}" in arrays else ())
        raw = (arrays[f"points_{i}"], arrays[f"pressure_{i}"], arrays.get(f"faces_{i}"), f"{path} car {i}")
        cars.append(Car(f"mini_car_{i}", fields, raw, _mini_arrays))
    names = [car.sample_id for car in cars]
    return cars, {"mini": {"train": names[:-1], "test": names[-1:], "holdout": []}}, "mini"


def _mini_arrays(
    points: np.ndarray, pressure: np.ndarray, face: np.ndarray | None, where: str
) -> dict[str, np.ndarray]:
    return checked_arrays(points, pressure, face, where, where)


def _from_raw(src: Path, allow_partial: bool) -> tuple[list[Car], Protocols, str]:
    root = find_param_root(src)
    ids = usable_folders(root)
    cars = [Car(i, (*FIELDS, "face"), (root / i,), load_raw_car) for i in ids]
    if len(ids) == NUM_CARS:
        return cars, full_protocols(ids), "A"
    if not allow_partial:
        raise InputError(
            f"--src: {root} has {len(ids)} usable folders, wanted {NUM_CARS} (protocols A and B need all of them); "
            "--allow-partial prepares what is there as protocol 'partial'"
        )
    if len(ids) < 2:
        raise InputError(f"--src: {root} has {len(ids)} usable folders, wanted at least 2: one to train, one to test")
    num_test = max(1, round(len(ids) * NUM_TEST / NUM_CARS))
    return cars, {"partial": random_split(ids, num_test)}, "partial"


def _write_car(root: Path, car: Car) -> str:
    write_sample(root, car.sample_id, car.load(*car.source))
    return car.sample_id


def _write_all(root: Path, cars: list[Car], workers: int) -> None:
    progress = Progress("prepare", len(cars), unit="cars")
    for _ in _written(root, cars, workers):
        progress.update()
    progress.close()


def _written(root: Path, cars: list[Car], workers: int) -> Iterator[str]:
    """Write the cars; yield the id of each one done."""
    if workers == 1 or len(cars) < 2:
        for car in cars:
            yield _write_car(root, car)
        return
    pool = ThreadPoolExecutor(max_workers=min(workers, len(cars)))
    try:
        for future in as_completed([pool.submit(_write_car, root, car) for car in cars]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _report(root: Path, cars: list[Car], todo: list[Car], protocols: Protocols, default: str) -> None:
    there = len(cars) - len(todo)
    print(f"dry run: nothing is written. {len(cars)} cars, {len(todo)} to write into {root}, {there} there")
    for protocol, lists in protocols.items():
        parts = ", ".join(f"{part} {len(names)}" for part, names in lists.items())
        print(f"protocol {protocol}{' (default)' if protocol == default else ''}: {parts}")
