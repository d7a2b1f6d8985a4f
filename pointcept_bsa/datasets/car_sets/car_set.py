"""What the data sets of simulated cars have in common: a domain of a prepared folder, of which a run of rows is drawn.

The preparation shuffled the rows of a case once, so that any run of rows is a random sample of its points; reading one
touches as many pages of the files as its rows fill, not one a point.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pointcept_bsa.datasets.car_sets.spec import DOMAINS, CarSet
from pointcept_bsa.datasets.folder_dataset import FolderDataset
from pointcept_bsa.datasets.inputs import InputDescription, box_around, scale_of
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.files.json_file import read_json
from pointcept_bsa.samples import SCALARS


class CarSetDataset(FolderDataset):
    """Points of a car's surface or of the air around it (N, 3), in m -> mean fields of the flow (N, K); base class.

    Coordinates are scaled so that the longest side of the box around all training points is [-1, 1]; ``position`` holds
    them in m.

    Args:
        data_root: the folder that ``tools/prepare_data.py`` made; None: ``data/<name of the set>``.
        protocol: a split of the folder; None: its default.
        domain: "surface" or "volume".
        target: fields to predict; None: all of the domain.
        fields: given beside the coordinates, of those that are no target: "normal", "area" of the surface.
        num_points: how many points a sample has at most; None: all, which may be hundreds of millions. In training a
            run of rows that begins anywhere (and goes on at the first row), else the first rows: the same ones always.
        scalars: coefficients of the case as further targets: "drag_coefficient", "lift_coefficient".
        split, transform, test_mode, test_cfg, loop, share: see ``PointFieldDataset``. ``cache`` keeps the drawn points,
            so that it is for samples that do not change.

    Raises:
        InputError: missing or foreign data, an unknown protocol, domain or field.
    """

    spec: CarSet
    raw = "raw folder"

    def __init__(
        self,
        split: str = "train",
        data_root: str | None = None,
        protocol: str | None = None,
        domain: str = "surface",
        target: Sequence[str] | None = None,
        fields: Sequence[str] = (),
        num_points: int | None = None,
        scalars: Sequence[str] = (),
        transform: Sequence[dict] | None = None,
        cache: bool = False,
        **common: Any,
    ) -> None:
        if domain not in DOMAINS:
            raise InputError(f"domain: got {domain!r}, wanted one of {list(DOMAINS)}{nearest(domain, DOMAINS)}")
        if num_points is not None and (
            isinstance(num_points, bool) or not isinstance(num_points, int) or num_points < 1
        ):
            raise InputError(f"num_points: got {num_points!r}, wanted None or an integer of at least 1")
        self.draws = num_points is not None and split == "train" and not common.get("test_mode")
        if cache and self.draws:
            raise InputError("cache: got True with num_points in training, wanted False: each sample is drawn anew")
        self.name = f"{self.spec.name}_{domain}"
        self.command = self.spec.name
        self.up_axis = self.spec.up_axis
        self.domain = self.spec.domain(domain)
        self.num_points = num_points
        known = {field.name: field for field in self.domain.fields}
        self.columns = {f.name: f.columns for f in (*self.domain.geometry, *self.domain.fields)}
        self.columns = {name: n for name, n in self.columns.items() if name not in ("coord", "row")}
        self.target_fields = tuple(known) if target is None else tuple(target)
        for name in self.target_fields:
            if isinstance(target, str) or name not in known:
                raise InputError(f"target: got {target!r}, wanted names from {list(known)}{nearest(name, list(known))}")
        for name in scalars:
            if isinstance(scalars, str) or name not in self.spec.scalars.columns:
                raise InputError(f"scalars: got {scalars!r}, wanted some of {list(self.spec.scalars.columns)}")
        self.scalar_names, self.scalar_units = tuple(scalars), ("1",) * len(scalars)
        self.surface_pressure = self._surface_pressure()
        chosen = [known[name] for name in self.target_fields]
        self.target_names = tuple(name for field in chosen for name in _components(field.name, field.columns))
        self.target_units = tuple(field.unit for field in chosen for _ in range(field.columns))
        root = f"data/{self.spec.name}" if data_root is None else data_root
        super().__init__(split, root, protocol, fields, cache=cache, **common)
        self.set_transform([self._box(), *(transform or ())])

    def load_fields(self, index: int) -> dict[str, Any]:
        names = ("coord", *self.input_fields, *self.target_fields)
        case = self.data_list[index]
        arrays = {n: self.folder.read(case, self._stored(n), (None, self.columns.get(n, 3))) for n in names}
        count = len(arrays["coord"])
        for name, values in arrays.items():
            if len(values) != count:
                raise InputError(f"{self.where(index, name)}: has {len(values)} rows, wanted {count} as coord has")
        if self.num_points is not None and count > self.num_points:
            start = int(np.random.randint(count)) if self.draws else 0
            arrays = {name: _run(values, start, self.num_points) for name, values in arrays.items()}
        return {**arrays, **self._scalars(index)} if self.scalar_names else arrays

    def surface_elements(self, index: int) -> dict[str, np.ndarray] | None:
        """Outward ``normal`` (N, 3) and ``area`` (N,) in m2 of the points of a sample of the surface.

        Of a sample that is a part of its car, be it that the folder keeps a part (``--rows``), the areas are scaled up,
        so that sums estimate those of the whole. None of the volume, and where samples are drawn anew.

        Raises:
            InputError: the record of the case does not say how many rows the car has.
        """
        if self.domain.name != "surface" or self.draws:
            return None
        case, found = self.data_list[self._index(index)], {}
        for name in ("normal", "area"):
            values = self.folder.read(case, self._stored(name), (None, self.columns[name]))
            found[name] = np.asarray(values[: self.num_points], np.float64)
        area = found["area"].reshape(-1)
        return {"normal": found["normal"], "area": area * (self._rows_of_the_car(case) / len(area))}

    def _rows_of_the_car(self, case: str) -> int:
        """Rows of the surface of a case in its raw file."""
        path = self.folder.file(case, self.domain.name).with_suffix(".json")
        record = read_json(path)
        rows = record.get("of") if isinstance(record, dict) else None
        if not isinstance(rows, int) or isinstance(rows, bool) or rows < 1:
            raise InputError(f"{path}: has no number of rows 'of' the car; prepare the data again")
        return rows

    def coefficients(self, index: int) -> dict[str, dict[str, Any]]:
        """Coefficients of a sample by name, ``{"value", "unit"}``. Raises ``InputError``: not prepared, or damaged."""
        return self._coefficients(self._index(index))

    def _coefficients(self, index: int) -> dict[str, dict[str, Any]]:
        path = self.where(index, SCALARS)
        found = read_json(path)
        if not isinstance(found, dict) or not isinstance(found.get("scalars"), dict):
            raise InputError(f"{path}: has no 'scalars'; prepare the data again: {self.folder.prepare_hint}")
        return found["scalars"]

    def _scalars(self, index: int) -> dict[str, np.ndarray]:
        found = self._coefficients(index)
        missing = [name for name in self.scalar_names if not isinstance(found.get(name, {}).get("value"), float)]
        if missing:
            raise InputError(f"{self.where(index, 'scalars')}: has no number {missing[0]!r}, wanted one")
        return {SCALARS: np.array([found[name]["value"] for name in self.scalar_names])}

    def where(self, index: int, field: str) -> str:
        if field == SCALARS:
            return str(self.folder.file(self.data_list[index], SCALARS).with_suffix(".json"))
        return str(self.folder.file(self.data_list[index], self._stored(field)))

    def describe_inputs(self) -> InputDescription:
        described = super().describe_inputs()
        return InputDescription(described.dimension, described.fields, described.scales, transform=(self._box(),))

    def target_statistics(self) -> dict[str, Any]:
        parts = [self.folder.field_statistics(self.protocol, self._stored(field)) for field in self.target_fields]
        return {
            "mean": [value for part in parts for value in part["mean"]],
            "std": [value for part in parts for value in part["std"]],
            "source": self.statistics_source(),
        }

    def scalar_statistics(self) -> dict[str, Any]:
        if not self.scalar_names:
            return super().scalar_statistics()
        parts = [scale_of(self.folder.field_statistics(self.protocol, f"scalar_{n}")) for n in self.scalar_names]
        return {
            "mean": [value for part in parts for value in part["mean"]],
            "std": [value for part in parts for value in part["std"]],
            "source": self.statistics_source(),
        }

    def notes(self) -> list[str]:
        notes = super().notes()
        if self.num_points is not None:
            notes.append(f"at most {self.num_points:,} points of a {self.domain.name}, drawn at random")
        return notes

    def _surface_pressure(self) -> dict[str, Any] | None:
        """What forces follow from: where the target has the pressure coefficient of a surface."""
        if "pressure_coefficient" not in self.target_fields:
            return None
        up = [0.0, 1.0, 0.0] if self.up_axis == "y" else [0.0, 0.0, 1.0]
        found: dict[str, Any] = {"field": "pressure_coefficient", "coefficient": True, "density": 1.0, "velocity": 1.0}
        found |= {"flow": [1.0, 0.0, 0.0], "up": up}
        return found | ({"shear": "wall_shear"} if "wall_shear" in self.target_fields else {})

    def _stored(self, field: str) -> str:
        return f"{self.domain.name}_{field}"

    def _box(self) -> dict[str, Any]:
        statistics = self.folder.field_statistics(self.protocol, self._stored("coord"))
        return box_around(statistics["min"], statistics["max"])


def _components(name: str, columns: int) -> list[str]:
    return [name] if columns == 1 else [f"{name}_{'xyz'[i]}" for i in range(columns)]


def _run(values: np.ndarray, start: int, count: int) -> np.ndarray:
    """A copy of ``count`` rows from ``start`` on, at the end on from the first row."""
    first = values[start : start + count]
    return np.concatenate([first, values[: count - len(first)]])
