"""ShapeNet-Car: pressure of the air on 889 car surfaces.

Data: N. Umetani, B. Bickel, "Learning three-dimensional flow for interactive aerodynamic design", ACM TOG 37(4), 2018.
Raw data become the prepared folder by ``tools/prepare_data.py shapenet_car``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pointcept_bsa.arguments.carried import command_line
from pointcept_bsa.datasets.arrays import check_finite, read_npz
from pointcept_bsa.datasets.folder_dataset import FolderDataset
from pointcept_bsa.datasets.inputs import InputDescription
from pointcept_bsa.datasets.prepare.download import download, extract, verify
from pointcept_bsa.datasets.prepare.layout import (
    Protocols,
    check_destination,
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
    holdout,
    load_raw_car,
    random_split,
    usable_folders,
)
from pointcept_bsa.datasets.prepare.samples import check_shapes
from pointcept_bsa.errors import InputError
from pointcept_bsa.files.progress import Progress
from pointcept_bsa.host import DATASETS

URL = "http://www.nobuyuki-umetani.com/publication/mlcfd_data.zip"
FIELDS = ("coord", "pressure")
PLAID_FILE, MINI_FILE = "shapenet_car_plaid_20.npz", "shapenet_car_mini.npz"
NUM_HELD_OUT = 2  # training cars of protocol mini24 that validate
CARD = """# ShapeNet-Car, prepared

Pressure of the air on the surfaces of cars; one folder a car, written by `tools/prepare_data.py shapenet_car`.

| file | shape | unit | meaning |
|---|---|---|---|
| coord.npy | (N, 3) float32 | m | surface points; x width, y height, z length, flow along +z |
| pressure.npy | (N,) float32 | Pa | pressure of the solver at density 1 |
| face.npy (where known) | (F, 3 or 4) int32 | | corners of the faces, as rows of coord |
| normal.npy (24 cars) | (N, 3) float32 | 1 | unit normals of the points, outward |

Source: N. Umetani, B. Bickel, "Learning three-dimensional flow for interactive aerodynamic design", ACM TOG 37(4), 2018
(`mlcfd_data`). The 96 points of the raw meshes that belong to no face are left out; nothing is scaled.
Protocol A: test = `torch.randperm(889, generator seed 0)[:189]` of the sorted folders. Protocol B: test = param0.
`holdout` is part of `train`: these samples serve as validation unless the papers' way (validation = test) is asked for.
Statistics of the whole training split (`train`, holdout included) are in `stats.json`.
"""
CARD_24 = """
## Protocol mini24

