"""What every data set of physical fields on points has in common.

Letters: N points, d space dimensions (2 or 3), K target components, F faces.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from pointcept_bsa.datasets.arrays import check_finite
from pointcept_bsa.datasets.inputs import InputDescription, check_narrowed
from pointcept_bsa.distributed.parts import part_of
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.host import Compose
from pointcept_bsa.samples import SCALARS, WHOLE_PREFIX, names_points, per_point_keys

SPLITS = ("train", "val", "test")
PIECES, FROM_ANCHORS = ("max_points", "piece_points"), ("anchors", "chunk", "seed")  # keys of test_cfg


def split_hash(names: Iterable[str]) -> str:
    """Return 16 hex characters that change with the set of sample names: sha256 of the sorted names, one a line."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:16]


def drawn(count: int, share: float) -> Sequence[int]:
    """Return the indices, ascending, of that share of ``count`` samples, rounded up; a larger share has them too."""
    if share == 1:
        return range(count)
    return sorted(np.random.default_rng(0).permutation(count)[: math.ceil(share * count)].tolist())


def check_test_cfg(test_cfg: Mapping[str, Any] | None) -> None:
    """Raise InputError unless ``test_cfg`` is None or has only what :class:`PointFieldDataset` says."""
    cfg = {key: value for key, value in (test_cfg or {}).items() if value is not None or key == "votes"}
    for key, value in (test_cfg or {}).items():
        numbers = list(value.values()) if key == "anchors" and isinstance(value, Mapping) and value else [value]
        good = all(isinstance(n, int) and not isinstance(n, bool) and n >= (key != "seed") for n in numbers)
        if key == "piece_points" and value == "training":
            continue
        if key not in (*PIECES, *FROM_ANCHORS, "votes") or not (good or (key != "votes" and value is None)):
            raise InputError(
                f"test_cfg: got {key}={value!r}, wanted max_points, votes and piece_points, positive integers "
                "(piece_points also 'training'), or anchors (a number, or one of each domain), chunk, votes and seed"
            )
    for key in cfg.keys() & set(PIECES if "anchors" in cfg else FROM_ANCHORS):
        wanted = "it alone or without anchors" if "anchors" in cfg else "anchors, too"
        raise InputError(f"test_cfg: got {key}={cfg[key]!r}, wanted {wanted}")


