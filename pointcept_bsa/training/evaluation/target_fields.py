"""Which numbers are taken of a target: of several fields each has its own, in its own unit.

A target of one field has a metric under its plain name, "relative_l2". Of several, say pressure and velocity, numbers
over Pa and m/s together mean nothing: in physical units each field has its own, "velocity/relative_l2", and the plain
name stands for all channels together in normalised units alone. Vectors stay vectors: their errors are of the whole
vector, and two more metrics say how wrong length and direction are.

Where points belong to domains (surface, volume), a field is judged at the points of its own domain:
"surface/pressure/relative_l2". All fields of a domain together are "surface/relative_l2" in normalised units, and the
plain name is the mean over the domains: each counts the same, however many points it has.

``N`` points of ``B`` clouds, ``K`` target channels, ``k`` channels of a field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.geometry.domains import DOMAIN
from pointcept_bsa.metrics import VECTOR_METRICS, base_metric, relative_l2
from pointcept_bsa.training.evaluation.training_range import field_channels, target_of

NO_UNIT = {"relative_l2": "1", "r2": "1", "angle": "degrees", "nll": "nat", "ause": "1"}
NO_UNIT |= {"coverage_68": "1", "coverage_95": "1"}


class TargetField(NamedTuple):
    """A field of the target: channels ``first`` to ``first + width - 1`` of K.

    ``constants`` (k) is what samples are without, see ``datasets.inputs``: lengths and directions are of whole vectors.
    ``domain`` is the number of the domain at whose points it is; None: at all points.
    """

    name: str
    first: int
    width: int
    unit: str
    constants: tuple[float, ...] = ()
    domain: int | None = None

    @property
    def is_vector(self) -> bool:
        """Whether it has two or three components."""
        return self.width in (2, 3)


class Measure(NamedTuple):
    """The number ``name``: a metric of channels ``columns``, to which ``constants`` are added before.

    ``domain``: over the points of that domain alone. ``parts``: the mean of these instead.
    """

    name: str
    metric: str
    unit: str
    columns: slice = slice(None)
    constants: tuple[float, ...] = ()
    domain: int | None = None
    parts: tuple[Measure, ...] = ()

    def of(self, values: Tensor) -> Tensor:
        """(N, k) what is judged of values (N, K)."""
        own = values[:, self.columns]
        return own + own.new_tensor(self.constants) if any(self.constants) else own

    def apply(
        self,
        function: Callable[..., Tensor],
        values: Sequence[Tensor],
        offset: Tensor,
        domain: Tensor | None = None,
        variance: Tensor | None = None,
    ) -> Tensor:
        """(B,) the metric ``function`` of what is judged of ``values``, prediction and target (N, K)."""
        if self.parts:
            return torch.stack([part.apply(function, values, offset, domain, variance) for part in self.parts]).mean(0)
        found = [self.of(each) for each in values]
        spread = [] if variance is None else [variance[:, self.columns]]
        if self.domain is not None:
            rows, offset = points_of(self.domain, domain, offset)
            found, spread = [each[rows] for each in found], [each[rows] for each in spread]
        return function(*found, offset, *spread)


def points_of(number: int, domain: Tensor | None, offset: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) which points are of a domain, and the cumulative numbers of them (B,). Raises InputError without domains."""
    if domain is None:
        raise InputError(f"{DOMAIN}: missing from the batch, wanted it among the keys of CollectPoints")
    rows = domain == number
    return rows, rows.cumsum(0)[offset - 1]


def target_fields(dataset: Any) -> tuple[TargetField, ...]:
    """The fields of a data set's target; none of a data set that does not tell, whose target counts as one field."""
    if not getattr(dataset, "target_fields", ()) or not dataset.target_names:
        return ()
    names, units = dataset.target_fields, dataset.target_units
    # A sample is read only to tell several apart.
    widths = [len(dataset.target_names)] if len(names) == 1 else [width for _, width in target_of(dataset)["fields"]]
    constants = [float(c) for c in dataset.target_offset()] if hasattr(dataset, "target_offset") else []
    domains, found = list(getattr(dataset, "domains", ())), []
    for name, own in field_channels(zip(names, widths, strict=True)):
        unit, domain = ", ".join(dict.fromkeys(units[own])), domains.index(domain_of(name)) if domains else None
        found.append(TargetField(name, own.start, own.stop - own.start, unit, tuple(constants[own]), domain))
    return tuple(found)


def domain_of(name: str) -> str:
    """The domain of a target of a data set with domains: "surface" of "surface/pressure"."""
    return name.partition("/")[0]


