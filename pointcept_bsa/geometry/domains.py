"""Clouds whose points belong to domains, such as the surface of a body and the volume around it.

A sample says by ``domain`` (N,), integers from 0, whose point each is, and by ``domain_offset`` (D,) the cumulative
numbers of points of the D domains; of a batch it is (B D,), cloud after cloud. The points of a domain may lie anywhere
in their cloud.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.host_tables import host_table
from pointcept_bsa.geometry.padding import VALID
from pointcept_bsa.samples import host_ends

DOMAIN, DOMAIN_OFFSET = "domain", "domain_offset"
DOMAIN_NAMES = "domain_names"  # of a sample before it is collected: the names in order


def domain_lengths(batch: Mapping[str, Any], lengths: Sequence[int], domains: int) -> tuple[int, ...]:
    """Points of each domain of each cloud (B D), cloud after cloud.

    As ``domain_offset`` has them; without it they are counted, for which the host waits. Of a padded batch points, not
    slots.

    Args:
        batch: with ``domain`` (N,).
        lengths: points of each cloud.
        domains: D.

    Raises:
        InputError: no ``domain``, integers that are none of 0 to D - 1, a ``domain_offset`` of other points.
    """
    domain = batch.get(DOMAIN)
    if domain is None:
        raise InputError(f"{DOMAIN}: missing from the batch, wanted it among the keys of CollectPoints")
    offset = batch.get(DOMAIN_OFFSET)
    if offset is None:
        if int(domain.min()) < 0 or int(domain.max()) >= domains:
            raise InputError(f"{DOMAIN}: got {int(domain.min())} to {int(domain.max())}, wanted 0 to {domains - 1}")
        parts = domain.split(list(lengths))
        return tuple(n for part in parts for n in torch.bincount(part, minlength=domains).tolist())
    ends = list(host_ends(batch, DOMAIN_OFFSET))
    if VALID in batch and len(ends) == domains * len(lengths):  # the clouds are counted in slots
        return tuple(np.diff(ends, prepend=0).tolist())
    if len(ends) != domains * len(lengths) or ends[domains - 1 :: domains] != np.cumsum(lengths).tolist():
        raise InputError(
            f"{DOMAIN_OFFSET}: got {len(ends)} ends of domains for {len(lengths)} clouds, wanted {domains} of each"
        )
    return tuple(np.diff(ends, prepend=0).tolist())


@dataclass(frozen=True)
class DomainOrder:
    """The rows of a batch, domain after domain in each cloud, points of a domain in their order.

    Attributes:
        index: (N,) row of the batch that stands at each place.
        inverse: (N,) the place of each row.
        lengths: points of each domain of each cloud, (B D).
        domains: D.
    """

    index: Tensor
    inverse: Tensor
    lengths: tuple[int, ...]
    domains: int

    @classmethod
    def of(cls, batch: Mapping[str, Any], lengths: Sequence[int], domains: int) -> DomainOrder:
        """The order of a batch. Raises InputError as :func:`domain_lengths`."""
        parts = domain_lengths(batch, lengths, domains)
        domain, offset = batch[DOMAIN], batch["offset"]
        counts = torch.diff(offset, prepend=offset.new_zeros(1))
        cloud = torch.arange(len(offset), device=domain.device).repeat_interleave(counts, output_size=len(domain))
        index = torch.argsort(cloud * domains + domain, stable=True)
        inverse = torch.empty_like(index).scatter_(0, index, torch.arange(len(index), device=index.device))
        return cls(index, inverse, parts, domains)


@lru_cache(maxsize=64)
def rows_of_domain(lengths: tuple[int, ...], domains: int, number: int) -> np.ndarray:
    """Places of a domain's rows among rows that lie domain after domain in each cloud, ``lengths`` (B D)."""
    starts = np.cumsum([0, *lengths])
    return host_table(_joined([(starts[i], starts[i + 1]) for i in range(number, len(lengths), domains)]))


@lru_cache(maxsize=64)
def rows_of_others(lengths: tuple[int, ...], domains: int) -> tuple[np.ndarray, tuple[int, ...]]:
    """For each domain of each cloud the places of the rows of the cloud's other domains, and how many there are."""
    starts = np.cumsum([0, *lengths])
    parts = []
    for i in range(len(lengths)):
        first = i - i % domains
        parts.append(_joined([(starts[k], starts[k + 1]) for k in range(first, first + domains) if k != i]))
    return host_table(np.concatenate(parts)), tuple(map(len, parts))


@lru_cache(maxsize=64)
def places_in_domain(lengths: tuple[int, ...], domains: int) -> np.ndarray:
    """The place of each row among those of its domain in all clouds, see :func:`rows_of_domain`."""
    places = np.empty(sum(lengths), np.int64)
    for number in range(domains):
        rows = rows_of_domain(lengths, domains, number)
        places[rows] = np.arange(len(rows))
    return host_table(places)


def _joined(ranges: Sequence[tuple[int, int]]) -> np.ndarray:
    return np.concatenate([np.empty(0, np.int64), *(np.arange(start, end) for start, end in ranges)])
