"""From halos*.tfrecord, encoded here byte by byte, to what CosmologyDataset gives.

The encoder shares nothing with the reader: another CRC (bit by bit), struct for every field. One record was checked
against the formats' specifications by hand: see ``test_a_record_worked_by_hand``.
"""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointcept_bsa.datasets import cosmology
from pointcept_bsa.datasets.cosmology import CosmologyDataset
from pointcept_bsa.datasets.prepare import tfrecord
from pointcept_bsa.errors import InputError

COLUMNS = ("x", "y", "z", "v_x", "v_y", "v_z")


def slow_crc(data):
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def masked(data):
    crc = slow_crc(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) % 2**32)


def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def delimited(number, content):
    return varint(number << 3 | 2) + varint(len(content)) + content


def tensor(values, style="content"):
    """A serialised TensorProto: dtype DT_FLOAT, shape, values as content, packed or single floats."""
    values = np.asarray(values, "<f4")
    dims = b"".join(delimited(2, b"\x08" + varint(n)) for n in values.shape)
    head = b"\x08\x01" + delimited(2, dims)
    if style == "content":
        return head + delimited(4, values.tobytes())
    if style == "packed":
        return head + delimited(5, values.tobytes())
    return head + b"".join(b"\x2d" + struct.pack("<f", v) for v in values.reshape(-1))


def example(columns, style="content", extra=()):
    """A tf.train.Example of serialised tensors, with features of other types between them."""
    entries = [(name, delimited(1, delimited(1, tensor(values, style)))) for name, values in columns.items()]
    entries += [
        ("count", delimited(3, delimited(1, varint(300)))),
        ("weight", delimited(2, b"\x0d\0\0\x80\x3f")),
        *extra,
    ]
    return delimited(1, b"".join(delimited(1, delimited(1, k.encode()) + delimited(2, v)) for k, v in entries))


def record(data):
    length = struct.pack("<Q", len(data))
    return length + masked(length) + data + masked(data)


def halos(seed, count=20):
    rng = np.random.default_rng(seed)
    columns = {name: rng.uniform(0, 1000, count) for name in "xyz"}
    columns |= {f"v_{name}": rng.normal(0, 340, count) for name in "xyz"}
    return {name: values.astype(np.float32) for name, values in columns.items()}