24 distinct cars, twenty of `shapenet_car_plaid_20.npz` and four of `shapenet_car_mini.npz`: 14 to train on (the ten of
the first file's split `train`, and the four), 10 to test (its split `test`). Validation: 2 of the 14, drawn by
`torch.randperm(14, generator seed 1)`, are `holdout` and left out of training, so that networks are trained on 12. A
protocol of this package: which of the published splits these cars belong to is not known, so that no result stands
beside published ones.

The cars `plaid_*` are licensed CC-BY-4.0. Attribution: N. Umetani and B. Bickel, as processed by NeuralOperator
(https://zenodo.org/records/13993629), by way of the test data of PLAID-lib/plaid. No changes to points, faces and
pressures; normals were added. The cars `mini_car_*` come from the test data of neuraloperator/neuraloperator (MIT),
where the licence of the original data is not stated; one of them has no faces.

Vertex i lies at the same place of every car, so that the mean training pressure at vertex i predicts a new car with
relative L2 0.249 (fitted on all 14). That is knowledge of the mesh, not of the shape: no network may use the index of a
point, and one that is worse has learned nothing that the average car does not tell. (`tools/baselines.py`:
`mean_field_by_index`; a constant 0.793, the nearest of the 14 by index 0.289.)
"""


@DATASETS.register_module()
class ShapeNetCarDataset(FolderDataset):
    """Surface points of a car (N, 3) -> pressure (N, 1).

    Args:
        protocol: "A" (700 train, 189 test: UPT, Erwin, BSA), "B" (789 train, 100 test: Transolver, AB-UPT), "mini"
            (three real cars and one), "mini24" (14 and 10 real cars, of this package), "partial"; None: the default
            that the prepared folder names.
        validation: "holdout": validation samples are drawn from the training samples and left out of training;
            "test": the papers' way: train on the whole training split, validate on the test samples.
        with_face: also give ``face (F, 3|4)`` where the folder has it.
        with_normal: also give the outward ``normal (N, 3)``, which a folder of protocol "mini24" has.
        split, data_root, transform, test_mode, test_cfg, cache, loop: see ``PointFieldDataset``.

    The data lie along: x width, y height, z length, the flow along +z. Pressure is the solver's, at density 1.
    Vertex i lies at the same place of every car: a leak for whatever looks at the order of the points.
    """

    name = "shapenet_car"
    target_fields = ("pressure",)
    target_names = ("pressure",)
    target_units = ("Pa",)
    published = {"A": {"mean": [-36.3099], "std": [48.5743]}}  # as Erwin and BSA normalise
    vertices_correspond = True
    up_axis = "y"
    surface_pressure = {"density": 1.0, "velocity": 20.0, "flow": [0.0, 0.0, 1.0], "up": [0.0, 1.0, 0.0]}

    def __init__(
        self,
        split: str = "train",
        data_root: str = "data/shapenet_car",
        protocol: str | None = None,
        validation: str = "holdout",
        with_face: bool = True,
        with_normal: bool = False,
        **common: Any,
    ) -> None:
        self.with_face = with_face
        self.with_normal = with_normal
        super().__init__(split, data_root, protocol, validation=validation, **common)

    def prepare_hint(self, data_root: str) -> str:
        command = command_line("prepare_data", "shapenet_car", "--dst", data_root)
        return f"{command} --src <mlcfd_data folder> (or, to fetch the raw data: {command} --download)"

    def describe_inputs(self) -> InputDescription:
        return InputDescription()

    def load_fields(self, index: int) -> dict[str, Any]:
        name = self.data_list[index]
        fields = {
            "coord": self.folder.read(name, "coord", (None, 3)),
            "pressure": self.folder.read(name, "pressure", (None,)),
        }
        if self.with_face and self.folder.file(name, "face").is_file():
            fields["face"] = self.folder.read(name, "face", (None, None), kind="iu")
        if self.with_normal:
            if not self.folder.file(name, "normal").is_file():
                raise InputError(
                    f"with_normal: got True, but {self.folder.root} holds no normals, wanted the data of protocol "
                    f"mini24 or with_normal=False"
                )
            fields["normal"] = self.folder.read(name, "normal", (None, 3))
        return fields

    def notes(self) -> list[str]:
        notes = ["pressure of the solver at density 1"]
        if self.protocol == "mini24":
            notes.append("24 cars, split by this package: not to be compared with published numbers")
        if self.protocol == self.folder.default_protocol:
            notes.append("protocol is the default of the prepared folder")
        return [*notes, *super().notes()]


@dataclass(frozen=True)
class Car:
    """One car: ``load(*source)`` gives its arrays, named ``fields``."""

    sample_id: str
    fields: tuple[str, ...]
    source: tuple
    load: Callable[..., dict[str, np.ndarray]]


def prepare_shapenet_car(
    src: str | Sequence[str] | None,
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
        src: the raw folder (param0 .. param8 in it or up to three levels below); or ``shapenet_car_mini.npz``; or that
            file and ``shapenet_car_plaid_20.npz``, for protocol "mini24".
            With ``fetch``: where to unpack the download; default ``mlcfd_data`` beside ``dst``.
        dst: the folder to write.
        dry_run: read everything, report it, write nothing; what would stop a run is an error here, too.
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
    sources = [src] if isinstance(src, str) else list(src or ())
    if fetch:
        if len(sources) > 1:
            raise InputError(f"--src: got {len(sources)} places, wanted one with --download: where to unpack")
        fetched = _fetch(sources[0] if sources else None, root, url, dry_run)
        if fetched is None:
            return
        sources = [fetched]
    if not sources:
        raise InputError(
            f"--src: is missing, wanted the raw mlcfd_data folder or {MINI_FILE} (or {PLAID_FILE} {MINI_FILE}), "
            "or --download"
        )
    card = CARD
    if any(Path(source).suffix == ".npz" for source in sources):
        cars, protocols, default = _from_files([Path(source) for source in sources])
        card += CARD_24 if "mini24" in protocols else ""
    elif len(sources) == 1:
        cars, protocols, default = _from_raw(Path(sources[0]), allow_partial)
    else:
        raise InputError(f"--src: got {len(sources)} folders, wanted one: the raw mlcfd_data folder")
    refuse_other_data(root, (car.sample_id for car in cars), overwrite)
    todo = [car for car in cars if overwrite or not is_finished(root, car.sample_id, car.fields)]
    if dry_run:
        _report(root, cars, todo, protocols, default)
        for car in todo:
            car.load(*car.source)
        return
    root.mkdir(parents=True, exist_ok=True)
    _write_all(root, todo, workers)
    finish(root, protocols, default, FIELDS, card)
    print(f"prepared {len(cars)} cars in {root} ({len(todo)} written, {len(cars) - len(todo)} were there)")


def _fetch(src: str | None, root: Path, url: str, dry_run: bool) -> str | None:
    folder = Path(src) if src is not None else root.parent / "mlcfd_data"
    archive = folder.with_name(url.rpartition("/")[2] or "mlcfd_data.zip")
    if folder.exists():
        print(f"{folder} is there: not downloaded again")
        return str(folder)
    if dry_run:
        check_destination(root)
        print(f"would fetch {url} to {archive} and unpack {' and '.join(RAW_FILES)} of every car into {folder}")
        return None
    if not archive.is_file():
        download(url, archive)
    print(verify(archive))
    print(f"unpacked {extract(archive, folder, RAW_FILES)} files into {folder}")
    return str(folder)


def _from_files(paths: Sequence[Path]) -> tuple[list[Car], Protocols, str]:
    """The four cars alone, or with the twenty: which file is which is told by its arrays."""
    files = [(path, read_npz(path)) for path in paths]
    plaid = [file for file in files if "split" in file[1]]
    mini = [file for file in files if "split" not in file[1]]
    if len(plaid) == 0 and len(mini) == 1:
        return _from_mini(*mini[0])
    if len(plaid) != 1 or len(mini) != 1:
        found = " and ".join(str(path) for path in paths)
        raise InputError(f"--src: got {found}, wanted {MINI_FILE}, or {PLAID_FILE} and {MINI_FILE}")
    return _from_both(plaid[0], mini[0])


def _from_both(
    plaid: tuple[Path, Mapping[str, np.ndarray]], mini: tuple[Path, Mapping[str, np.ndarray]]
) -> tuple[list[Car], Protocols, str]:
    """Train: split "train" of the one file and the whole of the other; test: split "test"."""
    path, arrays = plaid
    count, points = _check_plaid(path, arrays)
    fields = (*FIELDS, "face", "normal")
    parts: dict[str, list[str]] = {"train": [], "test": []}
    cars = []
    for i in range(count):
        part = str(arrays["split"][i])
        if part not in parts:
            raise InputError(f"{path}: 'split' holds {part!r}, wanted 'train' and 'test'")
        raw = (*(arrays[key][i] for key in ("points", "pressure", "faces", "vertex_normals")), f"{path} car {i}")
        cars.append(Car(f"plaid_car_{i:02d}", fields, raw, _file_arrays))
        parts[part].append(cars[-1].sample_id)
    further, _, _ = _from_mini(*mini, with_normal=True)
    for car in further:
        if len(car.source[0]) != points:
            raise InputError(
                f"{car.source[-1]}: has {len(car.source[0])} points, wanted {points} as the cars of {path}"
            )
    cars += further
    train = parts["train"] + [car.sample_id for car in further]
    if not parts["test"]:
        raise InputError(f"{path}: 'split' has no 'test', wanted at least one car to test")
    if len(train) <= NUM_HELD_OUT:
        raise InputError(f"--src: has {len(train)} cars to train, wanted more than the {NUM_HELD_OUT} that validate")
    lists = {"train": train, "test": parts["test"], "holdout": holdout(train, NUM_HELD_OUT)}
    name = f"mini{len(cars)}"
    return cars, {name: lists}, name


def _check_plaid(path: Path, arrays: Mapping[str, np.ndarray]) -> tuple[int, int]:
    """The numbers of cars and of points of a car."""
    keys = ("points", "pressure", "faces", "vertex_normals", "split")
    if any(key not in arrays for key in keys) or arrays["points"].ndim != 3:
        raise InputError(f"{path}: has arrays {sorted(arrays)}, wanted {list(keys)}, points of all cars (cars, N, 3)")
    count, points, _ = arrays["points"].shape
    wanted = {"points": (count, points, 3), "pressure": (count, points), "vertex_normals": (count, points, 3)}
    check_shapes(path, arrays, {**wanted, "faces": (count, None, 3)})
    if arrays["split"].shape != (count,):
        raise InputError(f"{path}: 'split' has shape {arrays['split'].shape}, wanted ({count},)")
    return count, points


def _from_mini(
    path: Path, arrays: Mapping[str, np.ndarray], with_normal: bool = False
) -> tuple[list[Car], Protocols, str]:
    wanted = ("points", "pressure", *(("vertex_normals",) if with_normal else ()))
    count = sum(key.startswith("points_") for key in arrays)
    if count < 2 or any(f"{kind}_{i}" not in arrays for i in range(count) for kind in wanted):
        text = " and ".join(f"{kind}_i" for kind in wanted)
        raise InputError(f"{path}: has arrays {sorted(arrays)}, wanted {text} for i = 0, 1, ...")
    cars = []
    for i in range(count):
        fields = FIELDS + (("face",) if f"faces_{i}" in arrays else ()) + (("normal",) if with_normal else ())
        normal = arrays[f"vertex_normals_{i}"] if with_normal else None
        raw = (arrays[f"points_{i}"], arrays[f"pressure_{i}"], arrays.get(f"faces_{i}"), normal, f"{path} car {i}")
        cars.append(Car(f"mini_car_{i}", fields, raw, _file_arrays))
    names = [car.sample_id for car in cars]
    return cars, {"mini": {"train": names[:-1], "test": names[-1:], "holdout": []}}, "mini"


def _file_arrays(
    points: np.ndarray, pressure: np.ndarray, face: np.ndarray | None, normal: np.ndarray | None, where: str
) -> dict[str, np.ndarray]:
    arrays = checked_arrays(points, pressure, face, where, where)
    if normal is not None:
        if normal.shape != points.shape:
            raise InputError(f"{where}: normals have shape {normal.shape}, wanted {points.shape} as the points")
        check_finite(normal, "normal", where)
        arrays["normal"] = normal.astype(np.float32)
    return arrays


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
