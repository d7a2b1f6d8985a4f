"""What a network wants of an input, and its prediction on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from pointcept_bsa.datasets.base import FROM_ANCHORS, PIECES, check_test_cfg
from pointcept_bsa.datasets.folder_dataset import FolderDataset
from pointcept_bsa.datasets.inputs import FieldInfo, InputDescription
from pointcept_bsa.datasets.point_field import CustomFieldDataset
from pointcept_bsa.datasets.transforms import fields_read
from pointcept_bsa.distributed import mesh
from pointcept_bsa.distributed.parts import cut, whole_batch
from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.domains import DOMAIN
from pointcept_bsa.host import DATASETS, Compose, build_dataset, collate_fn
from pointcept_bsa.samples import SCALARS, per_point_keys, to_device
from pointcept_bsa.training.evaluation.anchored import AnchoredModel, Anchors
from pointcept_bsa.training.evaluation.bounded import BoundedModel, bounded
from pointcept_bsa.training.evaluation.forces import channels_named, pressure_channel
from pointcept_bsa.training.evaluation.provenance import TrainingPoints, training_points
from pointcept_bsa.training.evaluation.training_range import (
    FILE,
    describe_training_data,
    parse_training_range,
    read_training_range,
)

POINTS = "training_points"  # in the metadata of exported weights
PROBE_POINTS, PROBES = 64, 8  # by which transforms that draw at random are found


class Prediction(NamedTuple):
    """What a network says of one sample.

    Attributes:
        values: (N, K) in physical units; of classes (N, 1) the label of the likeliest.
        remark: how it was made, where the network did not see the whole cloud at once.
        spread: (N, K) standard deviation, of models that predict one; else None.
        scalars: numbers of the whole sample by name.
    """

    values: np.ndarray
    remark: str | None = None
    spread: np.ndarray | None = None
    scalars: Mapping[str, float] = {}


@dataclass(frozen=True)
class Network:
    """A trained model with what its inputs and outputs mean.

    Attributes:
        model: in evaluation mode.
        transforms: of the data set and of the test set, without the target.
        inputs: how a sample is made of arrays; its dimension is known.
        training: content of ``training_range.json``; None where it is unknown.
        names, units: of the K target channels.
        targets: fields the channels belong to, with their widths: [["dns_velocity", 2]].
        surface_pressure: see ``PointFieldDataset``; None for other targets.
        remarks: what a user should know about where this comes from.
        test_cfg: how the test goes through large clouds, see ``PointFieldDataset``: so does the prediction.
        trained: points of the clouds in training; None where they are unknown.
        scalars: names of the numbers of whole samples that it predicts.
        labels: of a network that tells classes apart, their labels; None of one that predicts fields.
        domains: to which points belong and the targets "surface/..."; none where all points are alike.
    """

    model: nn.Module
    transforms: list[dict[str, Any]]
    inputs: InputDescription
    training: Mapping[str, Any] | None
    names: Sequence[str]
    units: Sequence[str]
    targets: Sequence[Sequence[Any]]
    surface_pressure: Mapping[str, Any] | None
    remarks: tuple[str, ...]
    test_cfg: Mapping[str, Any] = field(default_factory=dict)
    trained: TrainingPoints | None = None
    labels: Sequence[int] | None = None
    scalars: Sequence[str] = ()
    domains: Sequence[str] = ()

    def channels_of(self, domain: str) -> slice:
        """The target channels of a domain."""
        own = [i for i, name in enumerate(self.names) if name.startswith(f"{domain}/")]
        return slice(own[0], own[-1] + 1)

    @property
    def dimensions(self) -> int:
        """Columns of ``coord``."""
        return int(self.inputs.dimension or 3)

    @property
    def pressure_channel(self) -> int:
        """The target channel that is the pressure on the surface: the first, unless the data say which field it is."""
        return pressure_channel(self.surface_pressure, self.targets)

    @property
    def shear_channels(self) -> slice | None:
        """The target channels that are the wall shear stress; None where the data say of none."""
        return channels_named(self.surface_pressure, "shear", self.targets)

    def needed_fields(self) -> dict[str, str]:
        """Point fields that the transforms read, and which transform it is."""
        return fields_read(self.transforms)

    def predict(
        self, sample: Mapping[str, Any], max_points: int | None = None, anchors: Anchors | None = None
    ) -> Prediction:
        """The prediction for one sample of the data set's kind; processes that share clouds predict a part each.

        ``max_points`` or ``anchors`` replaces what ``test_cfg`` says.

        Raises:
            InputError: fields the transforms cannot use, or transforms that leave out points.
        """
        for transform in self.transforms:
            if "target" in transform.get("vector_keys", ()) and transform.get("p", 0.5) > 0:
                raise InputError(f"data.test.transform: {transform['type']} turns the target, wanted none to predict")
        collected = Compose(self.transforms)(dict(sample))
        n = len(sample["coord"])
        if len(collected["coord"]) != n:
            raise InputError(
                f"data.test.transform: it keeps {len(collected['coord'])} of {n} points, wanted all of them to predict"
            )
        self._refuse_random(sample)
        device = next(self.model.parameters()).device
        if mesh.context_size() > 1:
            collected = cut(collected, mesh.context_rank(), mesh.context_size())
        predict, batch = self.bounded(max_points, anchors), collate_fn([collected])
        with torch.no_grad():  # from anchors, points go to the device a chunk at a time
            batch = batch if isinstance(predict, AnchoredModel) else to_device(batch, device)
            output = whole_batch(batch, predict(batch))[1]
        remark = self.remark(predict, max_points)
        if self.labels is not None:
            return Prediction(np.asarray(self.labels)[output["seg_logits"].argmax(1).cpu().numpy()][:, None], remark)
        numbers = {key: output[key].double().cpu().numpy() for key in ("pred", "variance", SCALARS) if key in output}
        values = numbers["pred"] + self.inputs.target_offset(self.targets)
        spread = np.sqrt(numbers["variance"]) if "variance" in numbers else None
        found = numbers[SCALARS][0].tolist() if SCALARS in numbers else []
        names = self.scalars or [f"scalar_{i}" for i in range(len(found))]
        return Prediction(values, remark, spread, dict(zip(names, found, strict=True)))

    def remark(self, predict: BoundedModel, max_points: int | None) -> str | None:
        """How a prediction was made where the network did not see the whole cloud at once."""
        if isinstance(predict, AnchoredModel):
            return predict.describe()
        pieces = max(predict.pieces.values(), default=1)
        return f"predicted in {pieces} random pieces of the cloud ({self.reason(max_points)})" if pieces > 1 else None

    def reason(self, max_points: int | None = None) -> str:
        """Why a cloud is predicted in pieces."""
        if self.test_cfg.get("piece_points") is not None:
            return "test_cfg.piece_points of the run"
        bound = "--max-points" if max_points is not None else "test_cfg.max_points of the run"
        return f"{bound}: an approximation"

    def bounded(self, max_points: int | None = None, anchors: Anchors | None = None) -> BoundedModel:
        """The model as it goes through clouds. Raises InputError."""
        test_cfg, bound = dict(self.test_cfg), {"max_points": max_points, "anchors": anchors}
        if anchors is not None:
            test_cfg = {key: value for key, value in test_cfg.items() if key not in PIECES}
        elif max_points is not None:
            test_cfg = {key: value for key, value in test_cfg.items() if key not in FROM_ANCHORS}
        return bounded(self.model, {**test_cfg, **{k: v for k, v in bound.items() if v is not None}}, self.trained)

    def _refuse_random(self, sample: Mapping[str, Any]) -> None:
        """Transforms that draw at random give other numbers than the test's."""
        probed: Any = slice(PROBE_POINTS)
        if self.domains:
            firsts = [np.flatnonzero(sample[DOMAIN] == i)[:PROBE_POINTS] for i in range(len(self.domains))]
            probed = np.concatenate(firsts)
        probe = dict(sample) | {key: sample[key][probed] for key in per_point_keys(sample)}
        state = np.random.get_state()
        try:
            seen = []
            for seed in range(PROBES):
                np.random.seed(seed)
                seen.append(Compose(self.transforms)(dict(probe)))
        finally:
            np.random.set_state(state)
        if any(not torch.equal(each[key], seen[0][key]) for each in seen for key in ("coord", "feat")):
            raise InputError("data.test.transform: it draws at random, wanted transforms that do not to predict")


