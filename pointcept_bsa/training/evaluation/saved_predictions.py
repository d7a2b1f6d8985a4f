"""Tested samples as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from pointcept_bsa.datasets.inputs import in_files, physical_target
from pointcept_bsa.files.atomic import write_file
from pointcept_bsa.geometry.domains import DOMAIN
from pointcept_bsa.samples import lengths


def save_predictions(
    folder: Path, dataset: Any, batch: Mapping[str, Any], pred: Tensor, spread: Tensor | None = None
) -> None:
    """Write ``<folder>/<name>.npz`` for each sample of a batch, whole or not at all: coord, target, pred, maybe spread.

    Args:
        folder: where to.
        dataset: which the batch comes from.
        batch: with ``coord``, ``target``, ``offset`` and ``name``.
        pred: (N, K), physical units.
        spread: (N, K) standard deviation.
    """
    arrays = {"coord": batch[where(batch)], "target": batch["target"], "pred": pred.float()}
    arrays |= {} if spread is None else {"spread": spread.float()}
    arrays |= {DOMAIN: batch[DOMAIN]} if DOMAIN in batch else {}
    parts = {key: value.cpu().split(lengths(batch)) for key, value in arrays.items()}
    for i, name in enumerate(batch["name"]):
        own = {key: values[i].numpy() for key, values in parts.items()}
        own |= {
            "coord": in_files(dataset, "coord", own["coord"]),
            **{key: physical_target(dataset, own[key]) for key in ("target", "pred")},
        }
        write_file(folder / (name.replace("/", "__") + ".npz"), partial(np.savez, **own))


def where(batch: Mapping[str, Any]) -> str:
    """Key of the coordinates as the data set gave them: transforms that scale them keep them as ``position``."""
    return "position" if "position" in batch else "coord"


def domain_of_points(batch: Mapping[str, Any]) -> np.ndarray | None:
    """(N,) whose the points of a batch are; None where there are no domains."""
    return batch[DOMAIN].cpu().numpy() if DOMAIN in batch else None
