"""What a network wants of an input, and its prediction on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pointcept_bsa.datasets.base import check_test_cfg
from pointcept_bsa.engine.bounded import BoundedModel, bounded
from pointcept_bsa.engine.training_points import TrainingPoints, training_points
from pointcept_bsa.engine.training_range import FILE, describe_training_data, parse_training_range, read_training_range
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import DATASETS, Compose, build_dataset, collate_fn
from pointcept_bsa.host.batch import to_device

POINTS = "training_points"  # in the metadata of exported weights
ALWAYS_THERE = ("coord", "name", "target")


@dataclass(frozen=True)
class Network:
    """A trained model with what its inputs and outputs mean.

    Attributes:
        model: in evaluation mode.
        transforms: of the test set, without the target.
        dimensions: columns of ``coord``.
        training: content of ``training_range.json``; None where it is unknown.
        names, units: of the K target channels.
        targets: fields the channels belong to, with their widths: [["dns_velocity", 2]].
        standardize: {field: {"mean", "std"}} of fields the network gets standardised.
        surface_pressure: see ``PointFieldDataset``; None for other targets.
        remarks: what a user should know about where this comes from.
        test_cfg: how the test goes through large clouds, see ``PointFieldDataset``: so does the prediction.
        trained: points of the clouds in training; None where they are unknown.
    """

    model: nn.Module
    transforms: list[dict[str, Any]]
    dimensions: int
    training: Mapping[str, Any] | None
    names: Sequence[str]
    units: Sequence[str]
    targets: Sequence[Sequence[Any]]
    standardize: Mapping[str, Any]
    surface_pressure: Mapping[str, Any] | None
    remarks: tuple[str, ...]
    test_cfg: Mapping[str, Any] = field(default_factory=dict)
    trained: TrainingPoints | None = None

    def needed_fields(self) -> dict[str, str]:
        """Point fields that the transforms read, and which transform it is."""
        made = set(ALWAYS_THERE)
        needed: dict[str, str] = {}
        for transform in self.transforms:
            kind = transform["type"]
            for key in (*transform.get("keys", ()), *transform.get("feat_keys", ())):
                if key not in made:
                    needed.setdefault(key, kind)
            made |= {"ScaleCoord": {"position"}, "AddGridCoord": {"grid_coord"}}.get(kind, set())
            if kind == "FourierFeatures":
                made.add(transform.get("out", "fourier"))
        return needed

    def predict(self, sample: Mapping[str, Any], max_points: int | None = None) -> tuple[np.ndarray, int]:
        """(N, K) in physical units for one sample of the data set's kind, and in how many pieces it was made.

        ``max_points`` replaces that of ``test_cfg``.

        Raises:
            InputError: fields the transforms cannot use, or transforms that leave out points.
        """
        collected = Compose(self.transforms)(dict(sample))
        n = len(sample["coord"])
        if len(collected["coord"]) != n:
            raise InputError(
                f"data.test.transform: it keeps {len(collected['coord'])} of {n} points, wanted all of them to predict"
            )
        device = next(self.model.parameters()).device
        predict = self.bounded(max_points)
        with torch.no_grad():
            pred = predict(to_device(collate_fn([collected]), device))["pred"]
        return pred.float().cpu().numpy(), max(predict.pieces.values(), default=1)

    def reason(self, max_points: int | None = None) -> str:
        """Why a cloud is predicted in pieces."""
        if self.test_cfg.get("piece_points") is not None:
            return "test_cfg.piece_points of the run"
        bound = "--max-points" if max_points is not None else "test_cfg.max_points of the run"
        return f"{bound}: an approximation"

    def bounded(self, max_points: int | None = None) -> BoundedModel:
        """The model as it goes through clouds. Raises InputError."""
        bound = {} if max_points is None else {"max_points": max_points}
        return bounded(self.model, {**self.test_cfg, **bound}, self.trained)


def open_network(
    cfg: Mapping[str, Any], model: nn.Module, folder: Path | None, metadata: Mapping[str, str] | None = None
) -> Network:
    """What the run of ``cfg`` in ``folder`` (None: weights alone) says about the inputs and outputs of ``model``.

    Weights alone may carry the text of ``training_range.json`` in their ``metadata``.
    Runs older than ``training_range.json`` are asked for their training data; without these the range is unknown.
    """
    transforms = [dict(transform) for transform in cfg["data"]["test"].get("transform") or []]
    for transform in transforms:
        if "keys" in transform:
            transform["keys"] = tuple(key for key in transform["keys"] if key != "target")
    if not transforms:
        raise InputError("data.test.transform: got none, wanted the transforms that make the network's features")
    remarks = []
    training = read_training_range(folder) if folder is not None else None
    if metadata and FILE in metadata:
        training = parse_training_range(metadata[FILE], "RUN")
    if training is None:
        training, remark = _from_data(cfg)
        remarks.append(remark)
    known = training or _from_class(cfg, model)
    test_cfg = cfg["data"]["test"].get("test_cfg") or {}
    check_test_cfg(test_cfg)
    return Network(
        model,
        transforms,
        _dimensions(training, transforms, model),
        training,
        known["target"]["names"],
        known["target"]["units"],
        known["target"]["fields"],
        known["standardize"],
        known["surface_pressure"],
        tuple(remarks),
        test_cfg,
        training_points(folder, cfg, (metadata or {}).get(POINTS)),
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


def _from_class(cfg: Mapping[str, Any], model: nn.Module) -> dict[str, Any]:
    """What the class of the data set says, without data."""
    kind = DATASETS.get(cfg["data"]["train"]["type"])
    channels = len(normalizer.mean) if (normalizer := getattr(model, "normalizer", None)) is not None else 1
    names = tuple(getattr(kind, "target_names", ()))
    if len(names) == channels:
        units, fields = kind.target_units, [[name, 1] for name in names]
    else:
        names, units = tuple(f"target_{i}" for i in range(channels)), ("",) * channels
        fields = [[name, 1] for name in names]
    return {
        "target": {"names": names, "units": units, "fields": fields},
        "standardize": {},
        "surface_pressure": getattr(kind, "surface_pressure", None),
    }


def _dimensions(training: Mapping[str, Any] | None, transforms: list[dict[str, Any]], model: nn.Module) -> int:
    if training is not None:
        return len(training["fields"]["coord"]["min"])
    for transform in transforms:
        if transform["type"] == "ScaleCoord":
            return len(transform["min"])
    return int(getattr(getattr(model, "backbone", None), "dimensionality", 3))