def check_bounds(dashes: str, max_points: int | None, anchors: Anchors | None) -> None:
    """Raise InputError unless at most one of them is given, at least 1; ``dashes`` stand before an option's name."""
    names = ("max-points", "anchors") if dashes else ("max_points", "anchors")
    for name, value in zip(names, (max_points, anchors), strict=True):
        for count in value.values() if isinstance(value, Mapping) else [] if value is None else [value]:
            if count < 1:
                raise InputError(f"{dashes}{name}: got {count}, wanted at least 1")
    if max_points is not None and anchors is not None:
        raise InputError(f"{dashes}anchors: got {anchors}, wanted it without {dashes}{names[0]}")


def open_network(
    cfg: Mapping[str, Any], model: nn.Module, folder: Path | None, metadata: Mapping[str, str] | None = None
) -> Network:
    """What the run of ``cfg`` in ``folder`` (None: weights alone) says about the inputs and outputs of ``model``.

    Weights alone may carry the text of ``training_range.json`` in their ``metadata``.
    Runs older than ``training_range.json`` are asked for their training data; without these the range is unknown.
    """
    given = [dict(transform) for transform in cfg["data"]["test"].get("transform") or []]
    if not given:
        raise InputError("data.test.transform: got none, wanted the transforms that make the network's features")
    Compose(given)  # what is no transform is refused here, before it is looked into
    remarks = []
    training = read_training_range(folder) if folder is not None else None
    if metadata and FILE in metadata:
        training = parse_training_range(metadata[FILE], "RUN")
    kind = _class_of(cfg["data"]["train"]["type"])
    if training is None or ("inputs" not in training and issubclass(kind, CustomFieldDataset)):
        training, remark = _from_data(cfg)
        remarks.append(remark)
    known = training or _from_class(kind, model)
    inputs = _inputs(kind, training, given, model, remarks)
    transforms = [dict(transform) for transform in (*inputs.transform, *inputs.shifted(given))]
    for transform in transforms:
        if "keys" in transform:
            transform["keys"] = tuple(key for key in transform["keys"] if key not in ("target", "segment"))
    test_cfg = dict(cfg["data"]["test"].get("test_cfg") or {})
    check_test_cfg(test_cfg)
    network = Network(
        model,
        transforms,
        inputs=inputs,
        training=training,
        names=known["target"]["names"],
        units=known["target"]["units"],
        targets=known["target"]["fields"],
        surface_pressure=known["surface_pressure"],
        remarks=tuple(remarks),
        test_cfg=test_cfg,
        trained=training_points(folder, cfg, (metadata or {}).get(POINTS)),
        labels=(training or {}).get("labels"),
        scalars=(training or {}).get("scalars", {}).get("names", ()),
        domains=tuple((training or {}).get("domains") or ()),
    )
    known_to_model: Any = getattr(model, "domains", None) or ()
    if list(known_to_model) != list(network.domains):
        raise InputError(f"RUN: to which domains its outputs belong is not known, {network.remarks[-1]}")
    if getattr(kind, "gives_labels", False) and network.labels is None:
        raise InputError(f"RUN: which labels its classes are is not known, {network.remarks[-1]}")
    if training is None:
        _refuse_raw(network, kind)
    return network


