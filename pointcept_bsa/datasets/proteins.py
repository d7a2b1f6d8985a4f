"""Protein surfaces: electrostatic potential on the solvent-excluded surfaces of 59 proteins.

Data: P. Gainza et al., "Deciphering interaction fingerprints from protein molecular surfaces using geometric deep
learning" (MaSIF), Nature Methods 17 (2020): surfaces and potentials of its comparison with SPPIDER; the potential is
that of the Poisson-Boltzmann equation, solved by APBS.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pointcept_bsa.datasets.folder_dataset import FolderDataset
from pointcept_bsa.host import DATASETS

SEED = 0
COUNTS = (39, 8, 12)
PROTOCOL = f"39/8/12, seed {SEED}"
# Of the formulas that make inputs of atoms, see the card (prepare/proteins.py); lengths in Angstrom.
COULOMB_LENGTHS = (2.0, 4.0, 8.0, 16.0)
DENSITY_LENGTHS = (1.5, 3.0)
KINDS = ("polar hydrogen", "other hydrogen", "carbon", "nitrogen", "oxygen", "sulfur")
ELEMENTS = (1, 6, 7, 8, 16)


@DATASETS.register_module()
class ProteinSurfaceDataset(FolderDataset):
    """Vertices of a protein's surface (N, 3), N = 4135 .. 13891 -> electrostatic potential (N, 1).

    Coordinates in Angstrom about the mean of the vertices, axes as in the crystal: the potential does not know them, so
    that turned proteins are further samples. The potential has heavy tails (-28 .. 21, standard deviation 1).

    Args:
        data_root: the folder that ``tools/prepare_data.py proteins`` made.
        fields: given beside the coordinates: "normal" (N, 3), outward; "coulomb" (N, 4), screened sums of formal
            charges; "atom_density" (N, 12), screened sums over the atoms of each kind; "atom_distance" (N, 5), to the
            nearest atom of each element; "hbond" (N, 1) and "hydropathy" (N, 1), as in the source. Formulas: the card.
        with_face: also give ``face (F, 3)`` where the folder has it.
        split, transform, test_mode, test_cfg, cache, loop: see ``PointFieldDataset``.

    Raises:
        InputError: missing or foreign data, an unknown field.
    """

    name = "protein_surface"
    command = "proteins"
    raw = "masif_pb_surface_59.npz"
    columns = {
        "potential": 1,
        "normal": 3,
        "coulomb": len(COULOMB_LENGTHS),
        "atom_density": len(DENSITY_LENGTHS) * len(KINDS),
        "atom_distance": len(ELEMENTS),
        "hbond": 1,
        "hydropathy": 1,
    }
    target_fields = ("potential",)
    target_names = ("potential",)
    target_units = ("kT/e",)

    def __init__(
        self,
        split: str = "train",
        data_root: str = "data/proteins",
        fields: Sequence[str] = ("normal", "coulomb", "atom_density", "atom_distance", "hbond", "hydropathy"),
        with_face: bool = True,
        **common: Any,
    ) -> None:
        self.with_face = with_face
        super().__init__(split, data_root, fields=fields, **common)

    def load_fields(self, index: int) -> dict[str, Any]:
        fields = super().load_fields(index)
        name = self.data_list[index]
        if self.with_face and self.folder.file(name, "face").is_file():
            fields["face"] = self.folder.read(name, "face", (None, 3), kind="iu")
        return fields

    def notes(self) -> list[str]:
        return ["split by this package; nothing published to compare with", "unit of the potential: APBS's default"]
