"""A bad file is one line that names it; a good one comes back as it was."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pointcept_bsa.datasets.arrays import check_finite, read_npy, read_npz
from pointcept_bsa.errors import InputError

SAME_FOLDER = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@SAME_FOLDER
@given(hnp.arrays(st.sampled_from([np.float32, np.float64]), hnp.array_shapes(min_dims=1, max_dims=3, min_side=0)))
def test_a_written_array_is_read_back(tmp_path, values):
    np.save(tmp_path / "a.npy", values)
    read = read_npy(tmp_path / "a.npy", (None,) * values.ndim)
    assert isinstance(read, np.ndarray) and read.dtype == values.dtype and read.shape == values.shape
    np.testing.assert_array_equal(read, values)


@SAME_FOLDER
@given(st.data())
def test_every_cut_of_a_file_is_refused(tmp_path, data):
    path = tmp_path / "a.npy"
    np.save(path, np.arange(12, dtype=np.float32).reshape(4, 3))
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(InputError, match="a.npy.*(truncated|cut)"):
        read_npy(path)


@settings(SAME_FOLDER, max_examples=200)
@given(st.integers(0, 127), st.integers(0, 255))
def test_a_damaged_header_never_escapes_as_another_error(tmp_path, position, byte):
    path = tmp_path / "a.npy"
    np.save(path, np.arange(12, dtype=np.float32).reshape(4, 3))
    content = bytearray(path.read_bytes())
    content[position] = byte
    path.write_bytes(content)
    try:
        read_npy(path)
    except InputError as error:
        assert "a.npy: " in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 zip", b"x,y\n1,2\n", b"\x93NUMPY\x09\x00garbage"])
def test_foreign_files_are_refused(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(InputError, match="a.npy: is not a .npy file"):
        read_npy(tmp_path / "a.npy")


def test_missing_pickled_wrong_dtype_wrong_shape(tmp_path):
    with pytest.raises(InputError, match="none.npy: cannot be read"):
        read_npy(tmp_path / "none.npy")
    np.save(tmp_path / "o.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="o.npy: holds pickled objects"):
        read_npy(tmp_path / "o.npy")
    np.save(tmp_path / "i.npy", np.zeros((3, 2), np.int32))
    with pytest.raises(InputError, match="i.npy: holds int32 values, wanted floating point"):
        read_npy(tmp_path / "i.npy")
    with pytest.raises(InputError, match=r"i.npy: has shape \(3, 2\), wanted \(any, 3\)"):
        read_npy(tmp_path / "i.npy", (None, 3), kind="iu")


def test_npz_faults_name_the_file(tmp_path):
    np.savez(tmp_path / "good.npz", a=np.ones(3))
    assert set(read_npz(tmp_path / "good.npz")) == {"a"}
    with pytest.raises(InputError, match="good.npz.*wanted also \\['b'\\]"):
        read_npz(tmp_path / "good.npz", ("a", "b"))
    with pytest.raises(InputError, match="none.npz: cannot be read"):
        read_npz(tmp_path / "none.npz")
    np.save(tmp_path / "one.npy", np.ones(3))
    with pytest.raises(InputError, match="one.npy: is a single .npy array"):
        read_npz(tmp_path / "one.npy")
    whole = (tmp_path / "good.npz").read_bytes()
    for name, content in {"cut": whole[:-30], "text": b"hello", "empty": b""}.items():
        (tmp_path / f"{name}.npz").write_bytes(content)
        with pytest.raises(InputError, match=f"{name}.npz: is not a whole .npz"):
            read_npz(tmp_path / f"{name}.npz")


def test_check_finite_counts_and_names():
    check_finite(np.array([1, 2]), "index", "x.npy")
    with pytest.raises(InputError, match="x.npy: field 'pressure' has 2 NaN or infinite of 3 values"):
        check_finite(np.array([1.0, np.nan, np.inf]), "pressure", "x.npy")
