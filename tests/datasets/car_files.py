"""Small cars in the published formats of DrivAerML, AhmedML, WindsorML and DrivAerNet++, written by VTK.

The body is an ellipsoid, the volume a box of hexahedra and a few tetrahedra; fields are functions of the place, so that
a test can say what every row has to be.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pyvista = pytest.importorskip("pyvista")
vtk = pytest.importorskip("vtk")

GROUP = "F_D_WM_WW"


def pressure(points: np.ndarray) -> np.ndarray:
    return (1 - points[:, 0] ** 2 + 0.1 * points[:, 2]).astype(np.float32)


def vector(points: np.ndarray) -> np.ndarray:
    return np.stack([1 + points[:, 1], points[:, 2] - 2, 0.5 * points[:, 0]], axis=1).astype(np.float32)


def body(number: int, inward: bool = False):
    """A closed surface of triangles, other in each case."""
    mesh = pyvista.Sphere(radius=1.0, theta_resolution=12 + number % 3, phi_resolution=9).scale(
        [2.0 + 0.1 * number, 0.8, 0.6]
    )
    mesh.clear_data()
    return mesh.flip_faces() if inward else mesh


def box(number: int):
    """Hexahedra, tetrahedra and a polyhedron of twelve corners, a hexagonal prism."""
    grid = pyvista.ImageData(dimensions=(7, 6, 5), spacing=(1.0, 0.5, 0.5), origin=(-3, -1.25, 0))
    grid = grid.cast_to_unstructured_grid()
    tetrahedra = pyvista.ImageData(dimensions=(2, 2, 2), origin=(5 + number, 0, 0)).to_tetrahedra()
    mesh = grid.merge([tetrahedra, prism()], merge_points=False)
    mesh.clear_data()
    return mesh


def prism():
    """One cell of VTK's type 42: two hexagons and six quads."""
    angle = np.arange(6) * np.pi / 3
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points = vtk.vtkPoints()
    for height in (0.0, 1.0):
        for x, y in ring:
            points.InsertNextPoint(x - 6, y, height)
    faces = [list(range(6)), list(range(6, 12)), *([i, (i + 1) % 6, 6 + (i + 1) % 6, 6 + i] for i in range(6))]
    stream = vtk.vtkIdList()
    for number in [len(faces), *(n for face in faces for n in (len(face), *face))]:
        stream.InsertNextId(number)
    grid = vtk.vtkUnstructuredGrid()
    grid.SetPoints(points)
    grid.InsertNextCell(42, stream)
    return pyvista.wrap(grid)


def save(path: Path, mesh, mode: str = "inline") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    surface = isinstance(mesh, pyvista.PolyData)
    writer = vtk.vtkXMLPolyDataWriter() if surface else vtk.vtkXMLUnstructuredGridWriter()
    writer.SetInputData(mesh)
    writer.SetFileName(str(path))
    writer.SetHeaderTypeToUInt64()
    writer.SetCompressorTypeToNone() if mode == "inline" else writer.SetCompressorTypeToZLib()
    writer.SetDataMode(1 if mode == "inline" else 2)
    writer.SetEncodeAppendedData(False)
    writer.Write()


def save_legacy(path: Path, mesh) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mesh.save(path, binary=True)


def cell_centers(mesh) -> np.ndarray:
    """Means of the corners of each cell."""
    return np.array([mesh.get_cell(i).points.mean(axis=0) for i in range(mesh.n_cells)])


def drivaerml_case(root: Path, number: int) -> None:
    folder = root / f"run_{number}"
    surface, volume = body(number, inward=True), box(number)
    at, of = cell_centers(surface), cell_centers(volume)
    surface.cell_data["pMeanTrim"] = 756.177 * pressure(at)
    surface.cell_data["CpMeanTrim"] = pressure(at)
    surface.cell_data["wallShearStressMeanTrim"] = vector(at)
    volume.cell_data["UMeanTrim"], volume.cell_data["pMeanTrim"] = vector(of), pressure(of)
    volume.point_data["pMeanTrim"] = np.full(volume.n_points, 9e9, np.float32)  # a field of points of the same name
    save(folder / f"boundary_{number}.vtp", surface)
    save(folder / f"volume_{number}.vtu", volume)
    (folder / f"force_mom_constref_{number}.csv").write_text(
        f"Cd,Cs,Cl,Clf,Clr\n0.3{number:03d},0.01,-0.0{number},0.1,-0.15\n"
    )
    (folder / f"force_mom_{number}.csv").write_text("Cd,Cs,Cl,Clf,Clr\n9,9,9,9,9\n")  # with the area of the car


