"""ShapeNet-Car: pressure of the air on 889 car surfaces.

Data: N. Umetani, B. Bickel, "Learning three-dimensional flow for interactive aerodynamic design", ACM TOG 37(4), 2018.
Raw data become the prepared folder by ``tools/prepare_data.py shapenet_car``.
"""

from __future__ import annotations

from typing import Any

from pointcept_bsa.datasets.base import PointFieldDataset
from pointcept_bsa.datasets.prepared import PreparedFolder
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.host import DATASETS

VALIDATIONS = ("holdout", "test")
PUBLISHED_PRESSURE = {"mean": [-36.3099], "std": [48.5743]}  # protocol A, as Erwin and BSA normalise


@DATASETS.register_module()
class ShapeNetCarDataset(PointFieldDataset):
    """Surface points of a car (N, 3) -> pressure (N, 1).

    Args:
        protocol: "A" (700 train, 189 test: UPT, Erwin, BSA), "B" (789 train, 100 test: Transolver, AB-UPT), "mini"
            (three real cars and one), "mini24" (14 and 10 real cars, of this package), "partial"; None: the default
            that the prepared folder names.
        validation: "holdout": validation samples are drawn from the training samples and left out of training;
            "test": the papers' way: train on the whole training split, validate on the test samples.
        with_face: also give ``face (F, 3|4)`` where the folder has it.
        with_normal: also give the outward ``normal (N, 3)``, which a folder of protocol "mini24" has.
        split, data_root, transform, test_mode, test_cfg, cache, loop: see ``PointFieldDataset``.

    The data lie along: x width, y height, z length, the flow along +z. Pressure is the solver's, at density 1.
    Vertex i lies at the same place of every car: a leak for whatever looks at the order of the points.
    """

    name = "shapenet_car"
    target_fields = ("pressure",)
    target_names = ("pressure",)
    target_units = ("Pa",)
    vertices_correspond = True
    up_axis = "y"
    surface_pressure = {"density": 1.0, "velocity": 20.0, "flow": [0.0, 0.0, 1.0], "up": [0.0, 1.0, 0.0]}

    def __init__(
        self,
        split: str = "train",
        data_root: str = "data/shapenet_car",
        protocol: str | None = None,
        validation: str = "holdout",
        with_face: bool = True,
        with_normal: bool = False,
        **common: Any,
    ) -> None:
        if validation not in VALIDATIONS:
            raise InputError(
                f"validation: got {validation!r}, wanted one of {list(VALIDATIONS)}{nearest(validation, VALIDATIONS)}"
            )
        self.folder = PreparedFolder(data_root, prepare_hint(data_root))
        self.protocol = self.folder.choose_protocol(protocol)
        self.validation = validation
        self.with_face = with_face
        self.with_normal = with_normal
        super().__init__(split=split, data_root=data_root, **common)

    def list_samples(self) -> list[str]:
        lists = self.folder.split(self.protocol)
        if self.split == "test":
            return list(lists["test"])
        if self.validation == "test":
            return list(lists["train" if self.split == "train" else "test"])
        if self.split == "val":
            return list(lists["holdout"])
        held_out = set(lists["holdout"])
        return [name for name in lists["train"] if name not in held_out]

    def load_fields(self, index: int) -> dict[str, Any]:
        name = self.data_list[index]
        fields = {
            "coord": self.folder.read(name, "coord", (None, 3)),
            "pressure": self.folder.read(name, "pressure", (None,)),
        }
        if self.with_face and self.folder.file(name, "face").is_file():
            fields["face"] = self.folder.read(name, "face", (None, None), kind="iu")
        if self.with_normal:
            if not self.folder.file(name, "normal").is_file():
                raise InputError(
                    f"with_normal: got True, but {self.folder.root} holds no normals, wanted the data of protocol "
                    f"mini24 or with_normal=False"
                )
            fields["normal"] = self.folder.read(name, "normal", (None, 3))
        return fields

    def where(self, index: int, field: str) -> str:
        return str(self.folder.file(self.data_list[index], field))

    def target_statistics(self) -> dict[str, Any]:
        if self.protocol == "A":
            return {**PUBLISHED_PRESSURE, "source": "published constants, protocol A"}
        stats = self.folder.field_statistics(self.protocol, "pressure")
        return {"mean": stats["mean"], "std": stats["std"], "source": f"training split, protocol {self.protocol}"}

    def protocol_name(self) -> str:
        return self.protocol

    def notes(self) -> list[str]:
        notes = ["pressure of the solver at density 1"]
        if self.protocol == "mini24":
            notes.append("24 cars, split by this package: not to be compared with published numbers")
        if self.protocol == self.folder.default_protocol:
            notes.append("protocol is the default of the prepared folder")
        if self.validation == "test":
            notes.append("validation = test samples (the paper's protocol)")
            return notes
        held_out = self.folder.split(self.protocol)["holdout"]
        if held_out:
            notes.append(f"validation = {len(held_out)} samples held out of the training split")
        else:
            notes.append("no validation samples")
        return notes


def prepare_hint(data_root: str) -> str:
    """Return the commands that make the prepared folder, for error messages."""
    command = f"python tools/prepare_data.py shapenet_car --dst {data_root}"
    return f"{command} --src <mlcfd_data folder> (or, to fetch the raw data: {command} --download)"