class PointFieldDataset(Dataset):
    """A set of point clouds with physical fields to be regressed; base class.

    A subclass sets its own attributes, calls ``super().__init__`` and implements:

    - ``list_samples() -> list[str]``: the sample names of ``self.split``, in order;
    - ``load_fields(index) -> dict``: ``coord (N, d)``, every field of ``target_fields`` (N,) or (N, k), optional extra
      per-point fields, global fields (1, k) that ``input_scales`` names, optional ``face (F, 3|4)``; physical units;
    - ``target_statistics()``, and for numbers of whole clouds as further targets ``scalars`` (S,) among the fields,
      ``scalar_names``, ``scalar_units`` and ``scalar_statistics()``;
    - ``where(index, field) -> str``: the place (a file) that an error about this field names.

    Args:
        split: "train", "val" or "test". Only a "val" split may be empty.
        data_root: folder or file of the data; None where the data are generated.
        transform: list of transform configs, applied to ``get_data(idx)``.
        test_mode: as in Pointcept: ``loop`` counts as 1.
        test_cfg: None, or how the evaluation goes through these clouds: ``dict(max_points=..., votes=1)`` bounds the
            points of one forward pass; ``piece_points="training"`` (or a number) predicts clouds with more points than
            those of training in random pieces of as many as these, every point once a vote; see
            :mod:`pointcept_bsa.training.evaluation.bounded`. ``dict(anchors=2048, chunk=32768, votes=1, seed=0)``
            predicts every point as a query of so many points of its cloud (of each domain: ``anchors=dict(surface=1024,
            ...)``), see :mod:`pointcept_bsa.training.evaluation.anchored`. Pointcept's other test-time views (voxels,
            crops) do not exist for fields.
        cache: keep the loaded fields in memory (in each process).
        loop: how many times an epoch runs through the samples.
        share: the share of the samples to use, in (0, 1], at least one: for learning curves. They are drawn with a
            fixed seed, and those of a smaller share are among those of a larger one. Statistics stay those of all.

    Raises:
        InputError: a wrong argument, an empty split.
    """

    name = "points"
    target_fields: tuple[str, ...] = ()
    target_names: tuple[str, ...] = ()
    target_units: tuple[str, ...] = ()
    domains: Mapping[str, Mapping[str, Any]] = {}  # to which points belong and their targets, see ``datasets.domains``
    scalar_names: tuple[str, ...] = ()  # targets of whole clouds, in the order of ``scalars`` (S,)
    scalar_units: tuple[str, ...] = ()
    vertices_correspond = False  # row i is the same place of every sample, which networks must not make use of
    up_axis = "z"  # which way is up in a picture
    # For data whose target is the pressure on a surface: density, velocity, and the directions (3 numbers each) of the
    # stream ("flow") and of lift ("up"); "coefficient": True where the target is a pressure coefficient; "field" and
    # "shear": which target fields are the pressure (else the first) and the wall shear stress (else none).
    surface_pressure: Mapping[str, Any] | None = None

    def __init__(
        self,
        split: str = "train",
        data_root: str | None = None,
        transform: Sequence[dict] | None = None,
        test_mode: bool = False,
        test_cfg: dict | None = None,
        cache: bool = False,
        loop: int = 1,
        share: float = 1.0,
    ) -> None:
        super().__init__()
        if split not in SPLITS:
            raise InputError(f"split: got {split!r}, wanted one of {list(SPLITS)}{nearest(split, SPLITS)}")
        if isinstance(loop, bool) or not isinstance(loop, int) or loop < 1:
            raise InputError(f"loop: got {loop!r}, wanted an integer of at least 1")
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
            raise InputError(f"share: got {share!r}, wanted a number over 0, at most 1")
        check_test_cfg(test_cfg)
        self.split = split
        self.data_root = data_root
        self.set_transform(transform or ())
        self.test_mode = test_mode
        self.test_cfg = test_cfg
        self.cache = cache
        self.loop = 1 if test_mode else loop
        self._cached: dict[int, dict[str, Any]] = {}
        self._parts: dict[int, tuple[dict[str, Any], int]] = {}  # with the points of the whole cloud
        self.data_list = self.list_samples()
        if not self.data_list and split != "val":
            raise InputError(f"{type(self).__name__}: split {split!r} has no samples, wanted at least one")
        self._chosen = drawn(len(self.data_list), share)
        self.input_description = self.describe_inputs()

    def set_transform(self, transform: Sequence[dict]) -> None:
        """Have the samples go through these transforms from now on."""
        self.transform = Compose(list(transform))
        self._has_transform = bool(transform)

    def list_samples(self) -> Sequence[str]:
        raise NotImplementedError

    def load_fields(self, index: int) -> dict[str, Any]:
        raise NotImplementedError

    def target_statistics(self) -> dict[str, Any]:
        """Return ``dict(mean=[K], std=[K], source=str)`` of the training split of this protocol."""
        raise NotImplementedError

    def scalar_statistics(self) -> dict[str, Any]:
        """Return the same of ``scalars``, S numbers each. Raises InputError for a data set that has none."""
        raise InputError(f"model.scalars: got one, but {type(self).__name__} gives none")

    def input_scales(self) -> dict[str, dict[str, list[float]]]:
        """Return {field: {"mean", "std"}} of the input fields that a sample holds standardised; none here."""
        return {}

    def describe_inputs(self) -> InputDescription:
        """Return what is done to the arrays of ``load_fields``, see :mod:`.inputs`."""
        return InputDescription(scales=self.input_scales())

    def target_offset(self) -> np.ndarray:
        """Return (K,) what is subtracted from the target: physical value = ``target`` + this; zeros here."""
        return np.zeros(len(self.target_names))

    def where(self, index: int, field: str) -> str:
        """Return the place an error about ``field`` of sample ``index`` names."""
        return f"{type(self).__name__} sample {self.data_list[index]!r}"

    def cells(self, index: int) -> dict[str, np.ndarray]:
        """Return the cells of a sample by type, (F, k) rows of its points, as ``mesh_io.Mesh`` has them, for exports.

        None here, and none that ``face`` says already.
        """
        return {}

    def __len__(self) -> int:
        return len(self._chosen) * self.loop

    @property
    def sample_names(self) -> list[str]:
        """The names of the samples that are used: all of ``data_list``, or the ``share`` of them."""
        return [self.data_list[index] for index in self._chosen]

    def __getitem__(self, idx: int) -> dict[str, Any]:
        data = self.get_data(idx)
        if not self._has_transform:
            return data
        data["index_valid_keys"] = per_point_keys(data)  # Pointcept's indexing transforms move exactly these
        return self.transform(data)

    def get_data_name(self, idx: int) -> str:
        return self.data_list[self._index(idx)]

    def get_data(self, idx: int) -> dict[str, Any]:
        """Return one sample, physical units where ``input_description`` says no other: arrays the caller may change.

        Returns:
            ``coord (N, d)`` and ``target (N, K)`` float32, the extra fields, ``face`` if there is one, ``name``.

        Raises:
            InputError: no points, NaN or infinity, fields whose rows do not match the points, a bad file.
        """
        index = self._index(idx)
        if not self.cache:
            return self._checked_sample(index)
        if index not in self._cached:
            self._cached[index] = self._checked_sample(index)
        return {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in self._cached[index].items()}

    def get_part(self, idx: int, rank: int, size: int) -> dict[str, Any] | None:
        """Return the part of a sample that process ``rank`` of ``size`` holds, see :func:`.distributed.parts.cut`.

        Only its rows are read, where ``load_fields`` maps files into memory. None: it has to be cut from the whole,
        which transforms or domains look at.
        """
        if not self._is_by_point():
            return None
        index = self._index(idx)
        data, points = self._parts.get(index) or self._load_part(index, rank, size)
        if self.cache:
            self._parts[index] = data, points
        data = {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in data.items()}
        data["index_valid_keys"] = per_point_keys(data)
        return {**self.transform(data), f"{WHOLE_PREFIX}offset": torch.tensor([points])}

    def _is_by_point(self) -> bool:
        """Whether a point of a sample is made of what is read of this point alone."""
        own, base = type(self), PointFieldDataset
        plain = own.__getitem__ is base.__getitem__ and own.get_data is base.get_data
        steps = self.transform.transforms
        return plain and not self.domains and bool(steps) and all(getattr(step, "by_point", False) for step in steps)

    def _load_part(self, index: int, rank: int, size: int) -> tuple[dict[str, Any], int]:
        """The part before the transforms, and the points of the whole."""
        fields = self.load_fields(index)
        points = len(fields["coord"])
        rows = part_of(points, rank, size, self.data_list[index])
        kept = {key: values for key, values in fields.items() if not names_points(key)}
        of_points = {key for key, values in kept.items() if key != SCALARS and len(values) == points}
        return self._sample_of(index, {k: v[rows] if k in of_points else v for k, v in kept.items()}), points

    def card(self) -> dict[str, Any]:
        """Return what a report must say about the data: names, protocol, split and its hash, units, notes."""
        return {
            "dataset": self.name,
            "protocol": self.protocol_name(),
            "split": self.split,
            "num_samples": len(self._chosen),
            "split_hash": split_hash(self.sample_names),
            "target": list(self.target_names),
            "units": list(self.target_units),
            "notes": self.notes(),
            **({"scalars": dict(zip(self.scalar_names, self.scalar_units))} if self.scalar_names else {}),
        }

    def protocol_name(self) -> str:
        return "default"

    def notes(self) -> list[str]:
        return []

    def _index(self, idx: int) -> int:
        if not -len(self) <= idx < len(self):
            raise IndexError(f"index {idx} of a data set of {len(self)} samples")
        return self._chosen[idx % len(self._chosen)]

    def _checked_sample(self, index: int) -> dict[str, Any]:
        return self._sample_of(index, self.load_fields(index))

    def _sample_of(self, index: int, fields: dict[str, Any]) -> dict[str, Any]:
        """What ``load_fields`` gives, or some rows of it, as a sample."""
        coord = fields["coord"]
        if coord.ndim != 2 or coord.shape[1] not in (2, 3):
            raise InputError(f"{self.where(index, 'coord')}: coord has shape {coord.shape}, wanted (N, 2) or (N, 3)")
        if len(coord) == 0:
            raise InputError(f"{self.where(index, 'coord')}: sample {self.data_list[index]!r} has no points")
        for key, values in fields.items():
            check_finite(values, key, self.where(index, key))
        scalars = fields.pop(SCALARS, None)
        fields = self.input_description.sample(fields)
        data: dict[str, Any] = {"coord": fields["coord"]}
        for key, values in fields.items():
            if key == "face":
                data[key] = self._checked_face(index, values, len(coord))
                continue
            check_narrowed(values, key, self.where(index, key))
            if len(values) != len(coord):
                raise InputError(
                    f"{self.where(index, key)}: field {key!r} has {len(values)} rows, wanted {len(coord)} as coord has"
                )
            if key not in self.target_fields:
                data[key] = np.array(values) if names_points(key) else values
        columns = [fields[key].reshape(len(coord), -1) for key in self.target_fields]
        data["target"] = np.concatenate(columns, axis=1)  # (N, K)
        if scalars is not None:
            with np.errstate(over="ignore"):
                data[SCALARS] = np.array(scalars, dtype=np.float32).reshape(1, len(self.scalar_names))
            check_narrowed(data[SCALARS], SCALARS, self.where(index, SCALARS))
        data["name"] = self.data_list[index]
        return data

    def _checked_face(self, index: int, face: np.ndarray, num_points: int) -> np.ndarray:
        if face.size and not (0 <= face.min() and face.max() < num_points):
            raise InputError(
                f"{self.where(index, 'face')}: names points {face.min()} to {face.max()}, wanted 0 to {num_points - 1}"
            )
        return np.array(face)
