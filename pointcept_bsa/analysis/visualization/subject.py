"""The cloud that is looked at, and the point of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pointcept_bsa.datasets.inputs import in_files
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.host import build_dataset, collate_fn
from pointcept_bsa.samples import to_device
from pointcept_bsa.training.evaluation.canvas import Canvas
from pointcept_bsa.training.evaluation.export_fields import where
from pointcept_bsa.training.evaluation.training_range import check_same_inputs


@dataclass(frozen=True)
class Subject:
    """One sample: ``batch`` on the model's device, ``coord`` (N, d) in physical units, ``face`` if it has one."""

    name: str
    batch: dict[str, Any]
    coord: np.ndarray
    face: np.ndarray | None
    up: str


def load_subject(
    cfg: Mapping[str, Any], model: nn.Module, split: str, sample: str, folder: Path | None = None
) -> Subject:
    """Sample ``sample`` (a name or a number) of the data of ``cfg``, with the transforms of the test set.

    ``folder``: of the run, whose samples it must be like.

    Raises:
        InputError: no such split or sample, or one of other data than the training's.
    """
    if split not in cfg["data"]:
        raise InputError(f"--split {split!r}: the config has {sorted(cfg['data'])}{nearest(split, cfg['data'])}")
    described = {**cfg["data"][split], "transform": cfg["data"]["test"].get("transform")}
    described.pop("loop", None)
    dataset = build_dataset(described)
    check_same_inputs(dataset, folder)
    index = find_sample(dataset, sample)
    np.random.seed(0)  # should the transforms draw
    batch = to_device(collate_fn([dataset[index]]), next(model.parameters()).device)
    coord = batch[where(batch)].cpu().numpy()
    raw = dataset.get_data(index)
    whole = len(raw["coord"]) == len(coord)  # else the transforms have left out points
    if whole and "position" not in batch:  # scaled coordinates would show another shape
        coord = raw["coord"]
    coord = in_files(dataset, "coord", coord)
    face = raw.get("face") if whole else None
    return Subject(dataset.get_data_name(index), batch, coord, face, getattr(dataset, "up_axis", "z"))


def find_sample(dataset: Any, sample: str) -> int:
    """Index of the sample of that name or number. Raises InputError."""
    names = [dataset.get_data_name(i) for i in range(len(dataset))]
    if sample in names:
        return names.index(sample)
    if sample.isdecimal() and int(sample) < len(names):
        return int(sample)
    raise InputError(
        f"--sample {sample!r}: the split has {len(names)} samples, 0 to {names[-1]}{nearest(sample, names)}"
    )


def choose_point(subject: Subject, canvas: Canvas, point: int | None, near: Sequence[float] | None) -> int:
    """The point asked about: by number, the nearest to a place, or one in the middle of what the camera sees.

    Raises:
        InputError: a number out of range, a place of other dimensions.
    """
    coord = subject.coord
    if point is not None:
        if not 0 <= point < len(coord):
            raise InputError(f"--point {point}: sample {subject.name!r} has points 0 to {len(coord) - 1}")
        return point
    if near is not None:
        if len(near) != coord.shape[1]:
            raise InputError(f"--near {list(near)}: wanted {coord.shape[1]} coordinates")
        return int(np.square(coord - np.asarray(near)).sum(1).argmin())
    seen = np.flatnonzero(canvas.sees())
    if canvas.solid and subject.face is None:  # the half that is nearer to the camera
        seen = np.flatnonzero(canvas.depth >= np.median(canvas.depth))
    middle = np.median(canvas.screen[seen], axis=0)
    return int(seen[np.square(canvas.screen[seen] - middle).sum(1).argmin()])


def describe_point(coord: np.ndarray, point: int) -> str:
    """ "point 12 at (0.1, 0.2, 0.3)"."""
    return f"point {point} at ({', '.join(f'{x:.3g}' for x in coord[point])})"


def to_numpy(values: torch.Tensor) -> np.ndarray:
    return values.detach().float().cpu().numpy()
