"""What is fuzzed: each reader, with small valid files of its kind."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from fuzz_meshes import (
    CSV_TEXTS,
    PLY_TEXT,
    STL_TEXT,
    VTK_BYTES,
    VTK_FIVE,
    VTK_GRID,
    VTK_POLYGONS,
    VTK_QUADS,
    VTK_TEXT,
    VTK_WORDS,
    XML_TEXT,
    packed_xml,
    surface,
    volume,
    written,
)
from fuzz_values import JSON, json_bytes
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from pointcept_bsa.datasets.arrays import read_npy, read_npz
from pointcept_bsa.datasets.cosmology import COLUMNS, read_halos
from pointcept_bsa.datasets.custom.splits import make_split
from pointcept_bsa.datasets.custom.stores import PreparedStore, read_fields_file
from pointcept_bsa.datasets.custom.table import read_parameters
from pointcept_bsa.datasets.prepare.hdf5 import read_hdf5
from pointcept_bsa.datasets.prepare.matlab import read_mat
from pointcept_bsa.datasets.prepare.mlcfd import read_quad_mesh
from pointcept_bsa.datasets.prepare.tfrecord import scan_records
from pointcept_bsa.datasets.prepared import PreparedFolder
from pointcept_bsa.host.embedded.config import load_config
from pointcept_bsa.mesh_io import Mesh, read_mesh
from pointcept_bsa.training.checkpoints.checkpoint import load_checkpoint
from pointcept_bsa.training.checkpoints.export import save_safetensors

ROOT = Path(__file__).resolve().parents[2]


class Target(NamedTuple):
    """``read(path)`` reads a file ``name``; a seed is damaged and then put into the file by ``wrap``.

    Seeds are bytes, or, where ``odd`` has what is put into them, nested values. Targets of one ``kind`` share the
    examples of a long run. The file has the last part of ``name`` as its name.
    """

    name: str
    kind: str
    read: Callable[[Path], object]
    seeds: list[Any]
    wrap: Callable[[Any], bytes] = bytes
    odd: tuple[Any, ...] = ()


def npy(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def zip_of(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field of a protocol buffer, shorter than 128 bytes or so."""
    size, length = len(content), b""
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def halos() -> bytes:
    """A tf.train.Example as the cosmology files have it."""
    features = b""
    for name in [column for columns in COLUMNS.values() for column in columns]:
        values = np.arange(3, dtype="<f4").tobytes()
        tensor = b"\x08\x01" + field(2, field(2, b"\x08\x03")) + field(4, values)
        features += field(1, field(1, name.encode()) + field(2, field(1, field(1, tensor))))
    return field(1, features)


def framed(content: bytes) -> bytes:
    """A TFRecord with the right checksums."""
    length = struct.pack("<Q", len(content))
    sums = [struct.pack("<I", masked_crc32c(part)) for part in (length, content)]
    return length + sums[0] + content + sums[1]


def read_tfrecord(path: Path) -> None:
    for place in scan_records(path):
        read_halos(place)


def checkpoint() -> bytes:
    file = io.BytesIO()
    weights = {"layer.weight": torch.arange(6.0).reshape(2, 3), "layer.bias": torch.zeros(2, dtype=torch.float16)}
    state = {
        "epoch": 3,
        "state_dict": weights,
        "best_metric_value": -0.5,
        "optimizer": {"state": {0: [1, None]}, "lr": (1e-3,)},
    }
    torch.save(state, file)
    return file.getvalue()


def pickle_of_checkpoint(content: bytes | None = None) -> bytes:
    """The pickle inside the checkpoint, or the checkpoint with another one in its place."""
    with zipfile.ZipFile(io.BytesIO(checkpoint())) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    name = next(name for name in members if name.endswith("data.pkl"))
    if content is None:
        return members[name]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for member, value in members.items():
            archive.writestr(member, content if member == name else value)
    return file.getvalue()


def split_reader(path: Path) -> None:
    make_split(["a", "b", "c"], str(path))