def ahmedml_case(root: Path, number: int) -> None:
    folder = root / f"run_{number}"
    surface, volume = body(number, inward=True), box(number)
    at, of = cell_centers(surface), cell_centers(volume)
    surface.cell_data["static(p)_coeffMean"], surface.cell_data["wallShearStressMean"] = pressure(at), vector(at)
    volume.cell_data["UMean"], volume.cell_data["pMean"] = vector(of), pressure(of)
    volume.cell_data["vorticityMean"] = 2 * vector(of)
    save(folder / f"boundary_{number}.vtp", surface)
    save(folder / f"volume_{number}.vtu", volume, "appended")
    (folder / f"force_mom_{number}.csv").write_text(f"cd, cl\n 0.2{number:03d}, 0.1{number}\n")


def windsorml_case(root: Path, number: int) -> None:
    folder = root / f"run_{number}"
    surface, volume = body(number), box(number)
    surface = surface.compute_normals(cell_normals=False, split_vertices=False, flip_normals=False)
    surface = surface.cast_to_unstructured_grid()
    at, of = np.asarray(surface.points), cell_centers(volume)
    surface.point_data["cpavg"] = pressure(at)
    for axis in (0, 2, 1):  # the order of the published files
        surface.point_data[f"cf{'xyz'[axis]}avg"] = vector(at)[:, axis]
    for axis in range(3):
        volume.cell_data[f"velocity{'xyz'[axis]}avg"] = vector(of)[:, axis]
    volume.cell_data["pressureavg"] = pressure(of)
    save(folder / f"boundary_{number}.vtu", surface, "appended")
    save(folder / f"volume_{number}.vtu", volume, "appended")
    (folder / f"force_mom_{number}.csv").write_text(f"cd,cs,cl,cmy\n0.28{number:03d},0.0,0.5{number},0.1\n")


def drivaernet_case(root: Path, number: int) -> None:
    name = f"{GROUP}_{number:04d}.vtk"
    surface, volume = body(number, inward=True), box(number)
    surface.point_data["p"] = pressure(np.asarray(surface.points))
    save_legacy(root / "PressureVTK" / GROUP / name, surface)
    order = np.random.default_rng(number).permutation(surface.n_points)  # the same points in another order
    other = pyvista.PolyData(np.asarray(surface.points)[order])
    other.point_data["wallShearStress"] = vector(np.asarray(surface.points))[order]
    save_legacy(root / "WallShearStressVTK_Updated" / GROUP / name, other)
    at = np.asarray(volume.points)
    volume.point_data["U"], volume.point_data["p"] = vector(at), pressure(at)
    save_legacy(root / "CFD" / f"{GROUP}_part1" / name, volume)


CASES = {
    "drivaerml": drivaerml_case,
    "ahmedml": ahmedml_case,
    "windsorml": windsorml_case,
    "drivaernet": drivaernet_case,
}


def raw_set(root: Path, name: str, numbers=range(1, 6)) -> Path:
    """A raw folder of a set with these cases and lists of them: the last two validate and test."""
    for number in numbers:
        CASES[name](root, number)
    cases = [f"{GROUP}_{n:04d}" if name == "drivaernet" else f"run_{n}" for n in numbers]
    if name == "drivaernet":
        rows = [f"DrivAer_{case},0.2{i},0.001" for i, case in enumerate(cases)]
        (root / "DrivAerNetPlusPlus_Cd_8k_Updated.csv").write_text(
            "\n".join(["Design,Average Cd,Std Cd", *rows]) + "\n"
        )
        lists = root / "splits"
        lists.mkdir()
        for part, names in zip(("train", "val", "test"), (cases[:-2], cases[-2:-1], cases[-1:]), strict=True):
            (lists / f"{part}_design_ids.txt").write_text("\n".join(names) + "\n")
    else:
        parts = {"train": cases[:-2], "val": cases[-2:-1], "test": cases[-1:]}
        manifest = {f"full_{part}": names for part, names in parts.items()}
        manifest |= {f"scarce_{part}": names[:1] for part, names in parts.items()}
        (root / "splits.json").write_text(json.dumps({"about": "made up", "splits": manifest}))
    return root


def splits_of(root: Path, name: str) -> str:
    return str(root / ("splits" if name == "drivaernet" else "splits.json"))


def command(name, raw, out, *more):
    return [name, "--src", str(raw), "--dst", str(out), "--splits", splits_of(raw, name), *more]
