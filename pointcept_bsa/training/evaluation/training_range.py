"""What a network was trained on, kept beside it, so that a prediction can be told from an extrapolation.

``training_range.json`` in the folder of a run::

    {"data": {...the card of the training split...}, "samples": 650, "of": 650,
     "points": [3586, 3586],                              fewest and most points of a cloud
     "fields": {"coord": {"min", "max", "mean", "std", "extent_min", "extent_max"}, "normal": {...}},
     "standardize": {"flow": {"mean", "std"}},            fields the data set gives standardised
     "inputs": {...},                                     how a sample is made, see ``datasets.inputs``
     "target": {"names", "units", "fields": [["pressure", 1]]},
     "scalars": {"names", "units"},                       numbers of whole clouds that are targets, too
     "labels": [2, 7] or null,                            of a target that is a label: the classes in order
     "domains": ["surface", "volume"] or null,            to which points and the fields "surface/..." belong
     "up_axis": "y", "surface_pressure": {...} or null}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pointcept_bsa.datasets.base import PointFieldDataset
from pointcept_bsa.datasets.inputs import FieldInfo, InputDescription
from pointcept_bsa.datasets.statistics import RunningStatistics
from pointcept_bsa.datasets.transforms import fields_read
from pointcept_bsa.errors import InputError
from pointcept_bsa.files.json_file import parse_json, read_json, write_json
from pointcept_bsa.host import HOOKS, HookBase, comm
from pointcept_bsa.samples import per_point_keys
from pointcept_bsa.training.checkpoints.checkpoint import unwrap
from pointcept_bsa.training.evaluation.domains import check_domains
from pointcept_bsa.training.evaluation.loss_weights import outweighed_lines

FILE = "training_range.json"
MOST_SAMPLES, MOST_POINTS = 512, 20_000_000  # read for the range, evenly chosen
TOLERANCE = 0.05  # of the range, beyond which a value counts as outside
POINTS_FACTOR = 2.0  # more or fewer points by this factor are worth a warning


def describe_training_data(dataset: PointFieldDataset) -> dict[str, Any]:
    """The content of ``training_range.json`` for a training data set, before its transforms.

    Leaves numpy's random numbers as they were, should the data set draw some.
    """
    state = np.random.get_state()
    try:
        return _describe(dataset)
    finally:
        np.random.set_state(state)


def _describe(dataset: PointFieldDataset) -> dict[str, Any]:
    total = len(dataset.sample_names)
    affordable = max(8, MOST_POINTS // len(dataset.get_data(0)["coord"]))
    count = min(total, MOST_SAMPLES, affordable)
    chosen = np.unique(np.linspace(0, total - 1, count).round().astype(int)).tolist()
    statistics: dict[str, RunningStatistics] = {}
    offsets = dataset.input_description.offsets
    extents, points = RunningStatistics(), []
    for index in chosen:
        sample = dataset.get_data(index)
        points.append(len(sample["coord"]))
        extents.update(np.ptp(sample["coord"], axis=0)[None])
        for key in per_point_keys(sample):
            if key not in ("target", "segment") and np.issubdtype(sample[key].dtype, np.number):
                values = sample[key] + np.asarray(offsets[key]) if key in offsets else sample[key]  # as in the files
                statistics.setdefault(key, RunningStatistics()).update(values)
    fields = {key: each.result() for key, each in statistics.items()}
    extent = extents.result()
    fields["coord"] |= {"extent_min": extent["min"], "extent_max": extent["max"]}
    return {
        "data": dataset.card(),
        "samples": len(chosen),
        "of": total,
        "points": [min(points), max(points)],
        "fields": fields,
        "standardize": dataset.input_scales(),
        "inputs": _with_fields(dataset.input_description, fields).plain(),
        "target": target_of(dataset),
        "scalars": {"names": list(dataset.scalar_names), "units": list(dataset.scalar_units)},
        "labels": [int(label) for label in dataset.labels] if hasattr(dataset, "labels") else None,
        "domains": list(dataset.domains) or None,
        "up_axis": dataset.up_axis,
        "surface_pressure": dataset.surface_pressure,
    }


def _with_fields(inputs: InputDescription, seen: Mapping[str, Mapping[str, Any]]) -> InputDescription:
    """The description with the dimension and the fields as they were seen, where the data set leaves them open."""
    known = {info.key for info in inputs.fields or ()}
    kinds = {key: "mesh" if key in inputs.scales else "point" for key in seen if key != "coord" and key not in known}
    new = [FieldInfo(key, key, kind, len(seen[key]["min"])) for key, kind in kinds.items()]
    return replace(inputs, dimension=len(seen["coord"]["min"]), fields=(*(inputs.fields or ()), *new))


def target_of(dataset: PointFieldDataset) -> dict[str, Any]:
    """Names and units of the target channels, and the fields they belong to with their widths."""
    names, fields = list(dataset.target_names), dataset.load_fields(0)
    widths = [[field, int(np.prod(fields[field].shape[1:], dtype=int))] for field in dataset.target_fields]
    return {"names": names, "units": list(dataset.target_units), "fields": widths}


def field_channels(fields: Iterable[Sequence[Any]]) -> Iterator[tuple[str, slice]]:
    """Where among the channels of a target each of its ``fields`` is, [name, width] one after the other."""
    first = 0
    for name, width in fields:
        yield name, slice(first, first + width)
        first += width


def read_training_range(folder: Path) -> dict[str, Any] | None:
    """The file in the folder of a run; None if it has none. Raises InputError for a damaged one."""
    path = folder / FILE
    return _checked(read_json(path, words_as_null=True), str(path)) if path.is_file() else None


def parse_training_range(text: str, where: str) -> dict[str, Any]:
    """The content from its text. Raises InputError, naming ``where`` it is from."""
    return _checked(parse_json(text, where, words_as_null=True), where)


def _checked(content: Any, where: str) -> dict[str, Any]:
    try:
        _check(content)
        if "inputs" in content:  # not in runs of earlier versions
            InputDescription.from_plain(content["inputs"])
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise InputError(f"{where}: damaged training range ({error!r}); remove it, or train again") from error
    return content


def _check(content: Any) -> None:
    """Raise one of ValueError, KeyError, TypeError where a value is of another kind than this package writes."""
    fewest, most = content["points"]
    _wanted(all(type(count) is int for count in (fewest, most)), "points")
    _wanted("coord" in content["fields"], "fields")
    for key, statistics in content["fields"].items():
        _check_numbers(key, statistics, ("min", "max"), also=("extent_min", "extent_max") if key == "coord" else ())
    for key, scale in content["standardize"].items():
        _check_numbers(key, scale, ("mean", "std"))
    target = content["target"]
    for part in ("names", "units"):
        _wanted(all(isinstance(text, str) for text in list(target[part])), f"target.{part}")
    widths = [width for name, width in target["fields"] if isinstance(name, str) and type(width) is int and width > 0]
    _wanted(len(widths) == len(target["fields"]), "target.fields")
    _wanted(sum(widths) == len(target["names"]) == len(target["units"]) > 0, "target")
    scalars = content.get("scalars", {"names": [], "units": []})  # not in runs of earlier versions
    _wanted(len(scalars["names"]) == len(scalars["units"]), "scalars")
    _wanted(all(isinstance(text, str) for part in scalars.values() for text in list(part)), "scalars")
    labels = content.get("labels")
    _wanted(labels is None or isinstance(labels, list) and all(type(label) is int for label in labels), "labels")
    domains = content.get("domains")
    _wanted(domains is None or isinstance(domains, list) and all(isinstance(name, str) for name in domains), "domains")
    _wanted(not domains or all(name.partition("/")[0] in domains for name, _ in target["fields"]), "domains")
    pressure = content["surface_pressure"]
    if pressure is not None:
        _wanted(all(_is_number(pressure[key]) and pressure[key] > 0 for key in ("density", "velocity")), "density")
        _check_numbers("surface_pressure", pressure, ("flow", "up"))
        _wanted(len(pressure["flow"]) == 3, "flow")
        for key in ("field", "shear"):
            _wanted(pressure.get(key, None) in (None, *(name for name, _ in target["fields"])), key)


def _check_numbers(name: str, lists: Mapping[str, Any], keys: tuple[str, ...], also: tuple[str, ...] = ()) -> None:
    """Lists of numbers, all of one length; the same for those of ``also`` that are there."""
    found = [lists[key] for key in (*keys, *(key for key in also if key in lists))]
    numbers = all(isinstance(each, list) and each and all(map(_is_number, each)) for each in found)
    _wanted(numbers and len({len(each) for each in found}) == 1, name)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _wanted(good: bool, name: str) -> None:
    if not good:
        raise ValueError(f"{name} is of another kind than this package writes")


def check_same_inputs(dataset: Any, folder: Path | None) -> None:
    """Raise ``InputError`` if samples of the data set are made otherwise than those that the run in ``folder`` saw.

    Boxes, statistics of parameters and constants come from the training samples of a data set: those of other data, or
    of data prepared again with other samples, are others.
    """
    known = read_training_range(folder) if folder is not None else None
    if known is None or "inputs" not in known or not hasattr(dataset, "input_description"):
        return
    refuse_other_inputs(dataset, InputDescription.from_plain(known["inputs"]), FILE)


def refuse_other_inputs(dataset: Any, trained: InputDescription, where: str) -> None:
    """Raise ``InputError`` if samples of the data set are made otherwise than ``trained``, which is of ``where``."""
    found = dataset.input_description
    part = other_part(found, trained)
    if part is not None:
        raise InputError(
            f"data.{dataset.split}: the samples have other {part} than those of the training "
            f"({getattr(found, part)}, in {where} {getattr(trained, part)}), wanted its data and options"
        )


def other_part(found: InputDescription, trained: InputDescription) -> str | None:
    """What of two descriptions of samples differs first; None: nothing, but for rounding."""
    parts = ("scales", "offsets", "transform")
    return next((part for part in parts if not _alike(getattr(trained, part), getattr(found, part))), None)


def _alike(a: Any, b: Any) -> bool:
    """Equal plain data, numbers but for rounding."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_alike(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_alike, a, b))
    if isinstance(a, float | int) and isinstance(b, float | int):
        return bool(np.isclose(a, b, rtol=1e-6, atol=1e-12))
    return bool(a == b)


