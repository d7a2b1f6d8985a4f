"""Your own data: point clouds with fields, from mesh and array files as they are, or prepared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pointcept_bsa.datasets.base import PointFieldDataset
from pointcept_bsa.datasets.custom.features import other_cells
from pointcept_bsa.datasets.custom.recipe import Recipe, field_key
from pointcept_bsa.datasets.custom.splits import samples_of
from pointcept_bsa.datasets.custom.stores import Field, PreparedStore, Store, files_store, is_prepared
from pointcept_bsa.datasets.custom.surface_pressure import checked_surface_pressure
from pointcept_bsa.datasets.folder_dataset import VALIDATIONS
from pointcept_bsa.datasets.inputs import InputDescription, box_around, scale_of
from pointcept_bsa.datasets.statistics import source_of
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.host import DATASETS
from pointcept_bsa.samples import SCALARS

FILE_OPTIONS: tuple[str, ...] = ("parameters", "units", "split_file", "fractions", "seed", "dimension", "wall_mask")
FILE_OPTIONS += ("whole_series", "cells_to_points", "drop_loose_points", "columns", "surface_pressure")


@DATASETS.register_module("CustomFieldDataset")
class CustomFieldDataset(PointFieldDataset):
    """Points (N, d), d = 2 or 3, N as it comes -> the fields named as target (N, K).

    ``data_root`` is either the folder that ``tools/prepare_data.py custom`` wrote (fast, checked once), or a folder of
    files that ``mesh_io`` reads (``.vtu``, ``.npz``, ...: read anew for every sample; statistics take a pass over the
    training files). A sample of the second kind is a file, or a folder of ``.npy`` arrays with ``coord.npy``.

    Args:
        data_root: the folder.
        target: fields to predict, as the files name them; ``velocity[:2]`` takes columns. Prepared: None is all.
        fields: fields given beside the coordinates: of the files, ``normal``, ``wall_distance``, or global parameters,
            which come standardised by the training samples, the same in every row. None: none of files, all prepared.
        scalars: numbers of whole samples to predict, as coefficients in the table of ``parameters``: for
            ``model.scalars``. They are no inputs.
        protocol: of a prepared folder; None: its default.
        validation: where no samples are set aside for validation: "holdout": some of the training samples, left out of
            training; "test": the test samples.
        scale_to_box: scale coordinates so that the longest side of the box around all training samples is [-1, 1], the
            same factor for every axis; ``position`` then holds them as they were.
        parameters, split_file, fractions, seed, whole_series, units, dimension, wall_mask, cells_to_points,
            drop_loose_points, columns: only for files: see ``tools/prepare_data.py custom --help``.
        surface_pressure: only for files: a target that is the pressure on a surface, and its stream, see
            ``custom.surface_pressure``.
        split, transform, test_mode, test_cfg, cache, loop: see the base class.

    Raises:
        InputError: missing or foreign data, unknown fields, options for files with a prepared folder.
    """

    name = "point_field"
    gives_labels = False
    also_takes = FILE_OPTIONS  # arguments that no constructor names

    def __init__(
        self,
        split: str = "train",
        data_root: str = "data/custom",
        target: Sequence[str] | None = None,
        fields: Sequence[str] | None = None,
        protocol: str | None = None,
        validation: str = "holdout",
        scale_to_box: bool = False,
        scalars: Sequence[str] = (),
        transform: Sequence[dict] | None = None,
        **options: Any,
    ) -> None:
        if validation not in VALIDATIONS:
            raise InputError(
                f"validation: got {validation!r}, wanted one of {list(VALIDATIONS)}{nearest(validation, VALIDATIONS)}"
            )
        own = {key: options.pop(key) for key in FILE_OPTIONS if key in options}
        wanted = _names("scalars", scalars)
        read = fields if fields is None and is_prepared(data_root) else (*_names("fields", fields), *wanted)
        self.store = _open_store(data_root, _names("target", target), read, protocol, own)
        self.scalar_fields = _scalars(self.store, wanted)
        self.inputs = [field for field in self.store.fields if field not in self.scalar_fields]
        self.scalar_names = tuple(name for field in self.scalar_fields for name in _column_names(field.info))
        self.scalar_units = tuple(field.unit for field in self.scalar_fields for _ in range(field.info.columns))
        infos = [field.info for field in self.store.target]
        declared = own.get("surface_pressure"), infos, self.store.dimension, "surface_pressure"
        self.surface_pressure = self.store.surface_pressure or checked_surface_pressure(*declared)
        if self.store.labels is not None and not self.gives_labels:
            raise InputError(f"data_root: {data_root!r} holds labels, wanted type='CustomLabelDataset' to read them")
        self.validation = validation
        self.target_fields = tuple(field.info.key for field in self.store.target)
        self.target_names = tuple(name for field in self.store.target for name in _column_names(field.info))
        self.target_units = tuple(field.unit for field in self.store.target for _ in range(field.info.columns))
        self.box = [self._box()] if scale_to_box else []
        shifted = InputDescription(offsets=self.store.offsets, transform=tuple(self.box)).shifted(transform or [])
        super().__init__(split=split, data_root=data_root, transform=[*self.box, *shifted], **options)

    def list_samples(self) -> list[str]:
        return samples_of(self.store.lists, self.split, self.validation)

    def load_fields(self, index: int) -> dict[str, Any]:
        arrays = self.store.read(self.data_list[index])
        found = [arrays.pop(field.info.key)[0] for field in self.scalar_fields]
        return arrays | ({SCALARS: np.concatenate(found)} if found else {})

    def cells(self, index: int) -> dict[str, np.ndarray]:
        return dict(other_cells(self.store.cells(self.data_list[self._index(index)])))

    def input_scales(self) -> dict[str, dict[str, list[float]]]:
        names = [field.info.key for field in self.inputs if field.is_global]
        return {name: scale_of(self.store.statistics(name)) for name in names}

    def describe_inputs(self) -> InputDescription:
        return InputDescription(
            self.store.dimension,
            tuple(field.info for field in self.inputs),
            self.input_scales(),
            self.store.offsets,
            tuple(self.box),
            self.store.recipe_options,
        )

    def target_offset(self) -> np.ndarray:
        return self.input_description.target_offset((field.info.key, field.info.columns) for field in self.store.target)

    def where(self, index: int, field: str) -> str:
        return self.store.where(self.data_list[index], field)

    def target_statistics(self) -> dict[str, Any]:
        parts = [self.store.statistics(key, self._trained_alone()) for key in self.target_fields]
        means = [value for part in parts for value in part["mean"]]
        return {
            "mean": (np.asarray(means) - self.target_offset()).tolist(),
            "std": [value for part in parts for value in part["std"]],
            "source": self._source(),
        }

    def scalar_statistics(self) -> dict[str, Any]:
        trained = self._trained_alone()
        parts = [scale_of(self.store.statistics(field.info.key, trained)) for field in self.scalar_fields]
        merged = {key: [value for part in parts for value in part[key]] for key in ("mean", "std")}
        return {**merged, "source": self._source()}

    def _trained_alone(self) -> bool:
        """Whether normalisers know nothing of the samples held out of the training split to validate."""
        return self.validation == "holdout" and self.store.knows_trained

    def _source(self) -> str:
        return source_of(self.store.protocol, self.store.lists, self.validation, self._trained_alone())

    def protocol_name(self) -> str:
        return self.store.protocol

    def notes(self) -> list[str]:
        notes = [*self.store.notes, *(self._offset_note(*pair) for pair in self.store.offsets.items())]
        if "val" in self.store.lists:
            return notes
        if self.validation == "test":
            return [*notes, "validation = test samples"]
        count = len(self.store.lists["holdout"])
        return [*notes, f"validation = {count} samples held out of the training split"]

    def _offset_note(self, key: str, offset: Sequence[float]) -> str:
        numbers = ", ".join(f"{number:.10g}" for number in offset)
        errors = "; relative errors are of what remains" if key in self.target_fields else ""
        return f"{key}: ({numbers}) is subtracted before float32, and added again in exports and predictions{errors}"

    def _box(self) -> dict[str, Any]:
        """The transform that scales a cube around all training samples to [-1, 1]."""
        statistics = self.store.statistics("coord")
        offset = np.asarray(self.store.offsets.get("coord", 0.0))
        return box_around(np.asarray(statistics["min"]) - offset, np.asarray(statistics["max"]) - offset)


def _open_store(
    root: str, target: tuple[str, ...], fields: Sequence[str] | None, protocol: str | None, own: Mapping[str, Any]
) -> Store:
    if is_prepared(root) or not own and not target:
        if own:
            raise InputError(f"{', '.join(own)}: got with the prepared folder {root}, wanted where it was prepared")
        return PreparedStore(root, target, None if fields is None else _names("fields", fields), protocol)
    if protocol is not None:
        raise InputError(f"protocol: got {protocol!r} with files, wanted split_file or fractions and seed")
    options = {key: value for key, value in own.items() if key != "surface_pressure"}
    parameters, split_file = options.pop("parameters", None), options.pop("split_file", None)
    units, fractions = tuple(sorted((options.pop("units", None) or {}).items())), options.pop("fractions", None)
    seed, whole_series = options.pop("seed", 0), bool(options.pop("whole_series", False))
    options["columns"] = _names("columns", options.get("columns"))
    recipe = Recipe(target, _names("fields", fields), **options)
    return files_store(
        root,
        recipe,
        parameters=parameters,
        units=units,
        split_file=split_file,
        fractions=None if fractions is None else tuple(fractions),
        seed=seed,
        whole_series=whole_series,
    )


def _names(argument: str, names: Sequence[str] | None) -> tuple[str, ...]:
    if isinstance(names, str) or not all(isinstance(name, str) for name in names or ()):
        raise InputError(f"{argument}: got {names!r}, wanted a list of names")
    return tuple(names or ())


def _scalars(store: Store, names: Sequence[str]) -> list[Field]:
    """The fields that are numbers of whole samples. Raises InputError for one that is not, or not there."""
    known = {field.info.key: field for field in store.fields if field.is_global}
    for name in names:
        if field_key(name) not in known:
            raise InputError(
                f"scalars: got {name!r}, wanted numbers of whole samples, of {list(known)}{nearest(name, known)}"
            )
    return [known[field_key(name)] for name in names]


def _column_names(info: Any) -> list[str]:
    return [info.key] if info.columns == 1 else [f"{info.key}_{i}" for i in range(info.columns)]
