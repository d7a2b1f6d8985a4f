"""EAGLE: unsteady turbulent flow below a moving drone, one time step ahead.

Data: S. Janny, A. Beneteau, M. Nadri, J. Digne, N. Thome, C. Wolf, "EAGLE: Large-scale Learning of Turbulent Fluid
Dynamics with Mesh Transformers", ICLR 2023. Raw data become the prepared folder by ``tools/prepare_data.py eagle``.

Letters: T frames, N points, F triangles.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pointcept_bsa.arguments.carried import command_line
from pointcept_bsa.datasets.arrays import check_finite, read_npy, read_npz
from pointcept_bsa.datasets.base import PointFieldDataset
from pointcept_bsa.datasets.prepare.layout import finish
from pointcept_bsa.datasets.prepare.samples import check_shapes, write_listed
from pointcept_bsa.datasets.prepare.splits import other_lists, read_lists
from pointcept_bsa.datasets.prepared import PreparedFolder, sample_folder_name
from pointcept_bsa.datasets.statistics import RunningStatistics
from pointcept_bsa.datasets.windows import WindowNames, neighbor_table
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import DATASETS

NUM_TYPES = 9
STATE = ("VX", "VY", "PS", "PG")
PROTOCOL = "947/118/118"
# Of the state, as the published code normalises; configs/_base_/eagle.py scales the state so.
PUBLISHED = {"mean": [-0.0015, 0.2211, -0.8322, 4.6050], "std": [1.7970, 2.0258, 7.4013, 9.7232]}
FIELDS = ("position", "state", "node_type", "triangles")
LISTS = {"train": "train.txt", "val": "valid.txt", "test": "test.txt"}
# Of the lists in the repository of Janny et al., by ``split_hash``.
PUBLISHED_LISTS = {"train": "e183aaa1a12e0e8e", "val": "9478b2513da06f1c", "test": "9676520ffd16e3f1"}
NAME = re.compile(r"\w+(/\w+)*", re.ASCII)
CARD = """# EAGLE, prepared

Simulations of the turbulent flow that a drone makes above ground of different shapes, in two dimensions; one folder a
simulation, written by `tools/prepare_data.py eagle`. The mesh changes from frame to frame, its number of points not.

| file | shape | unit | meaning |
|---|---|---|---|
| position.npy | (T, N, 2) float32 | unit of the source | points of the mesh |
| state.npy | (T, N, 4) float32 | unit of the source | velocities VX, VY, pressures PS, PG |
| node_type.npy | (T, N) int8 | | 0 inside, 4 inlet, 5 outlet, 6 wall, 2 not in use |
| triangles.npy | (T, F, 3) int32 | | mesh |

Source: S. Janny, A. Beneteau, M. Nadri, J. Digne, N. Thome, C. Wolf, "EAGLE: Large-scale Learning of Turbulent Fluid
Dynamics with Mesh Transformers", ICLR 2023. Download: https://datasets.liris.cnrs.fr/eagle-version1 (270 GB; the
licence is stated there; `spline`, `step` and `triangular.tar.gz` give the folders Spl, Cre, Tri); the lists are in the
folder `splits` of https://github.com/eagle-dataset/EagleMeshTransformer (MIT).