def outside_range(sample: Mapping[str, np.ndarray], known: Mapping[str, Any]) -> list[str]:
    """What of a sample lies outside the training data, a sentence each; none if nothing does. In units of the files."""
    found = []
    n, (fewest, most) = len(sample["coord"]), known["points"]
    offsets, scales = known.get("inputs", {}).get("offsets", {}), known.get("standardize", {})
    if not fewest / POINTS_FACTOR <= n <= most * POINTS_FACTOR:
        found.append(f"{n} points, in training {fewest} to {most}" if fewest < most else f"{n} points, not {most}")
    for key, stats in known["fields"].items():
        if key not in sample:
            continue
        values = np.asarray(sample[key], dtype=np.float64).reshape(n, -1)
        low, high = np.asarray(stats["min"]), np.asarray(stats["max"])
        if len(low) != values.shape[1]:
            found.append(f"{key} has {values.shape[1]} columns, in training {len(low)}")
            continue
        if key in scales:
            std, mean = np.asarray(scales[key]["std"]), np.asarray(scales[key]["mean"])
            values, low, high = values * std + mean, low * std + mean, high * std + mean
        values = values + np.asarray(offsets.get(key, 0.0))  # as in the files; the range has them
        slack = TOLERANCE * (high - low) + 1e-6 * np.maximum(abs(low), abs(high))
        found += _columns_outside(key, values, low, high, slack)
        if "extent_min" in stats:
            found += _size_outside(np.ptp(values, axis=0), stats)
    return found


