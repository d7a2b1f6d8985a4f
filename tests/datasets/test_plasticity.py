"""From a MATLAB file as plas_N987_T20.mat is, written here, to what PlasticityDataset gives."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from pointcept_bsa.datasets import plasticity as raw_plasticity
from pointcept_bsa.datasets.plasticity import PlasticityDataset, read_blocks
from pointcept_bsa.datasets.prepare.matlab import read_mat
from pointcept_bsa.errors import InputError


def blocks(count, seed=0):
    rng = np.random.default_rng(seed)
    return {"input": rng.normal(19, 2, (count, 101)), "output": rng.normal(-4, 14, (count, 101, 31, 20, 4))}


def write(path, arrays, **options):
    scipy.io.savemat(path, arrays, **options)
    return str(path)


def test_samples_by_hand(tmp_path, prepare_tool, capsys):
    arrays, root = blocks(3), str(tmp_path / "o")
    source = write(tmp_path / "plas_N987_T20.mat", arrays, do_compression=True)
    assert prepare_tool.main(["plasticity", "--src", source, "--dst", root]) == 2
    assert "has 3 blocks, wanted 987 (protocol 900/80)" in capsys.readouterr().err
    assert prepare_tool.main(["plasticity", "--src", str(tmp_path), "--dst", root, "--allow-partial"]) == 0
    train, val, test = (PlasticityDataset(split, root) for split in ("train", "val", "test"))
    assert [len(train), len(val), len(test)] == [40, 0, 20]
    assert train.get_data_name(27) == "block_0001/t07" and test.data_list[-1] == "block_0002/t19"
    sample = train[27]
    np.testing.assert_allclose(sample["time"], np.full((3131, 1), 7 / 19), rtol=1e-6)
    for i, j in ((0, 0), (0, 30), (1, 0), (57, 13), (100, 30)):
        point = 31 * i + j
        np.testing.assert_allclose(sample["coord"][point], [j / 30, i / 100], rtol=1e-6)
        np.testing.assert_allclose(sample["die"][point], arrays["input"][1, i], rtol=1e-6)
        np.testing.assert_allclose(sample["target"][point], arrays["output"][1, i, j, 7], rtol=1e-5)
    statistics = test.target_statistics()
    np.testing.assert_allclose(statistics["mean"], arrays["output"][:2].mean(axis=(0, 1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(statistics["std"], arrays["output"][:2].std(axis=(0, 1, 2, 3)), rtol=1e-5)
    assert "a sample is a block at one of 20 times" in test.card()["notes"] and test.card()["num_samples"] == 20


def test_the_whole_protocol(tmp_path, prepare_tool, monkeypatch):
    for name, value in (("NUM_BLOCKS", 14), ("NUM_TRAIN", 10), ("NUM_TEST", 2)):
        monkeypatch.setattr(raw_plasticity, name, value)
    source, root = write(tmp_path / "p.mat", blocks(14)), str(tmp_path / "o")
    assert prepare_tool.main(["plasticity", "--src", source, "--dst", root]) == 0
    train, val, test = (PlasticityDataset(split, root) for split in ("train", "val", "test"))
    assert [len(train), len(val), len(test)] == [9 * 20, 20, 2 * 20]
    assert {name[:10] for name in test.data_list} == {"block_0012", "block_0013"}  # the last ones
    assert test.target_statistics()["mean"] == [-4.4049] * 4 and test.protocol_name() == "900/80"
    assert len(PlasticityDataset("train", root, validation="test")) == 200


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("output"), "has arrays ['input'], wanted also ['output']"),
        (lambda a: a.pop("input"), "wanted also ['input']"),
        (
            lambda a: a.update(output=a["output"].swapaxes(3, 4)),
            "shape (3, 101, 31, 4, 20), wanted (any, 101, 31, 20, 4)",
        ),
        (lambda a: a.update(output=a["output"][:2]), "'input' has 3 blocks, 'output' 2, wanted as many"),
        (lambda a: a.update(input=a["input"] * np.nan), "block 0: field 'die' has 3131 NaN"),
        (
            lambda a: a.update(input=np.array([["x"] * 101] * 3, dtype=object)),
            "'input' is no array of real numbers (class 1)",
        ),
        (lambda a: a.update(input=a["input"] * 1j), "'input' is no array of real numbers (class 6)"),
    ],
)
def test_foreign_arrays_are_refused(tmp_path, prepare_tool, capsys, change, message):
    arrays = blocks(3)
    change(arrays)
    source = write(tmp_path / "p.mat", arrays)
    assert prepare_tool.main(["plasticity", "--src", source, "--dst", str(tmp_path / "o"), "--allow-partial"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not (tmp_path / "o" / "split.json").exists()


def test_foreign_files_are_refused(tmp_path):
    path = tmp_path / "p.mat"
    write(path, blocks(1))
    content = path.read_bytes()
    for damaged in (content[:-1000], content[:200], b"", b"MATLAB 5.0", bytes(500)):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="p.mat: "):
            read_blocks(path)
    path.write_bytes(content[:156] + b"\x05" + content[157:])  # the length of the first array's dimensions
    with pytest.raises(InputError, match="dimensions have 5 bytes"):
        read_blocks(path)
    path.write_bytes(content[:128] + struct.pack("<II", 14, 2**31))
    with pytest.raises(InputError, match="element at byte 128 has type 14 and 2147483648 bytes, 0 are there"):
        read_blocks(path)
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n")
    with pytest.raises(InputError, match="is a MATLAB file of version 2, wanted 1"):
        read_blocks(path)
    with pytest.raises(InputError, match="wanted plas_N987_T20.mat or its folder"):
        raw_plasticity.prepare_plasticity(str(tmp_path / "none"), str(tmp_path / "o"))


@pytest.mark.parametrize("options", [{}, {"do_compression": True}])
def test_the_reader_agrees_with_scipy(tmp_path, options):
    rng = np.random.default_rng(0)
    arrays = {
        "a": rng.normal(size=(3, 4)),
        "text": "abc",
        "b": rng.integers(0, 99, (2, 3, 4, 5), dtype=np.int16),
        "c": np.float32([[1.5]]),
        "long_name_of_an_array": np.uint8([[1, 2, 3]]),
        "d": rng.normal(size=(0, 4)),
    }
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, arrays, **options)
    wanted = {name: (None,) * np.ndim(v) for name, v in arrays.items() if name != "text"}
    found, there = read_mat(path, wanted), scipy.io.loadmat(path)
    assert set(found) == set(wanted)
    for name, values in found.items():
        np.testing.assert_array_equal(values, there[name])
    with pytest.raises(InputError, match=r"'a' has shape \(3, 4\), wanted \(3, 5\)"):
        read_mat(path, {"a": (3, 5)})
    with pytest.raises(InputError, match="'text' is no array of real numbers"):
        read_mat(path, {"text": (None, None)})


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "compressed"])
def original(tmp_path_factory, request):
    path = tmp_path_factory.mktemp("mat") / "p.mat"
    arrays = {"input": np.ones((1, 101)), "output": np.ones((1, 101, 31, 20, 4), np.uint8)}
    scipy.io.savemat(path, arrays, do_compression=request.param)
    return path, path.read_bytes()


@settings(max_examples=60)
@given(st.data())
def test_no_damage_escapes_as_another_error(original, data):
    path, content = original
    content = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        # headers and the small array come first
        at = min(data.draw(st.integers(0, 1100) | st.integers(0, len(content) - 1)), len(content) - 1)
        content[at] = data.draw(st.sampled_from([0, 255]) | st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.just(len(content)) | st.integers(0, len(content)))])
    try:
        die, deformation = read_blocks(path)
    except InputError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
    else:
        assert die.shape[1:] == (101,) and deformation.shape == (len(die), 101, 31, 20, 4)
