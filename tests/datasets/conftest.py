"""Small raw data written by the tests."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).parent))  # files of tests: custom_files, car_files


def load_tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{name}_tool", REPOSITORY / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def prepare_tool() -> ModuleType:
    return load_tool("prepare_data")


@pytest.fixture(scope="session")
def predict_tool() -> ModuleType:
    return load_tool("predict")


def vtk_text(points: np.ndarray, quads: np.ndarray) -> str:
    """A legacy ASCII VTK file as the raw data have them."""
    lines = ["# vtk DataFile Version 2.0", "quad mesh", "ASCII", "DATASET UNSTRUCTURED_GRID"]
    lines += [f"POINTS {len(points)} float", *(" ".join(f"{x:.7g}" for x in p) for p in points)]
    lines += [f"CELLS {len(quads)} {5 * len(quads)}", *("4 " + " ".join(map(str, q)) for q in quads)]
    lines += [f"CELL_TYPES {len(quads)}", *(["9"] * len(quads))]
    return "\n".join(lines) + "\n"


def raw_arrays(num_points: int, loose: slice, seed: int) -> dict[str, np.ndarray]:
    """Points, pressures and quads that use every point but those of ``loose``."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-2, 2, size=(num_points, 3)).astype(np.float32)
    used = np.delete(np.arange(num_points), loose)
    quads = np.array([np.roll(used, -3 * i)[:4] for i in range(-(-len(used) // 3))])
    return {"points": points, "quads": quads, "pressure": rng.normal(-36, 48, num_points).astype(np.float32)}


@pytest.fixture(scope="session")
def make_raw_car() -> Callable[..., dict[str, np.ndarray]]:
    """``make_raw_car(folder, num_points, loose, seed)`` writes one car as mlcfd_data has it; returns its arrays."""

    def make(folder: Path, num_points: int = 240, loose: slice = slice(16, 40), seed: int = 0) -> dict[str, np.ndarray]:
        arrays = raw_arrays(num_points, loose, seed)
        folder.mkdir(parents=True)
        (folder / "quadpress_smpl.vtk").write_text(vtk_text(arrays["points"], arrays["quads"]))
        np.save(folder / "press.npy", arrays["pressure"])
        return arrays

    return make


@pytest.fixture
def files(tmp_path):
    """Twelve samples of own data, of five kinds of files, and their meshes."""
    from custom_files import surface, write_sample

    kinds = ["vtp", "npz", "vtu", "vtk", "folder"]
    meshes = {f"s{i:02d}": surface(i) for i in range(12)}
    for i, (name, mesh) in enumerate(meshes.items()):
        write_sample(tmp_path / "raw", name, kinds[i % len(kinds)], mesh)
    return tmp_path / "raw", meshes


@pytest.fixture(scope="session")
def whole(tmp_path_factory, prepare_tool):
    """A prepared DrivAerML and its raw folder, for copies that a test may change."""
    car_files = pytest.importorskip("car_files", reason="pyvista, which writes the raw files, is missing")
    folder = tmp_path_factory.mktemp("whole")
    raw, out = car_files.raw_set(folder / "raw", "drivaerml"), folder / "out"
    assert prepare_tool.main(car_files.command("drivaerml", raw, out)) == 0
    return raw, out


@pytest.fixture
def copied(whole, tmp_path):
    raw, out = (Path(shutil.copytree(folder, tmp_path / folder.name)) for folder in whole)
    return raw, out