def _columns_outside(key: str, values: np.ndarray, low: np.ndarray, high: np.ndarray, slack: np.ndarray) -> list[str]:
    least, largest, found = values.min(0), values.max(0), []
    for i in np.flatnonzero((least < low - slack) | (largest > high + slack)):
        name = f"{key}.{'xyz'[i]}" if key in ("coord", "normal") else key if len(low) == 1 else f"{key}[{i}]"
        found.append(f"{name} from {least[i]:.4g} to {largest[i]:.4g}, in training {low[i]:.4g} to {high[i]:.4g}")
    return found


def _size_outside(extent: np.ndarray, stats: Mapping[str, Any]) -> list[str]:
    """Clouds inside the box of the training clouds, but much smaller or larger than any of them (other units?)."""
    small, large = np.asarray(stats["extent_min"]), np.asarray(stats["extent_max"])
    found = []
    for i in np.flatnonzero((extent < small / 1.25) | (extent > large * 1.25)):
        found.append(f"size along {'xyz'[i]} {extent[i]:.4g}, in training {small[i]:.4g} to {large[i]:.4g}")
    return found


@HOOKS.register_module("DescribeTrainingData")
class DescribeTrainingData(HookBase):
    """Leaves ``training_range.json`` in the run's folder, see the head of this file.

    By it ``tools/predict.py`` knows how samples are made and what the target is, and warns of inputs unlike the
    training data. Data sets that are not ``PointFieldDataset`` have none. Refuses validation samples that are made
    otherwise than those of the training, and tells of fields that are not used.
    """

    only_watches = True
    training_range: dict[str, Any] | None = None

    def before_train(self) -> None:
        dataset = self.trainer.train_loader.dataset
        check_domains(unwrap(self.trainer.model), dataset)
        validation = getattr(getattr(self.trainer, "val_loader", None), "dataset", None)
        if hasattr(dataset, "input_description") and hasattr(validation, "input_description"):
            refuse_other_inputs(validation, dataset.input_description, "data.train")
        if comm.is_main_process() and hasattr(dataset, "input_scales"):  # a PointFieldDataset, maybe wrapped
            self.training_range = describe_training_data(dataset)
            self._tell_unused(dataset)

    def _tell_unused(self, dataset: Any) -> None:
        """A line about fields of own data that no transform makes use of; to scale or to turn them is no use."""
        described = dataset.input_description
        transforms = [dict(each) for each in self.trainer.cfg.data.train.get("transform") or []]
        needed = fields_read([each | {"vector_keys": ()} for each in transforms if each["type"] != "ScaleField"])
        unused = [info.key for info in (described.fields or () if described.recipe else ()) if info.key not in needed]
        if unused:
            self.trainer.logger.warning(
                f"data.train: fields of the data that are NOT USED, no transform takes them: {', '.join(unused)} "
                "(feat_keys of CollectPoints makes them inputs; fields=(...) of the data set chooses)"
            )

    def before_epoch(self) -> None:
        """The folder is there by now."""
        if self.training_range is not None:
            write_json(Path(self.trainer.cfg.save_path) / FILE, self.training_range)
            self.training_range = None


