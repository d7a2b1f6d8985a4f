"""Clouds of several domains, each with targets of its own: the pressure on a body, velocity and pressure around it.

Letters: N points, N_d of a domain, d space dimensions, K target channels of all domains together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from pointcept_bsa.datasets.base import PointFieldDataset
from pointcept_bsa.datasets.statistics import RunningStatistics
from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.domains import DOMAIN, DOMAIN_NAMES

Arrays = Mapping[str, np.ndarray]


class Quantity(NamedTuple):
    """A target field of a domain: its unit and how many components it has (two or three: a vector)."""

    unit: str
    components: int = 1

    def channels(self, name: str) -> tuple[str, ...]:
        """Names of the components: "pressure", or "velocity_x" and so on."""
        if self.components == 1:
            return (name,)
        return tuple(f"{name}_{'xyz'[i] if self.components <= 3 else i}" for i in range(self.components))


class JointFieldDataset(PointFieldDataset):
    """A set of clouds whose points belong to domains; base class.

    A subclass sets ``domains`` (on the class, or before ``super().__init__``), in an order that is that of the integers
    in ``domain`` and of the channels of the target::

        domains = {
            "surface": {"pressure": Quantity("Pa"), "wall_shear": Quantity("Pa", 3)},
            "volume": {"velocity": Quantity("m/s", 3), "pressure": Quantity("Pa")},
        }

    and implements, instead of ``load_fields``:

    - ``load_domains(index) -> {domain: {field: array}}``: of each domain ``coord (N_d, d)``, its targets, other fields
      of its points if it has any, ``face (F, 3|4)`` of its points if it has them; physical units;
    - ``target_statistics()``, for which there is :meth:`statistics_of`;
    - ``load_globals(index)`` where there are fields of the whole cloud.

    A sample is one cloud, the points of the domains one after the other: ``domain (N,)`` int64, ``target (N, K)`` with
    a column for each component of each target of each domain, 0 in the rows of other domains (which nothing looks at),
    ``domain_names``, and the other fields with 0 where a domain has none. Targets are called "surface/pressure".

    Raises:
        InputError: a domain that is not declared, or that is missing or has no points in a sample.
    """

    domains: Mapping[str, Mapping[str, Quantity]] = {}

    def __init__(self, *args: Any, **options: Any) -> None:
        targets = target_quantities(self.domains)
        channels = [(key, name, q) for key, q in targets.items() for name in q.channels(key)]
        self.target_fields = tuple(targets)
        self.target_names = tuple(name for _, name, _ in channels)
        self.target_units = tuple(quantity.unit for _, _, quantity in channels)
        super().__init__(*args, **options)

    def load_domains(self, index: int) -> Mapping[str, Arrays]:
        raise NotImplementedError

    def load_globals(self, index: int) -> dict[str, np.ndarray]:
        """Return the fields (1, k) of the whole cloud, those of ``input_scales``; none here."""
        return {}

    def load_fields(self, index: int) -> dict[str, Any]:
        parts = self.load_domains(index)
        for name in (*self.domains, *parts):
            if name not in self.domains:
                raise InputError(f"{self.where(index, DOMAIN)}: domain {name!r} is none of {list(self.domains)}")
            if name not in parts or not len(parts[name]["coord"]):
                raise InputError(f"{self.where(index, DOMAIN)}: domain {name!r} has no points, wanted at least one")
        return {**join_domains(parts, self.domains), **self.load_globals(index)}

    def statistics_of(self, samples: Iterable[Mapping[str, Arrays]], source: str) -> dict[str, Any]:
        """Return what ``target_statistics`` does: of each channel over the points of its own domain.

        Args:
            samples: what ``load_domains`` gives.
            source: which samples they are.
        """
        targets = {key: RunningStatistics() for key in self.target_fields}
        for parts in samples:
            for key, statistics in targets.items():
                domain, _, field = key.partition("/")
                statistics.update(parts[domain][field])
        results = [statistics.result() for statistics in targets.values()]
        return {
            "mean": [value for result in results for value in result["mean"]],
            "std": [value for result in results for value in result["std"]],
            "source": source,
        }

    def notes(self) -> list[str]:
        return [f"{name}: {', '.join(fields)} at its points" for name, fields in self.domains.items()]

    def _checked_sample(self, index: int) -> dict[str, Any]:
        return {**super()._checked_sample(index), DOMAIN_NAMES: tuple(self.domains)}


def target_quantities(domains: Mapping[str, Mapping[str, Quantity]]) -> dict[str, Quantity]:
    """The targets of all domains in order, {"surface/pressure": Quantity("Pa")}. Raises InputError for none."""
    found = {f"{name}/{field}": quantity for name, fields in domains.items() for field, quantity in fields.items()}
    for name, fields in domains.items():
        if not fields or "/" in name:
            raise InputError(f"domains: got {name!r} with the fields {list(fields)}, wanted a name without / and some")
    if not found:
        raise InputError(f"domains: got {dict(domains)}, wanted at least one domain with its target fields")
    return found


def join_domains(parts: Mapping[str, Arrays], domains: Mapping[str, Mapping[str, Quantity]]) -> dict[str, np.ndarray]:
    """The points of all domains as one cloud: arrays with a row a point, and ``face`` where a domain has faces.

    Raises:
        InputError: a field with other columns in one domain than in another, faces of three and of four corners.
    """
    sizes = {name: len(parts[name]["coord"]) for name in domains}
    starts = dict(zip(domains, np.cumsum([0, *sizes.values()]), strict=False))
    joined: dict[str, np.ndarray] = {DOMAIN: np.repeat(np.arange(len(sizes)), list(sizes.values()))}
    faces = []
    for name in domains:
        for field, values in parts[name].items():
            if field == "face":
                faces.append(np.asarray(values) + starts[name])
                continue
            key = f"{name}/{field}" if field in domains[name] else field
            values = np.asarray(values)
            if key not in joined:
                joined[key] = np.zeros((sum(sizes.values()), *values.shape[1:]), values.dtype)
            if values.shape != (sizes[name], *joined[key].shape[1:]):
                raise InputError(
                    f"domain {name!r}: field {field!r} has shape {values.shape}, wanted "
                    f"{(sizes[name], *joined[key].shape[1:])}"
                )
            joined[key][starts[name] : starts[name] + sizes[name]] = values
    if len({face.shape[1] for face in faces}) > 1:
        raise InputError("domains: some faces have three corners, others four, wanted the same in all")
    return {**joined, **({"face": np.concatenate(faces)} if faces else {})}