@pytest.fixture
def raw(tmp_path):
    """A folder with 5 training records in two files, 2 for validation, 2 for the test."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for name, seeds in {
        "halos_train_0": (0, 1, 2),
        "halos_train_1": (3, 4),
        "halos_val_0": (5, 6),
        "halos_test_0": (7, 8),
    }.items():
        (folder / f"{name}.tfrecord").write_bytes(b"".join(record(example(halos(s))) for s in seeds))
    return folder


def prepare(prepare_tool, folder, out, *options):
    return prepare_tool.main(["cosmology", "--src", str(folder), "--dst", str(out), *options])


def test_from_records_to_samples(raw, tmp_path, prepare_tool, capsys):
    out = tmp_path / "o"
    assert prepare(prepare_tool, raw, out) == 2
    assert "train 5 of 8192, val 2 of 512, test 2 of 512" in capsys.readouterr().err
    assert prepare(prepare_tool, raw, out, "--allow-partial", "--dry-run") == 0 and not out.exists()
    assert prepare(prepare_tool, raw, out, "--allow-partial") == 0
    assert prepare(prepare_tool, raw, out, "--allow-partial") == 0
    assert "(0 written, 9 were there)" in capsys.readouterr().out
    parts = [CosmologyDataset(split, str(out)) for split in ("train", "val", "test")]
    assert [len(d) for d in parts] == [5, 2, 2] and parts[1].data_list == ["val/00000", "val/00001"]
    for sample, seed in zip([s for d in parts for s in d], range(9), strict=True):
        wanted = halos(seed)
        np.testing.assert_array_equal(sample["coord"], np.stack([wanted[c] for c in "xyz"], axis=1))
        np.testing.assert_array_equal(sample["target"], np.stack([wanted[f"v_{c}"] for c in "xyz"], axis=1))
    velocity = np.concatenate([s["target"] for s in parts[0]]).astype(np.float64)
    np.testing.assert_allclose(parts[2].target_statistics()["std"], velocity.std(axis=0), rtol=1e-9)
    assert "zenodo.org/records/11479419" in (out / "README.md").read_text()


def test_the_papers_protocol_takes_the_first_records_and_the_published_constants(
    raw, tmp_path, prepare_tool, monkeypatch
):
    monkeypatch.setattr(cosmology, "COUNTS", {"train": 4, "val": 1, "test": 2})
    assert prepare(prepare_tool, raw, tmp_path / "o") == 0
    data = CosmologyDataset("train", str(tmp_path / "o"))
    assert len(data) == 4 and data.protocol == "8192/512/512"
    statistics = data.target_statistics()
    assert statistics["std"] == pytest.approx([344.023, 343.933, 344.072], abs=1e-3)
    assert statistics["source"].startswith("published constants")


@pytest.mark.parametrize("style", ["content", "packed", "single"])
def test_every_way_to_store_floats(style):
    columns = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float32(7.5), "c": np.zeros(0)}
    found = tfrecord.parse_example(example(columns, style), ("a", "b", "c"), "here")
    np.testing.assert_array_equal(found["a"], columns["a"])
    assert found["b"].shape == () and found["b"] == 7.5 and found["c"].shape == (0,)


def test_a_record_worked_by_hand(tmp_path):
    """One feature "a" with the tensor [1.0]: the bytes written out."""
    tensor_bytes = bytes.fromhex("0801 12041202 0801 2204 0000803f".replace(" ", ""))
    data = bytes.fromhex("0a19 0a17 0a0161 1212 0a10 0a0e".replace(" ", "")) + tensor_bytes
    length = bytes.fromhex("1b00000000000000")
    path = tmp_path / "one.tfrecord"
    path.write_bytes(length + masked(length) + data + masked(data))
    (place,) = tfrecord.scan_records(path)
    assert (place.start, place.length) == (12, 27)
    np.testing.assert_array_equal(tfrecord.parse_example(tfrecord.read_record(place), ("a",), place)["a"], [1.0])


def flip(content, at):
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda c: c[:-1], "record 2: .* bytes are there: truncated"),
        (lambda c: c[:5], "record 0: ends after 5 of 12 header bytes"),
        (lambda c: c + b"\0", "record 3: ends after 1 of 12 header bytes"),
        (lambda c: flip(c, 3), "record 0: checksum of its length is wrong"),
        (lambda c: flip(c, 100), "record 0: checksum of its data is wrong"),
        (lambda c: flip(c, len(c) - 1), "record 2: checksum of its data is wrong"),
        (lambda c: b"\x1f\x8b" + c, "record 0: checksum of its length is wrong: damaged, or no TFRecord file"),
        (lambda c: record(b"hello world"), "record 0: is not a tf.train.Example"),
        (lambda c: record(b""), "record 0: is not a tf.train.Example .*Example.features is missing"),
        (lambda c: record(example({"x": np.ones(3)})), "record 0: has features .* wanted also \\['y', 'z'"),
        (lambda c: record(example({**halos(0), "z": np.ones(3)})), "record 0: features have shapes"),
        (lambda c: record(example({**halos(0), "z": np.full(20, np.nan)})), "record 0: field 'coord' has 20 NaN"),
        (lambda c: record(example({n: np.zeros(0) for n in COLUMNS})), "record 0: sample .* has no points"),
        (lambda c: record(example({n: np.ones((2, 2)) for n in COLUMNS})), "record 0: features have shapes"),
    ],
)
def test_damaged_files_are_refused_by_name(raw, tmp_path, prepare_tool, capsys, damage, message):
    path = raw / "halos_train_0.tfrecord"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=f"halos_train_0.tfrecord {message}"):
        cosmology.prepare_cosmology(str(raw), str(tmp_path / "o"), allow_partial=True)
    assert not (tmp_path / "o" / "split.json").exists()


def test_a_length_is_not_believed_before_the_file_has_it(tmp_path):
    """A header that announces 2^62 bytes, with a right checksum: refused before anything is allocated."""
    length = struct.pack("<Q", 1 << 62)
    path = tmp_path / "halos_train.tfrecord"
    path.write_bytes(length + masked(length) + bytes(100))
    with pytest.raises(InputError, match="halos_train.tfrecord record 0: 112 of"):
        tfrecord.scan_records(path)


def test_a_record_above_the_limit_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tfrecord, "MAX_RECORD", 10)
    path = tmp_path / "halos_train.tfrecord"
    path.write_bytes(record(bytes(11)))
    with pytest.raises(InputError, match="record 0: has 11 bytes, wanted at most 10"):
        tfrecord.scan_records(path)


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        (delimited(1, delimited(1, b"\x08\x02" + delimited(4, bytes(8)))), "dtype 2, wanted 1"),
        (delimited(1, delimited(1, b"\x08\x01" + delimited(4, bytes(7)))), "has 7 bytes, wanted a multiple of 4"),
        (
            delimited(1, delimited(1, b"\x08\x01" + delimited(2, delimited(2, b"\x08" + varint(1 << 40))))),
            "holds 0 numbers",
        ),
        (delimited(1, delimited(1, b"\x08\x01" + delimited(2, delimited(2, b"\x08" + varint(2**64 - 1))))), "unknown"),
        (delimited(1, b""), "bytes of 'a' is missing"),
        (delimited(2, b""), "bytes_list of 'a' is missing"),
        (delimited(1, delimited(1, b"\x08" + b"\x80" * 11)), "parsing message"),
        (delimited(1, delimited(1, b"\x0b")), "parsing message"),
        (delimited(1, delimited(1, b"\x22\x7f")), "parsing message"),
        (delimited(1, delimited(1, b"\x00\x01")), "parsing message"),
    ],
)
def test_foreign_messages_are_refused(feature, message):
    data = example({}, extra=[("a", feature)])
    with pytest.raises(InputError, match=f"here: is not a tf.train.Example of float tensors .*{message}"):
        tfrecord.parse_example(data, ("a",), "here")


@given(st.data())
def test_no_damage_escapes_as_another_error(data):
    """Bytes of a message changed, cut out or put in, as a writer with a right checksum might."""
    message = bytearray(example({"a": np.arange(3, dtype=np.float32)}))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(message) - 1))
        message[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    try:
        found = tfrecord.parse_example(bytes(message), ("a",), "here")["a"]
    except InputError as error:
        assert str(error).startswith("here: ")
    else:
        assert found.dtype == np.float32 and found.nbytes <= len(message)


def test_a_folder_without_records_is_named(tmp_path, prepare_tool, capsys):
    assert prepare(prepare_tool, tmp_path, tmp_path / "o") == 2
    assert "has no halos*train*.tfrecord" in capsys.readouterr().err
