"""Raw files of own data for tests, and the command that prepares them."""

from __future__ import annotations

import numpy as np

from pointcept_bsa.datasets.point_field import CustomFieldDataset
from pointcept_bsa.mesh_io import Mesh, write_mesh

MORE = ("--feature", "wall_distance,mach", "--wall-mask", "wall", "--unit", "Static Pressure=Pa")


def surface(seed):
    """An ellipsoid of random size as quads, with its fields."""
    rng = np.random.default_rng(seed)
    rings, sides = int(rng.integers(4, 9)), int(rng.integers(5, 12))
    u, v = np.meshgrid(
        np.linspace(0.3, np.pi - 0.3, rings), np.linspace(0, 2 * np.pi, sides, endpoint=False), indexing="ij"
    )
    unit = np.stack([np.sin(u) * np.cos(v), np.sin(u) * np.sin(v), np.cos(u)], axis=-1).reshape(-1, 3)
    points = (unit * rng.uniform(0.5, 2, 3)).astype(np.float32).astype(np.float64)
    i, j = np.meshgrid(np.arange(rings - 1), np.arange(sides), indexing="ij")
    right = (j + 1) % sides
    quads = np.stack([i * sides + j, (i + 1) * sides + j, (i + 1) * sides + right, i * sides + right], axis=-1).reshape(
        -1, 4
    )
    mesh = Mesh(points, {"quad": quads})
    mesh.point_data = {
        "Static Pressure": (points[:, 0] + seed).astype(np.float32),
        "velocity": np.stack([points[:, 1], points[:, 2], np.zeros(len(points))], axis=1).astype(np.float32),
        "wall": (points[:, 2] < 0).astype(np.float32),
    }
    mesh.cell_data = {"area": np.arange(len(quads), dtype=np.float32)}
    mesh.field_data = {"mach": np.array([0.1 * seed])}
    return mesh


def write_sample(folder, name, suffix, mesh):
    folder.mkdir(parents=True, exist_ok=True)
    if suffix == "npz":
        arrays = dict(mesh.point_data)
        np.savez(
            folder / f"{name}.npz", coord=mesh.points, face=mesh.cells["quad"], mach=mesh.field_data["mach"], **arrays
        )
    elif suffix == "folder":
        (folder / name).mkdir()
        for key, values in {"coord": mesh.points, **mesh.point_data, **mesh.field_data}.items():
            np.save(folder / name / f"{key}.npy", values)
    else:
        write_mesh(folder / f"{name}.{suffix}", mesh)


def open_all(**arguments):
    return {split: CustomFieldDataset(split, **arguments) for split in ("train", "val", "test")}


def prepare(tool, root, out, *more):
    return tool.main(["custom", "--src", str(root), "--dst", str(out), "--target", "Static Pressure", *more])


def far_files(folder, spread=0.0):
    """Points 0.1 m apart at UTM coordinates, a pressure of 0.01 Pa about 101325 Pa; ``spread``: of the samples."""
    folder.mkdir()
    x, y = (axis.ravel() * 0.1 for axis in np.meshgrid(np.arange(20), np.arange(20)))
    meshes = {}
    for i in range(6):
        points = np.stack([x, y, np.sin(x)], axis=1) + [501234.0 + i * spread, 5212345.0, 300.0 + 0.01 * i]
        meshes[f"s{i}"] = Mesh(points, point_data={"p": 101325 + 0.01 * np.sin(x + i), "t": 1e6 + 1e-3 * y})
        np.savez(folder / f"s{i}.npz", points=points, **meshes[f"s{i}"].point_data)
    return meshes
