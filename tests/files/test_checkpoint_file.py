"""Checkpoints are data: numbers of numpy's are read as numbers, anything else than plain values is one line."""

from __future__ import annotations

import collections
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from pointcept_bsa.errors import InputError
from pointcept_bsa.files.checkpoint_file import read_checkpoint


class Command:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize(
    "value", [np.float64(-0.5), np.float32(1.5), np.float16(2), np.int64(-3), np.uint8(200), np.bool_(True)]
)
def test_numbers_of_numpy(tmp_path, value):
    torch.save({"best": value, "state_dict": {"a": torch.ones(2)}}, tmp_path / "a.pth")
    found = read_checkpoint(tmp_path / "a.pth")["best"]
    assert found == value.item() and type(found) is type(value.item())


def test_a_number_of_another_byte_order(tmp_path):
    value = np.frombuffer(b"\x3f\xf8" + bytes(6), ">f8")[0]
    number = np.array(value, ">f8")[()]
    torch.save({"best": number}, tmp_path / "a.pth")
    assert read_checkpoint(tmp_path / "a.pth") == {"best": 1.5}


def test_a_number_of_numpy_1(tmp_path):
    torch.save({"best": np.float64(2.5)}, tmp_path / "new.pth")
    rename(tmp_path / "new.pth", tmp_path / "old.pth", b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert read_checkpoint(tmp_path / "old.pth") == {"best": 2.5}


def rename(path: Path, other: Path, old: bytes, new: bytes) -> None:
    """The archive with a name in its pickle replaced."""
    import zipfile

    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(other, "w", zipfile.ZIP_STORED) as copy:
        for info in archive.infolist():
            data = archive.read(info)
            assert not info.filename.endswith("data.pkl") or old in data
            copy.writestr(info.filename, data.replace(old, new))


@pytest.mark.parametrize("kind", ["O", "f8,f8", "V8", "M8[s]", "S4"])
def test_other_types_of_numpy_are_refused(tmp_path, kind):
    torch.save({"best": np.float64(2.5)}, tmp_path / "a.pth")
    code = kind.encode()
    old, new = b"X\x02\x00\x00\x00f8", b"X" + len(code).to_bytes(4, "little") + code
    rename(tmp_path / "a.pth", tmp_path / "b.pth", old, new)
    with pytest.raises(InputError, match="not a readable checkpoint"):
        read_checkpoint(tmp_path / "b.pth")


@pytest.mark.parametrize("key", ["epoch", "state_dict", "hooks"])
def test_code_is_not_run(tmp_path, key):
    torch.save({"state_dict": {}, key: [Command(tmp_path / "mark")]}, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps(Command(tmp_path / "mark")))
    torch.save(Command(tmp_path / "mark"), tmp_path / "c.pth", _use_new_zipfile_serialization=False)
    for name in "abc":
        with pytest.raises(InputError, match="not a readable checkpoint") as error:
            read_checkpoint(tmp_path / f"{name}.pth", "path")
        assert str(error.value).startswith("path=") and "\n" not in str(error.value)
    assert not (tmp_path / "mark").exists()


def test_what_is_foreign_is_named(tmp_path):
    torch.save({"state_dict": {}, "x": np.arange(3)}, tmp_path / "a.pth")
    with pytest.raises(InputError, match="it holds numpy._core.multiarray._reconstruct, wanted tensors"):
        read_checkpoint(tmp_path / "a.pth")


def test_plain_containers(tmp_path):
    value = {"a": [1, (2.0, None)], "b": collections.OrderedDict(c={1, 2}), "d": "text", "e": b"bytes"}
    torch.save(value, tmp_path / "a.pth")
    assert read_checkpoint(tmp_path / "a.pth") == value
