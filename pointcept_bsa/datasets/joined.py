"""Data sets of one domain each as one of several: your own files of surfaces and of volumes, or both of a car set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pointcept_bsa.datasets.base import PointFieldDataset
from pointcept_bsa.datasets.domains import JointFieldDataset, Quantity
from pointcept_bsa.datasets.inputs import InputDescription
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.geometry.domains import DOMAIN
from pointcept_bsa.host import DATASETS, build_dataset


@DATASETS.register_module()
class JoinedDataset(JointFieldDataset):
    """Samples of the same name of several data sets, each a domain of one cloud.

    Args:
        split: "train", "val" or "test", of all of them.
        parts: {"surface": config of a data set, "volume": ...} without split and transform, in the order of the
            domains; their samples have the same names in each split.
        box: the part whose own scaling of coordinates is that of the cloud; None: coordinates stay as they are.
        data_root: must stay None; the parts have theirs.
        transform, test_mode, test_cfg, cache, loop, share: see ``PointFieldDataset``.

    Raises:
        InputError: no parts, samples that are not in all of them, constants far from 0 (see ``datasets.inputs``).
    """

    name = "joined"

    def __init__(
        self,
        split: str = "train",
        parts: Mapping[str, Mapping[str, Any]] | None = None,
        box: str | None = None,
        data_root: str | None = None,
        transform: Sequence[dict] | None = None,
        **common: Any,
    ) -> None:
        if not parts or data_root is not None:
            raise InputError(f"parts: got {parts!r}, data_root {data_root!r}, wanted dict(surface=dict(type=...), ...)")
        if box is not None and box not in parts:
            raise InputError(f"box: got {box!r}, wanted one of {list(parts)}{nearest(box, list(parts))}")
        mode = {"test_mode": True} if common.get("test_mode") else {}
        self.parts = {name: build_dataset({**part, **mode, "split": split}) for name, part in parts.items()}
        for name, part in self.parts.items():
            self._check(name, part)
        self.domains = {name: quantities(part) for name, part in self.parts.items()}
        pressures = [pressure_of(name, part) for name, part in self.parts.items() if part.surface_pressure is not None]
        self.surface_pressure = pressures[0] if pressures else None
        first = next(iter(self.parts.values()))
        self.up_axis = first.up_axis
        self.box = self.parts[box].input_description.transform if box is not None else ()
        if box is not None and not self.box:
            raise InputError(
                f"box: got {box!r}, a part that scales no coordinates, wanted one that does (scale_to_box=True of own "
                "data), or None"
            )
        super().__init__(split=split, data_root=None, transform=[*self.box, *(transform or ())], **common)

    def list_samples(self) -> Sequence[str]:
        return next(iter(self.parts.values())).data_list

    def load_domains(self, index: int) -> dict[str, dict[str, np.ndarray]]:
        scales = self.input_scales()
        found = {}
        for name, part in self.parts.items():
            fields = part.load_fields(part.data_list.index(self.data_list[index]))
            found[name] = {key: values for key, values in fields.items() if key not in scales}
        return found

    def surface_elements(self, index: int) -> dict[str, np.ndarray] | None:
        """As ``CarSetDataset`` has them, of the part whose pressure forces follow from; area 0 in other domains."""
        name = str((self.surface_pressure or {}).get("field", "")).partition("/")[0]
        part: Any = self.parts.get(name)
        if not hasattr(part, "surface_elements"):
            return None
        domain = self.get_data(index)[DOMAIN]
        own = part.surface_elements(part.data_list.index(self.data_list[self._index(index)]))
        rows = np.flatnonzero(domain == list(self.parts).index(name))
        if own is None or len(own["area"]) != len(rows):
            return None
        normal, area = np.zeros((len(domain), 3)), np.zeros(len(domain))
        normal[rows], area[rows] = own["normal"], own["area"]
        return {"normal": normal, "area": area}

    def load_globals(self, index: int) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        for part in self.parts.values() if self.input_scales() else ():
            fields = part.load_fields(part.data_list.index(self.data_list[index]))
            found = {key: fields[key] for key in part.input_scales()} | found
        return found

    def input_scales(self) -> dict[str, dict[str, list[float]]]:
        found: dict[str, dict[str, list[float]]] = {}
        for part in self.parts.values():
            found = part.input_scales() | found
        return found

    def describe_inputs(self) -> InputDescription:
        return InputDescription(scales=self.input_scales(), transform=tuple(self.box))

    def target_statistics(self) -> dict[str, Any]:
        found = [part.target_statistics() for part in self.parts.values()]
        return {
            "mean": [value for each in found for value in each["mean"]],
            "std": [value for each in found for value in each["std"]],
            "source": found[0]["source"],
        }

    def protocol_name(self) -> str:
        return ", ".join(dict.fromkeys(part.protocol_name() for part in self.parts.values()))

    def notes(self) -> list[str]:
        return [*super().notes(), *(f"{name}: {note}" for name, part in self.parts.items() for note in part.notes())]

    def _check(self, name: str, part: Any) -> None:
        if not isinstance(part, PointFieldDataset) or part.domains:
            raise InputError(f"parts.{name}: {type(part).__name__} is no set of fields on points of one domain")
        if part.input_description.offsets:
            far = dict(part.input_description.offsets)
            raise InputError(f"parts.{name}: {list(far)} are far from 0 ({far}), wanted values near 0 to join domains")
        first, others = next(iter(self.parts.items()))
        odd = sorted(set(others.data_list) ^ set(part.data_list))
        if odd:
            raise InputError(
                f"parts.{name}: samples {odd[:3]} of the {part.split} split are not in both {first!r} and {name!r} "
                f"({len(odd)} in all), wanted the same"
            )


def quantities(part: PointFieldDataset) -> dict[str, Quantity]:
    """Units and components of the targets of a data set, by the first sample."""
    if not part.data_list:
        kind = type(part).__name__
        raise InputError(f"parts: {kind} has no samples in the split {part.split!r}, wanted at least one")
    sample, found, first = part.load_fields(0), {}, 0
    for name in part.target_fields:
        components = int(np.prod(sample[name].shape[1:], dtype=int))
        found[name] = Quantity(part.target_units[first], components)
        first += components
    return found


def pressure_of(name: str, part: PointFieldDataset) -> dict[str, Any]:
    """``surface_pressure`` of a part, its fields by the names they have here."""
    known = dict(part.surface_pressure or {})
    known.setdefault("field", part.target_fields[0])
    return {**known, **{key: f"{name}/{known[key]}" for key in ("field", "shear") if known.get(key)}}
