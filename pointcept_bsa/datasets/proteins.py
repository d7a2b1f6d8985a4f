"""Protein surfaces: electrostatic potential on the solvent-excluded surfaces of 59 proteins.

Data: P. Gainza et al., "Deciphering interaction fingerprints from protein molecular surfaces using geometric deep
learning" (MaSIF), Nature Methods 17 (2020): surfaces and potentials of its comparison with SPPIDER; the potential is
that of the Poisson-Boltzmann equation, solved by APBS.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from pointcept_bsa.datasets.arrays import read_npz
from pointcept_bsa.datasets.folder_dataset import FolderDataset
from pointcept_bsa.datasets.prepare.samples import Arrays, check_offsets, check_shapes, source_file, write_samples
from pointcept_bsa.datasets.prepare.splits import drawn_protocol
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import DATASETS

SEED = 0
COUNTS = (39, 8, 12)
PROTOCOL = f"39/8/12, seed {SEED}"
# Of the formulas that make inputs of atoms, see the card; lengths in Angstrom.
COULOMB_LENGTHS = (2.0, 4.0, 8.0, 16.0)
DENSITY_LENGTHS = (1.5, 3.0)
KINDS = ("polar hydrogen", "other hydrogen", "carbon", "nitrogen", "oxygen", "sulfur")
ELEMENTS = (1, 6, 7, 8, 16)
FIELDS = ("coord", "normal", "potential", "coulomb", "atom_density", "atom_distance", "hbond", "hydropathy")
CLOSEST = 1.0  # A: distances below it count as this in the sums, which keeps them finite
REACH = 12.0  # A: atoms beyond it are left out of atom_density, and distances end there
POINTS_AT_ONCE = 2048
CARD = """# Protein surfaces, prepared

Electrostatic potential on the solvent-excluded surfaces of 59 proteins; one folder a protein, written by
`tools/prepare_data.py proteins`.

| file | shape | unit | meaning |
|---|---|---|---|
| coord.npy | (N, 3) float32 | A | vertices of the surface; their mean, the origin, is taken off (crystal axes stay) |
| normal.npy | (N, 3) float32 | 1 | outward unit normals |
| potential.npy | (N, 1) float32 | kT/e | potential of the Poisson-Boltzmann equation (APBS, PARSE charges, pdb2pqr) |
| coulomb.npy | (N, 4) float32 | e/A | screened sums of formal charges |
| atom_density.npy | (N, 12) float32 | 1/A | screened sums over atoms, by kind |
| atom_distance.npy | (N, 5) float32 | A | distance to the nearest atom of H, C, N, O, S, at most 12 |
| hbond.npy | (N, 1) float32 | 1 | hydrogen bond donor or acceptor, -1 .. 1, as in the source |
| hydropathy.npy | (N, 1) float32 | 1 | Kyte-Doolittle index of the residue, -4.5 .. 4.5, as in the source |
| face.npy | (F, 3) int32 | | triangles of the surface, as rows of coord |

With r the distance of an atom from the point, but at least 1 A, and q its formal charge (+1 on NZ of LYS, +0.5 on NH1
and NH2 of ARG, -0.5 on either oxygen of ASP's and GLU's carboxyl, none elsewhere: no termini, HIS neutral):

- coulomb, column k: sum over all atoms of q exp(-r / L_k) / r, L = 2, 4, 8, 16 A;
- atom_density, column 6 k + j: sum of exp(-r / L_k) / r over the atoms of kind j that lie within 12 A, L = 1.5, 3 A;
  kinds: hydrogen whose nearest other atom is not carbon, other hydrogen, carbon, nitrogen, oxygen, sulfur.

All of it follows from the atoms; the potential was not looked at. The unit of the potential is quoted from memory of
APBS's default. Values are rounded to 3 decimals in the source file.