def prepared_reader(name: str) -> Callable[[Path], None]:
    """Read ``name`` of a prepared folder whose other files are whole."""
    whole = {"split.json": SPLIT, "stats.json": STATS}

    def read(path: Path) -> None:
        for other, content in whole.items():
            if other != name:
                path.with_name(other).write_bytes(content)
        folder = PreparedFolder(path.parent, "tools/prepare_data.py x")
        protocol = folder.choose_protocol(None)
        folder.split(protocol)
        folder.field_statistics(protocol, "p")

    return read


def prepared_store(name: str) -> Callable[[Path], None]:
    """The same, of own data, as training opens it."""

    def read(path: Path) -> None:
        for other, content in (("split.json", SPLIT), ("stats.json", STATS), ("fields.json", FIELDS)):
            if other != name:
                path.with_name(other).write_bytes(content)
        store = PreparedStore(str(path.parent), (), None, None)
        for field in (*store.target, *store.fields):
            store.statistics(field.info.key)

    return read


SPLIT = json.dumps({"default": "A", "protocols": {"A": {"train": ["a"], "test": ["b"], "holdout": []}}}).encode()
FIELD = {"mean": [0.5], "std": [1.0], "min": [0.0], "max": [1.0]}
STATS = json.dumps({"protocols": {"A": {"samples": 1, "fields": {"p": FIELD}}}}).encode()
LISTS = json.dumps({"train": ["a"], "val": ["b"], "test": ["c"]}).encode()
ENTRY = {"key": "p", "source": "p", "kind": "point", "columns": 1, "unit": "Pa"}
FIELDS = json.dumps({"format": 1, "dimension": 3, "target": [ENTRY], "fields": [], "recipe": {}, "notes": []}).encode()


def read_config(path: Path) -> None:
    load_config(str(path))


def config_seeds() -> list[bytes]:
    """Two configs that can be read from any folder."""
    configs = ROOT / "configs"
    seeds = [(configs / name / "bsa.py").read_text() for name in ("ellipsoid_flow", "airfrans")]
    return [text.replace("../_base_", str(configs / "_base_")).encode() for text in seeds]


def hdf5(folder: Path) -> bytes:
    import h5py

    with h5py.File(folder / "a.h5", "w") as file:
        file["position"] = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
        file.create_dataset(
            "packed", data=np.zeros((2, 3, 3), "f4"), chunks=(1, 3, 3), compression="gzip", shuffle=True
        )
        file.create_dataset("bond", data=np.zeros((2, 2), np.int64), chunks=(1, 2))
    return (folder / "a.h5").read_bytes()


def matlab(compress: bool) -> bytes:
    from scipy.io import savemat

    file = io.BytesIO()
    savemat(file, {"note": "text", "output": np.arange(12.0).reshape(3, 4)}, do_compression=compress)
    return file.getvalue()


