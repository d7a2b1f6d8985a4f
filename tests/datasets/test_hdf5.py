"""Arrays of HDF5 files: what is read, what is refused, and that no damage escapes as another error."""

from __future__ import annotations

import struct
import zlib

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointcept_bsa.datasets.prepare import hdf5
from pointcept_bsa.datasets.prepare.hdf5 import read_hdf5
from pointcept_bsa.errors import InputError

VALUES = np.arange(24, dtype=np.float32).reshape(2, 4, 3)


def write(path, **options):
    with h5py.File(path, "w") as file:
        file.create_dataset("position", data=VALUES, **options)
    return path


PACKED = [
    {"compression": "gzip", "shuffle": True},
    {"compression": 9, "chunks": (2, 3, 2), "fletcher32": True},
    {"compression": "gzip", "dtype": ">f8", "maxshape": (None, 4, 3), "chunks": (5, 4, 3)},
    {"shuffle": True, "chunks": (1, 4, 3)},
]


@pytest.mark.parametrize("options", [{}, {"chunks": (1, 4, 3)}, {"dtype": ">f8"}, *PACKED])
def test_plain_arrays_are_read(tmp_path, options):
    found = read_hdf5(write(tmp_path / "a.h5", **options), "position", (None, None, 3))
    np.testing.assert_array_equal(found, VALUES)
    assert found.dtype.isnative


def plugin(file):
    file.create_dataset("position", data=VALUES, compression="lzf")


def packed_and_missing(file):
    file.create_dataset("position", (2, 4, 3), "f4", chunks=(1, 4, 3), compression="gzip")[0] = 1


def bomb(file):
    array = file.create_dataset("position", (2, 4, 3), "f4", chunks=(1, 4, 3), compression="gzip")
    array[:] = VALUES
    array.id.write_direct_chunk((0, 0, 0), zlib.compress(bytes(2**24)))


def external_link(file):
    file["position"] = h5py.ExternalLink("/etc/hostname", "/position")


def soft_link(file):
    file["position"] = h5py.SoftLink("/elsewhere")


def external_storage(file):
    file.create_dataset("position", (2, 4, 3), "f4", external=[("/etc/hostname", 0, 96)])


def virtual(file):
    layout = h5py.VirtualLayout(shape=(2, 4, 3), dtype="f4")
    layout[:] = h5py.VirtualSource("other.h5", "position", shape=(2, 4, 3))
    file.create_virtual_dataset("position", layout)


def never_written(file):
    file.create_dataset("position", (2**40, 4, 3), "f4", chunks=(1, 4, 3))


def promised(file):
    file.create_dataset("position", (2**20, 4, 3), "f4", chunks=(1, 4, 3))


def text(file):
    file["position"] = ["a", "b"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (plugin, r"stored through filters \['lzf'\], wanted none, gzip or shuffle"),
        (packed_and_missing, "stores 1 of 2 chunks, wanted all"),
        (bomb, "unfolds to more than its 48 bytes"),
        (external_link, "is a link to another place"),
        (soft_link, "is a link to another place"),
        (external_storage, "is kept in other files or arrays"),
        (virtual, "is kept in other files or arrays"),
        (never_written, "announces 52776558133248 bytes, wanted at most 4294967296"),
        (promised, "announces 50331648 bytes and stores 0"),
        (text, "holds object values, wanted numbers of kind 'f'"),
        (lambda file: file.create_group("position"), "is a group, wanted an array"),
        (lambda file: file.create_group("other"), r"has \['other'\], wanted an array 'position'"),
        (lambda file: file.create_dataset("position", data=VALUES.T), r"has shape \(3, 4, 2\), wanted \(any, any, 3\)"),
        (lambda file: file.create_dataset("position", data=VALUES.astype(int)), "holds int64 values"),
        (lambda file: file.create_dataset("position", data=VALUES * np.nan), "has 24 NaN"),
        (lambda file: file.create_dataset("position", data=h5py.Empty("f4")), "'position' holds float32 values"),
    ],
)
def test_what_is_not_a_plain_array_is_refused(tmp_path, make, message):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        make(file)
    with pytest.raises(InputError, match=f"a.h5: .*{message}") as error:
        read_hdf5(tmp_path / "a.h5", "position", (None, None, 3))
    assert "\n" not in str(error.value)


def test_what_is_no_file_of_this_kind_is_refused(tmp_path):
    path = write(tmp_path / "a.h5")
    with pytest.raises(InputError, match="b.h5: is missing"):
        read_hdf5(tmp_path / "b.h5", "position")
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match="a.h5: is not a whole HDF5 file"):
        read_hdf5(path, "position")
    path.write_text("position")
    with pytest.raises(InputError, match="a.h5: is not a whole HDF5 file"):
        read_hdf5(path, "position")


def test_a_packed_chunk_that_says_to_be_larger_than_the_file_is_refused(tmp_path):
    path = write(tmp_path / "a.h5", compression="gzip", chunks=(2, 4, 3))
    with h5py.File(path) as file:
        size = file["position"].id.get_chunk_info(0).size
    content = path.read_bytes()
    entry = struct.pack("<II", size, 0)  # in the index of chunks: bytes, filters left out
    assert content.count(entry) == 1
    path.write_bytes(content.replace(entry, struct.pack("<II", 2**31, 0)))
    with pytest.raises(InputError, match="'position' has a chunk of 2147483648 bytes, more than the file's"):
        read_hdf5(path, "position")


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hdf5")
    files = [write(folder / "plain.h5"), write(folder / "chunked.h5", chunks=(1, 4, 3))]
    files += [write(folder / f"packed{i}.h5", **options) for i, options in enumerate(PACKED)]
    return folder / "damaged.h5", [path.read_bytes() for path in files]


@pytest.mark.parametrize(
    ("options", "size"),
    [(dict(compression="gzip", fletcher32=True), 0), (dict(fletcher32=True), 0), (dict(fletcher32=True), 3)],
    ids=str,
)
def test_a_chunk_without_room_for_its_check_sum_is_refused(tmp_path, options, size):
    """HDF5 itself takes the sum off all the same and ends the process."""
    path = write(tmp_path / "a.h5", chunks=(2, 3, 2), **options)  # the others make up for the bytes of one
    with h5py.File(path) as file:
        stored = file["position"].id.get_chunk_info(0).size
    content, entry = path.read_bytes(), struct.pack("<II", stored, 0)
    assert entry in content
    path.write_bytes(content.replace(entry, struct.pack("<II", size, 0), 1))
    with pytest.raises(InputError, match=r"'position' has a chunk of \d+ bytes, wanted \d+"):
        read_hdf5(path, "position", (None, None, 3))


@settings(max_examples=150)
@given(st.data())
def test_no_damage_escapes_as_another_error(originals, data):
    path, files = originals
    content = bytearray(data.draw(st.sampled_from(files)))
    told = [i for i, byte in enumerate(content) if byte]  # most of a small file is empty space
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.sampled_from(told) | st.integers(0, len(content) - 1))
        content[at] = data.draw(st.sampled_from([0, 255]) | st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.just(len(content)) | st.integers(0, len(content)))])
    try:
        found = read_hdf5(path, "position", (None, None, 3))
    except InputError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
    else:
        assert found.dtype.kind == "f" and found.nbytes <= min(hdf5.MAX_BYTES, hdf5.MAX_RATIO * len(content))
