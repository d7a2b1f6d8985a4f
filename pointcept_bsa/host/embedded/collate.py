"""Samples to a batch: clouds laid end to end, ``offset`` cumulative."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from addict import Dict
from torch import Tensor
from torch.utils.data.dataloader import default_collate

from pointcept_bsa.errors import InputError
from pointcept_bsa.samples import ENDS, entry


def collate_fn(samples: Sequence[Any]) -> Any:
    """Collate as Pointcept does: tensors concatenated along dim 0, strings to a list, mappings key by key.

    A key that contains ``"offset"`` holds cumulative counts in each sample and is made cumulative over the batch.
    Raises ``InputError`` naming the key where the samples do not agree.
    """
    if not isinstance(samples, Sequence) or isinstance(samples, str) or len(samples) == 0:
        raise TypeError(f"collate_fn: expected a non-empty list of samples, got {type(samples).__name__}")
    return _collate(samples, "sample")


class PaddedCollate:
    """Collate of samples that first go through ``padding``, in the loading process."""

    def __init__(self, padding: Callable[[Any], Any]) -> None:
        self.padding = padding

    def __call__(self, samples: Sequence[Any]) -> Any:
        return collate_fn([self.padding(sample) for sample in samples])


def _collate(samples: Sequence[Any], name: str) -> Any:
    first = samples[0]
    if isinstance(first, Tensor):
        return _concatenate(samples, name)
    if isinstance(first, str):
        return list(samples)
    if isinstance(first, Mapping):
        return _collate_mappings(samples, name)
    if isinstance(first, list):
        return torch.cat([torch.tensor(sample) for sample in samples])
    return default_collate(list(samples))


def _collate_mappings(samples: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    keys = samples[0].keys()
    for sample in samples:
        if sample.keys() != keys:
            odd = sorted(map(str, sample.keys() ^ keys))
            raise InputError(f"{name}: the samples of a batch hold different keys: {', '.join(odd)} not in all of them")
    batch = {}
    for key in keys:
        values = [sample[key] for sample in samples]
        if entry(key).rows == ENDS:
            counts = [torch.diff(value, prepend=value.new_zeros(1)) for value in values]
            batch[key] = torch.cumsum(torch.cat(counts), dim=0)
        else:
            batch[key] = _collate(values, str(key))
    return batch


def _concatenate(tensors: Sequence[Tensor], name: str) -> Tensor:
    shapes = {tuple(tensor.shape[1:]) for tensor in tensors}
    if tensors[0].ndim == 0 or len(shapes) > 1:
        seen = ", ".join(str(tuple(tensor.shape)) for tensor in tensors[:4])
        raise InputError(f"{name}: tensors of a batch must agree in all but their first dimension, got shapes {seen}")
    return torch.cat(list(tensors))


# ``Point``: a batch of clouds as a dict with attribute access.


def offset_to_batch(offset: Tensor, num_points: int | None = None) -> Tensor:
    """Cumulative counts ``(B,)`` to the cloud of each point ``(N,)``; ``num_points`` saves a device synchronisation."""
    counts = torch.diff(offset, prepend=offset.new_zeros(1)).long()
    clouds = torch.arange(len(offset), device=offset.device)
    return torch.repeat_interleave(clouds, counts, output_size=num_points)


def batch_to_offset(batch: Tensor) -> Tensor:
    """The cloud of each point ``(N,)``, sorted, to cumulative counts ``(B,)``."""
    return torch.cumsum(torch.bincount(batch), dim=0)


class Point(Dict):
    """Points of ``B`` clouds laid end to end: ``coord (N, d)``, ``feat (N, C)``, ``offset (B,)``, ``batch (N,)``.

    ``offset`` is cumulative. Of ``offset`` and ``batch`` the missing one is filled from the other. As in Pointcept,
    reading an absent attribute gives an empty ``Point``: ask with ``"name" in point``.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if "batch" not in self and "offset" in self:
            rows = next((self[key].shape[0] for key in ("coord", "feat") if isinstance(self.get(key), Tensor)), None)
            self["batch"] = offset_to_batch(self["offset"], rows)
        elif "offset" not in self and "batch" in self:
            self["offset"] = batch_to_offset(self["batch"])