Source: P. Gainza et al., "Deciphering interaction fingerprints from protein molecular surfaces using geometric deep
learning", Nature Methods 17 (2020); https://github.com/LPDI-EPFL/masif (Apache-2.0),
`comparison/masif_site/masif_vs_sppider/ground_truth/*.ply` and atoms of `sppider_pred/*.pdb`, converted to
`masif_pb_surface_59.npz`; formal charges were added there. Structures: Protein Data Bank. Licence: Apache-2.0.
Split by this package: 12 test, 8 validation, 39 training proteins, drawn by
`numpy.random.RandomState(0).permutation(59)` (the first 12 test, the next 8 validation). Statistics of the training
split are in `stats.json`.
"""


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


def prepare_proteins(src: str | None, dst: str, *, dry_run: bool = False, overwrite: bool = False) -> None:
    """Write the prepared folder ``dst`` from the file ``src``; finished samples of an earlier run are kept.

    A file of another number of proteins is divided in the same proportion, under a protocol of its own name.

    Raises:
        InputError: missing or foreign file, NaN in it, other data in ``dst``.
    """
    path = source_file(src, "masif_pb_surface_59.npz")
    keys = ("case", "offsets", "face_offsets", "atom_offsets", "points", "normals", "potential", "hbond", "hydropathy")
    atom_keys = ("atom_points", "atom_number", "atom_formal_charge")
    arrays = read_npz(path, (*keys, "faces", *atom_keys))
    _check(path, arrays)
    names = [str(case) for case in arrays["case"]]
    protocols = drawn_protocol(names, COUNTS, SEED, PROTOCOL)

    def rows(i: int, key: str, offsets: str = "offsets") -> np.ndarray:
        return arrays[key][arrays[offsets][i] : arrays[offsets][i + 1]]

    def load(name: str) -> tuple[Arrays, str]:
        i = names.index(name)
        points = rows(i, "points").astype(np.float64)
        atoms, number, charge = (rows(i, key, "atom_offsets") for key in atom_keys)
        face = rows(i, "faces", "face_offsets")
        if len(face) and not (0 <= face.min() and face.max() < len(points)):
            raise InputError(
                f"{path} {name}: faces name points {face.min()} to {face.max()}, wanted 0 to {len(points) - 1}"
            )
        _check_atoms(f"{path} {name}", atoms, number, charge)
        sample = {
            "coord": points - points.mean(axis=0),
            "normal": rows(i, "normals"),
            "coulomb": screened_charges(points, atoms, charge),
            "atom_density": atom_density(points, atoms, number),
            "atom_distance": atom_distance(points, atoms, number),
            "face": face,
        }
        sample |= {key: rows(i, key)[:, None] for key in ("potential", "hbond", "hydropathy")}
        return sample, f"{path} {name}"

    write_samples(dst, protocols, FIELDS, load, CARD, dry_run=dry_run, overwrite=overwrite, unit="proteins")


def screened_charges(points: np.ndarray, atoms: np.ndarray, charge: np.ndarray) -> np.ndarray:
    """Return (N, 4): sums over the atoms of charge exp(-r / L) / r for each L of ``COULOMB_LENGTHS``."""
    charged = charge != 0
    sums = np.zeros((len(points), len(COULOMB_LENGTHS)))
    for start in range(0, len(points), POINTS_AT_ONCE):
        part = slice(start, start + POINTS_AT_ONCE)
        r = np.maximum(cdist(points[part], atoms[charged]), CLOSEST)
        for k, length in enumerate(COULOMB_LENGTHS):
            sums[part, k] = (np.exp(-r / length) / r) @ charge[charged].astype(np.float64)
    return sums


def atom_density(points: np.ndarray, atoms: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Return (N, 12): sums of exp(-r / L) / r over the atoms of each kind within ``REACH``, for each L in turn."""
    pairs = cKDTree(points).sparse_distance_matrix(cKDTree(atoms), REACH, output_type="ndarray")  # (P,)
    kind = atom_kinds(atoms, number)[pairs["j"]]
    r = np.maximum(pairs["v"], CLOSEST)
    bins = pairs["i"] * len(KINDS) + kind
    size = len(points) * len(KINDS)
    sums = [np.bincount(bins, np.exp(-r / length) / r, minlength=size) for length in DENSITY_LENGTHS]
    return np.concatenate([s.reshape(len(points), len(KINDS)) for s in sums], axis=1)


def atom_kinds(atoms: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Return the kind of each atom (A,), an index of ``KINDS``; a hydrogen is polar unless a carbon is its nearest."""
    kind = np.searchsorted(ELEMENTS, number) + 1  # other hydrogen, carbon, nitrogen, oxygen, sulfur
    hydrogen, heavy = np.flatnonzero(number == 1), np.flatnonzero(number != 1)
    if len(hydrogen) and len(heavy):
        bound_to = heavy[cKDTree(atoms[heavy]).query(atoms[hydrogen])[1]]
        kind[hydrogen[number[bound_to] != 6]] = 0
    return kind


def atom_distance(points: np.ndarray, atoms: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Return (N, 5): distance to the nearest atom of each of ``ELEMENTS``, at most ``REACH``."""
    distances = np.full((len(points), len(ELEMENTS)), REACH)
    for k, element in enumerate(ELEMENTS):
        if np.any(number == element):
            nearest = cKDTree(atoms[number == element]).query(points)[0]
            distances[:, k] = np.minimum(nearest, REACH)
    return distances


def _check(path: Path, arrays: Arrays) -> None:
    count, points, atoms, faces = (len(arrays[key]) for key in ("case", "points", "atom_points", "faces"))
    check_offsets(path, arrays["offsets"], count, points)
    check_offsets(path, arrays["face_offsets"], count, faces)
    check_offsets(path, arrays["atom_offsets"], count, atoms)
    scalars = dict.fromkeys(("potential", "hbond", "hydropathy"), (points,))
    of_atoms = {"atom_points": (atoms, 3), "atom_number": (atoms,), "atom_formal_charge": (atoms,)}
    vectors = {"points": (points, 3), "normals": (points, 3), "faces": (faces, 3)}
    check_shapes(path, arrays, {**vectors, **scalars, **of_atoms})
    for key in ("faces", "atom_number"):
        if arrays[key].dtype.kind not in "iu":
            raise InputError(f"{path}: {key!r} holds {arrays[key].dtype} values, wanted integers")
    names, times = np.unique(arrays["case"], return_counts=True)
    if np.any(times > 1):
        raise InputError(f"{path}: 'case' names {names[times > 1].tolist()} more than once, wanted each protein once")


def _check_atoms(where: str, atoms: np.ndarray, number: np.ndarray, charge: np.ndarray) -> None:
    """Raise ``InputError`` for atoms that are nowhere or of other elements than ``ELEMENTS``."""
    if not np.isfinite(atoms).all() or not np.isfinite(charge).all():
        raise InputError(f"{where}: places or charges of atoms are NaN or infinite, wanted numbers")
    unknown = sorted(set(np.unique(number).tolist()) - set(ELEMENTS))
    if unknown:
        raise InputError(f"{where}: has atoms of the elements {unknown}, wanted {list(ELEMENTS)}")