def measures(metrics: Sequence[str], fields: Sequence[TargetField], normalized: bool = False) -> tuple[Measure, ...]:
    """What is measured in physical or in normalised units; see the head of this file for the names.

    Metrics of vectors are taken of fields that are vectors, and in physical units, which have directions.
    """
    plain = [name for name in metrics if name not in VECTOR_METRICS]
    several = len(fields) > 1
    found = []
    if not several or normalized:
        unit = fields[0].unit if fields and not several else ""
        for name in plain:
            parts = parts_of(name, fields)
            found += [Measure(name, name, "1" if normalized else unit_of(name, unit), parts=parts), *parts]
    for metric in () if normalized and not several else metrics:
        for field in fields:
            columns = slice(field.first, field.first + field.width)
            is_vector = field.is_vector and not normalized
            if metric in VECTOR_METRICS and is_vector or metric not in VECTOR_METRICS and several:
                name = f"{field.name}/{metric}" if several else metric
                unit = "1" if normalized else unit_of(metric, field.unit)
                constants = field.constants if metric in VECTOR_METRICS else ()
                found.append(Measure(name, metric, unit, columns, constants, field.domain))
    return tuple(found)


def parts_of(metric: str, fields: Sequence[TargetField]) -> tuple[Measure, ...]:
    """A metric of all fields of each domain together, in normalised units; none where there are no domains."""
    found = []
    for number in dict.fromkeys(field.domain for field in fields if field.domain is not None):
        own = [field for field in fields if field.domain == number]
        columns = slice(own[0].first, own[-1].first + own[-1].width)
        found.append(Measure(f"{domain_of(own[0].name)}/{metric}", metric, "1", columns, domain=number))
    return tuple(found)


def unit_of(metric: str, unit: str) -> str:
    """The unit of a metric of a field that is in ``unit``."""
    if metric in NO_UNIT:
        return NO_UNIT[metric]
    if metric != "mse" or unit in ("", "1", "unknown"):
        return unit
    return f"{unit}^2" if unit.replace("_", "").isalpha() else f"({unit})^2"


def pooled_units(model: Any, fields: Sequence[TargetField], *values: Tensor) -> tuple[Tensor, ...]:
    """Values (N, K) in which channels may be put together: as they are of one field, else normalised."""
    normalizer = getattr(model, "normalizer", None)
    if len(fields) < 2 or normalizer is None:
        return values
    return tuple(normalizer.normalize(each) for each in values)


def outweighed(criteria: Iterable[Any], fields: Sequence[TargetField]) -> str | None:
    """A line about a loss that takes several fields together in their own units; None: there is none.

    An error of 1% of a pressure of 1000 Pa then counts as much as 100% of a velocity of 10 m/s.
    """
    names = [type(criterion).__name__ for criterion in criteria if getattr(criterion, "physical", False)]
    if not names or len(fields) < 2:
        return None
    told = ", ".join(f"{field.name} [{field.unit}]" for field in fields)
    return (
        f"model.criteria: {names[0]} takes {told} TOGETHER IN THEIR OWN UNITS: the field of the largest numbers "
        "outweighs the others; with physical=False each counts in its own spread"
    )


def pooled_relative_l2(
    model: Any, fields: Sequence[TargetField], pred: Tensor, target: Tensor, batch: Mapping[str, Any]
) -> Tensor:
    """(B,) relative L2 of all channels put together, see :func:`pooled_units` and the head of this file."""
    measure = Measure("relative_l2", "relative_l2", "1", parts=parts_of("relative_l2", fields))
    return measure.apply(relative_l2, pooled_units(model, fields, pred, target), batch["offset"], batch.get(DOMAIN))


def check_key(key: str, metrics: Sequence[str], fields: Sequence[TargetField], argument: str) -> None:
    """Raise ``InputError`` unless ``key`` is one of the numbers that are measured."""
    known = dict.fromkeys(m.name for m in (*measures(metrics, fields), *measures(metrics, fields, normalized=True)))
    if key not in known:
        raise InputError(f"{argument}: got {key!r}, wanted one of {list(known)}{nearest(key, known)}")


def key_value(values: Mapping[str, Any], normalized: Mapping[str, Any], key: str) -> Any:
    """The number ``key`` of a sample or a summary: the physical one, else (all fields together) the normalised one.

    Raises:
        InputError: all fields together, of a model without a normaliser.
    """
    if key in values:
        return values[key]
    if key in normalized:
        return normalized[key]
    own = [name for name in values if base_metric(name) == key and name != key]
    raise InputError(
        f"key: {key!r} of several fields is of normalised units, and the model has no normalizer, wanted one of {own}"
    )