@HOOKS.register_module("FitTargetNormalizer")
class FitTargetNormalizer(DescribeTrainingData):
    """Before training, set the model's target normaliser from the training split's statistics.

    Put it before ``CheckpointLoader``, so that a loaded checkpoint keeps its own (a resumed run has the statistics of
    its checkpoint). Statistics written in the config are left alone. Does what :class:`DescribeTrainingData` does, too.
    """

    def before_train(self) -> None:
        model = unwrap(self.trainer.model)
        normalizer = getattr(model, "normalizer", None)
        if normalizer is None:
            raise InputError(f"FitTargetNormalizer: model {type(model).__name__} has none, wanted a DefaultRegressor")
        super().before_train()
        dataset = self.trainer.train_loader.dataset
        self._fit_scalars(getattr(model, "scalars", None), dataset)
        if bool(normalizer.fitted) and hasattr(dataset, "target_offset") and dataset.target_offset().any():
            raise InputError(
                "model.normalizer: got mean and std, but the data give the target without the constant "
                f"{dataset.target_offset().tolist()}; wanted neither, so that they come from the data"
            )
        if bool(normalizer.fitted):
            self.trainer.logger.info("Target statistics: from the config")
            self._tell_outweighed(model, dataset)
            return
        statistics = dataset.target_statistics()
        targets, width = len(statistics["mean"]), getattr(getattr(model, "head", None), "out_channels", None)
        if width == len(normalizer.mean) != targets:
            raise InputError(
                f"target: got {targets} channels, the head has {width}; wanted head.out_channels equal to the targets "
                "of the data set"
            )
        normalizer.set(statistics["mean"], statistics["std"])
        self.trainer.logger.info(
            f"Target statistics: mean {statistics['mean']}, std {statistics['std']} ({statistics['source']})"
        )
        self._tell_outweighed(model, dataset)

    def _tell_outweighed(self, model: Any, dataset: Any) -> None:
        """A warning of fields of which a loss in physical units takes hardly any notice."""
        if comm.is_main_process() and hasattr(dataset, "load_fields"):
            fields = target_of(dataset)["fields"]
            for line in outweighed_lines(model, [(name, width) for name, width in fields]):
                self.trainer.logger.warning(line)

    def _fit_scalars(self, branch: Any, dataset: Any) -> None:
        """The same of numbers of whole clouds, where the model predicts some."""
        if branch is None or bool(branch.normalizer.fitted):
            return
        if not getattr(dataset, "scalar_names", ()):
            raise InputError(
                f"model.scalars: got one, but {type(dataset).__name__} gives none, wanted its scalars=(...)"
            )
        statistics = dataset.scalar_statistics()
        branch.normalizer.set(statistics["mean"], statistics["std"])
        told = ", ".join(
            f"{name} {mean:.4g} +- {std:.3g}"
            for name, mean, std in zip(dataset.scalar_names, statistics["mean"], statistics["std"], strict=True)
        )
        self.trainer.logger.info(f"Scalar statistics: {told} ({statistics['source']})")