def all_targets(folder: Path) -> list[Target]:
    """Every reader with its seeds; ``folder`` takes the files that are written to make them."""
    mesh, body = surface(), volume()
    bare = Mesh(mesh.points, {"triangle": mesh.cells["triangle"]})
    save_safetensors(folder / "w.safetensors", {"w": torch.zeros(2, 3)}, {"version": "0"})
    arrays = {
        "coord": mesh.points,
        "pressure": mesh.point_data["pressure"],
        "face": mesh.cells["quad"],
        "mach": np.array(0.5),
    }
    inner = npy(mesh.points)
    legacy = [VTK_TEXT, VTK_POLYGONS, VTK_FIVE, VTK_GRID, VTK_WORDS, VTK_BYTES, written(folder, "a.vtk", body)]
    xml = [packed_xml("UnstructuredGrid", False), packed_xml("UnstructuredGrid", True), written(folder, "a.vtu", body)]
    surfaces = [XML_TEXT, packed_xml("PolyData", True), written(folder, "a.vtp", mesh)]
    return [
        Target("a.vtk", "meshes", read_mesh, legacy),
        Target("quads.vtk", "meshes", read_quad_mesh, [VTK_QUADS]),
        Target("a.vtu", "meshes", read_mesh, xml),
        Target("a.vtp", "meshes", read_mesh, surfaces),
        Target(
            "a.ply", "meshes", read_mesh, [PLY_TEXT, PLY_TEXT.replace(b"\n", b"\r"), written(folder, "a.ply", mesh)]
        ),
        Target("a.stl", "meshes", read_mesh, [STL_TEXT, written(folder, "a.stl", bare)]),
        Target("mesh.npz", "meshes", read_mesh, [npz(**arrays), written(folder, "a.npz", mesh)]),
        Target("inner.npz", "meshes", read_mesh, [inner], lambda content: zip_of(**{"coord.npy": content})),
        Target("arrays.npz", "meshes", read_npz, [npz(**arrays)]),
        Target("points.npy", "meshes", read_mesh, [inner]),
        Target(
            "points.csv",
            "meshes",
            read_mesh,
            [*CSV_TEXTS, written(folder, "a.csv", Mesh(mesh.points, {}, mesh.point_data))],
        ),
        Target("mapped.npy", "meshes", read_npy, [inner, npy(np.asfortranarray(mesh.points))]),
        Target("a.tfrecord", "raw data", read_tfrecord, [framed(halos()) * 2]),
        Target("inner.tfrecord", "raw data", read_tfrecord, [halos()], framed),
        Target(
            "a.h5", "raw data", lambda path: (read_hdf5(path, "position"), read_hdf5(path, "packed")), [hdf5(folder)]
        ),
        Target("a.mat", "raw data", lambda path: read_mat(path, {"output": (3, None)}), [matlab(False), matlab(True)]),
        Target("a.pth", "checkpoints", load_checkpoint, [checkpoint()]),
        Target("inner.pth", "checkpoints", load_checkpoint, [pickle_of_checkpoint()], pickle_of_checkpoint),
        Target("a.safetensors", "weights", load_checkpoint, [(folder / "w.safetensors").read_bytes()]),
        Target("config.py", "configs", read_config, config_seeds()),
        Target("table.csv", "tables and splits", read_parameters, [b"case,mach,alpha\na,0.5,1\nb,0.7,2\n"]),
        Target(
            "table.json",
            "tables and splits",
            read_parameters,
            [b'{"a": {"mach": 0.5}, "b": {"mach": 1}}', b'[{"name": "a", "x": 1}]'],
        ),
        Target("lists.json", "tables and splits", split_reader, [LISTS]),
        Target("split.json", "tables and splits", prepared_reader("split.json"), [SPLIT]),
        Target("stats.json", "tables and splits", prepared_reader("stats.json"), [STATS]),
        Target("fields.json", "tables and splits", lambda path: read_fields_file(path.parent, "x"), [FIELDS]),
        *[
            Target(f"values/{name}", "tables and splits", read, [json.loads(seed)], json_bytes, JSON)
            for name, read, seed in (
                ("table.json", read_parameters, b'{"a": {"mach": 0.5}, "b": {"mach": 1}}'),
                ("lists.json", split_reader, LISTS),
                ("split.json", prepared_store("split.json"), SPLIT),
                ("stats.json", prepared_store("stats.json"), STATS),
                ("fields.json", prepared_store("fields.json"), FIELDS),
            )
        ],
    ]


MESHES = ("a.vtk", "quads.vtk", "a.vtu", "a.vtp", "a.ply", "a.stl", "mesh.npz", "inner.npz", "arrays.npz")
TABLES = ("table.json", "lists.json", "split.json", "stats.json", "fields.json")
NAMES = (
    *MESHES,
    "points.npy",
    "points.csv",
    "mapped.npy",
    "a.tfrecord",
    "inner.tfrecord",
    "a.h5",
    "a.mat",
    "a.pth",
    "inner.pth",
)
NAMES += ("a.safetensors", "config.py", "table.csv", *TABLES, *(f"values/{name}" for name in TABLES))