Protocol 947/118/118: these lists. Statistics of the state over the training split are in `stats.json`; the published
constants are mean (-0.0015, 0.2211, -0.8322, 4.6050) and standard deviation (1.7970, 2.0258, 7.4013, 9.7232).
"""


@DATASETS.register_module()
class EagleDataset(PointFieldDataset):
    """State of the flow on a mesh at one frame (N, 4) -> its change to the next frame (N, 4).

    A sample has of its frame: ``coord (N, 2)``; ``state (N, 4)``, the velocities VX, VY and the pressures PS, PG;
    ``node_type (N, 9)``, the kind of point as 0 and 1 (0 inside, 4 inlet, 5 outlet, 6 wall, 2 not in use);
    ``neighbor_index (N, max_neighbors)``, the points at the other ends of its edges of the mesh, -1 for none.
    The target is normalised with mean 0 and the standard deviations of the state, as published. The published training
    unrolls five steps; this data set knows single steps.

    Args:
        data_root: the folder that ``tools/prepare_data.py eagle`` made.
        protocol: "947/118/118": the published lists of simulations; "partial"; None: the prepared folder's default.
        stride: frames from one sample to the next.
        first: frame of the first sample of a simulation; published evaluations begin at 100.
        max_neighbors: columns of ``neighbor_index``.
        split, transform, test_mode, test_cfg, cache, loop: see ``PointFieldDataset``.

    Raises:
        InputError: missing or foreign data, an unknown protocol, a point of more neighbours.
    """

    name = "eagle"
    target_fields = ("change",)
    target_names = tuple(f"change_of_{name}" for name in STATE)
    target_units = ("unit of the source",) * 4

    def __init__(
        self,
        split: str = "train",
        data_root: str = "data/eagle",
        protocol: str | None = None,
        stride: int = 1,
        first: int = 0,
        max_neighbors: int = 16,
        **common: Any,
    ) -> None:
        for argument, value, least in (("stride", stride, 1), ("first", first, 0), ("max_neighbors", max_neighbors, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(f"{argument}: got {value!r}, wanted an integer of at least {least}")
        self.stride, self.first, self.max_neighbors = stride, first, max_neighbors
        hint = command_line(
            "prepare_data", "eagle", "--src", "<folder of Cre, Spl, Tri and splits>", "--dst", data_root
        )
        self.folder = PreparedFolder(data_root, hint)
        self.protocol = self.folder.choose_protocol(protocol)
        super().__init__(split=split, data_root=data_root, **common)

    def list_samples(self) -> Sequence[str]:
        self.simulations = list(self.folder.split(self.protocol)[self.split])
        counts = []
        for name in self.simulations:
            frames = len(self.folder.read(name, "state", (None, None, 4)))
            if frames < self.first + 2:
                raise InputError(
                    f"{self.folder.file(name, 'state')}: has {frames} frames, wanted at least {self.first + 2}"
                )
            counts.append((frames - 2 - self.first) // self.stride + 1)
        return WindowNames(self.simulations, counts, self.stride, self.first)

    def load_fields(self, index: int) -> dict[str, Any]:
        name, t = self._place(index)
        state = self.folder.read(name, "state", (None, None, 4))
        kinds = self.folder.read(name, "node_type", state.shape[:2], kind="i")[t]
        triangles = np.array(self.folder.read(name, "triangles", (len(state), None, 3), kind="i")[t])
        if kinds.size and not (0 <= kinds.min() and kinds.max() < NUM_TYPES):
            raise InputError(
                f"{self.where(index, 'node_type')}: has kinds {kinds.min()} to {kinds.max()}, wanted 0 to 8"
            )
        try:
            neighbors = neighbor_table(triangle_edges(triangles), state.shape[1], self.max_neighbors)
        except ValueError as error:
            raise InputError(f"{self.where(index, 'triangles')}: frame {t} {error} (max_neighbors)") from None
        return {
            "coord": self.folder.read(name, "position", (*state.shape[:2], 2))[t],
            "state": state[t],
            "node_type": np.eye(NUM_TYPES, dtype=np.float32)[kinds],
            "neighbor_index": neighbors,
            "change": state[t + 1] - state[t],
        }

    def where(self, index: int, field: str) -> str:
        return str(self.folder.file(self._place(index)[0], "state" if field == "change" else field))

    def target_statistics(self) -> dict[str, Any]:
        if self.protocol == PROTOCOL:
            return {"mean": [0.0] * 4, "std": PUBLISHED["std"], "source": f"published constants, protocol {PROTOCOL}"}
        std = self.folder.field_statistics(self.protocol, "state")["std"]
        return {"mean": [0.0] * 4, "std": std, "source": f"state in the training split, protocol {self.protocol}"}

    def protocol_name(self) -> str:
        return self.protocol

    def notes(self) -> list[str]:
        return [
            f"{len(self.simulations)} simulations, every {self.stride}th frame from {self.first}",
            "one step ahead: published errors are of rollouts and cannot be compared",
        ]

    def _place(self, index: int) -> tuple[str, int]:
        assert isinstance(self.data_list, WindowNames)
        return self.data_list.place(index)


def triangle_edges(triangles: np.ndarray) -> np.ndarray:
    """The sides of triangles (F, 3), which may come twice: (3 F, 2)."""
    return np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])


def prepare_eagle(
    src: str | None, dst: str, *, dry_run: bool = False, overwrite: bool = False, allow_partial: bool = False
) -> None:
    """Write the prepared folder ``dst`` from the raw folder ``src``; finished simulations of an earlier run are kept.

    Args:
        src: folder of ``<name>/sim.npz`` and ``<name>/triangles.npy``, names as ``Spl/20/2``, and of
            ``splits/{train,valid,test}.txt`` (or ``Splits``).
        allow_partial: accept other lists than the published ones, as protocol "partial".

    Raises:
        InputError: missing, damaged or foreign files, other lists, NaN, other data in ``dst``.
    """
    root, folder = Path(dst), _lists_folder(src)
    lists = read_lists(folder, LISTS, NAME, "simulation", "names as Spl/20/2")
    other = other_lists(lists, PUBLISHED_LISTS)
    if other and not allow_partial:
        counts = ", ".join(f"{LISTS[part]} ({len(lists[part])})" for part in other)
        raise InputError(
            f"{folder}: {counts} is not as published (protocol {PROTOCOL}); "
            "--allow-partial prepares what is there as protocol 'partial'"
        )

    def conclude() -> None:
        protocol, train = "partial" if other else PROTOCOL, lists["train"]
        content = {"protocols": {protocol: {"samples": len(train), "fields": statistics(root, train)}}}
        finish(root, {protocol: lists}, protocol, FIELDS, CARD, content)

    def load(name: str) -> dict[str, np.ndarray]:
        return read_simulation(Path(str(src)) / name)

    write_listed(root, lists, FIELDS, load, conclude, dry_run=dry_run, overwrite=overwrite, unit="simulations")


def _lists_folder(src: str | None) -> Path:
    folders = [Path(src) / name for name in ("splits", "Splits")] if src is not None else []
    for folder in folders:
        if folder.is_dir():
            return folder
    raise InputError(f"--src: got {src!r}, wanted a folder with Cre, Spl, Tri and splits")


def read_simulation(folder: Path) -> dict[str, np.ndarray]:
    """Return the arrays of ``FIELDS`` of one raw simulation.

    Raises:
        InputError: missing, damaged or foreign files, arrays that do not fit each other, NaN.
    """
    path = folder / "sim.npz"
    arrays = read_npz(path, ("pointcloud", *STATE, "mask"))
    if arrays["mask"].ndim == 3 and arrays["mask"].shape[2] == 1:
        arrays["mask"] = arrays["mask"][:, :, 0]
    check_shapes(path, arrays, {"pointcloud": (None, None, 2)})
    frames, points = arrays["pointcloud"].shape[:2]
    check_shapes(path, arrays, dict.fromkeys((*STATE, "mask"), (frames, points)))
    if frames < 2 or points == 0:
        raise InputError(f"{path}: has {frames} frames of {points} points, wanted at least 2 of 1")
    for name, values in arrays.items():
        check_finite(values, name, path)
    kinds = arrays["mask"].astype(np.int64)
    if kinds.min() < 0 or kinds.max() >= NUM_TYPES or not np.array_equal(kinds, arrays["mask"]):
        raise InputError(f"{path}: 'mask' has kinds {kinds.min()} to {kinds.max()}, wanted whole numbers from 0 to 8")
    triangles = np.asarray(read_npy(folder / "triangles.npy", (frames, None, 3), "iu"), dtype=np.int64)
    if triangles.size and not (0 <= triangles.min() and triangles.max() < points):
        raise InputError(
            f"{folder / 'triangles.npy'}: names points {triangles.min()} to {triangles.max()}, wanted 0 to {points - 1}"
        )
    return {
        "position": arrays["pointcloud"].astype(np.float32),
        "state": np.stack([arrays[name] for name in STATE], axis=2).astype(np.float32),
        "node_type": kinds.astype(np.int8),
        "triangles": triangles.astype(np.int32),
    }


def statistics(root: Path, names: list[str]) -> dict[str, Any]:
    """Return mean, std, min, max of the state over simulations of a prepared folder."""
    running = RunningStatistics()
    for name in sorted(names):
        running.update(read_npy(root / sample_folder_name(name) / "state.npy", (None, None, 4)).reshape(-1, 4))
    return {"state": running.result()}