def _class_of(name: Any) -> type:
    """The data set of the training. Raises InputError for a name that no data set has."""
    kind = DATASETS.get(name) if isinstance(name, str) else name
    if not isinstance(kind, type):
        raise InputError(f"data.train.type={name!r}: wanted the registered name of a data set")
    return kind


def _inputs(
    kind: Any, training: Mapping[str, Any] | None, given: list[dict[str, Any]], model: nn.Module, remarks: list[str]
) -> InputDescription:
    """The description of the run; of runs of earlier versions, what is known of it.

    Raises:
        InputError: own data of which nothing is known: its box, its parameters and its constants would be missing.
    """
    if training is not None and "inputs" in training:
        return InputDescription.from_plain(training["inputs"])
    if issubclass(kind, CustomFieldDataset):
        raise InputError(
            f"RUN: {remarks[-1]}; how the data set scales coordinates and parameters is not known without it, wanted "
            "data.train.data_root where the training data are, or training_range.json of the run"
        )
    if training is None:
        return InputDescription(_dimensions(given, model))
    fields = tuple(
        FieldInfo(key, key, "mesh" if key in training["standardize"] else "point", len(stats["min"]))
        for key, stats in training["fields"].items()
        if key != "coord"
    )
    return InputDescription(len(training["fields"]["coord"]["min"]), fields, training["standardize"])


def _refuse_raw(network: Network, kind: Any) -> None:
    """Global fields come standardised by the training data; without these they would go in raw."""
    known = kind.global_fields if issubclass(kind, FolderDataset) else {}
    for key in network.needed_fields():
        if key in known:
            raise InputError(
                f"RUN: the network takes {key!r} standardised by its training data, and {network.remarks[-1]}; wanted "
                "data.train.data_root where these are, or training_range.json of the run"
            )


def _from_data(cfg: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str]:
    """The description made from the training data, if they are there."""
    try:
        dataset = build_dataset(cfg["data"]["train"])
    except InputError as error:
        reason = f"and its training data cannot be read ({error})"
        return None, f"the training range is UNKNOWN: the run has no training_range.json, {reason}"
    if not hasattr(dataset, "input_scales"):
        return None, f"the training range is UNKNOWN: {type(dataset).__name__} does not tell"
    remark = "the run has no training_range.json: made from its training data now"
    return describe_training_data(dataset), remark


def _from_class(kind: Any, model: nn.Module) -> dict[str, Any]:
    """What the class of the data set says, without data."""
    channels = len(normalizer.mean) if (normalizer := getattr(model, "normalizer", None)) is not None else 1
    names = tuple(getattr(kind, "target_names", ()))
    if len(names) == channels:
        units, fields = kind.target_units, [[name, 1] for name in names]
    else:
        names, units = tuple(f"target_{i}" for i in range(channels)), ("",) * channels
        fields = [[name, 1] for name in names]
    return {
        "target": {"names": names, "units": units, "fields": fields},
        "surface_pressure": getattr(kind, "surface_pressure", None),
    }


def _dimensions(transforms: list[dict[str, Any]], model: nn.Module) -> int:
    for transform in transforms:
        if transform["type"] == "ScaleCoord":
            return len(transform["min"])
    return int(getattr(getattr(model, "backbone", None), "dimensionality", 3))
