"""JSON: strict on reading, valid on writing whatever the values are."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointcept_bsa.errors import InputError
from pointcept_bsa.files.json_file import json_text, parse_json, read_json, read_json_lines, write_json

LEAVES = st.one_of(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters()), st.binary()),
    st.one_of(st.floats().map(np.float64), st.integers(-9, 9).map(np.int16), st.just(Path("a/b"))),
    st.just(np.array([1.0, np.nan])),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.sets(st.text()),
        st.dictionaries(st.text(st.characters()), inner),
    ),
    max_leaves=20,
)


def strict(word: str) -> None:
    raise ValueError(f"the word {word}")


@given(VALUES)
def test_what_is_written_is_json_and_is_read_back(value):
    text = json_text(value)
    read = json.loads(text.encode(), parse_constant=strict)
    json.dumps(read, ensure_ascii=False).encode()  # text of Unicode alone
    assert parse_json(text, "x") == read
    assert json_text(read) == text  # writing what was read changes nothing


def test_numbers_that_are_not_finite_are_null():
    value = {"a": math.nan, "b": [math.inf, np.float32(-math.inf)], "c": np.array([1.0, math.nan]), "d": np.int64(3)}
    assert json.loads(json_text(value)) == {"a": None, "b": [None, None], "c": [1.0, None], "d": 3}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": NaN}', "it holds NaN"),
        ("[-Infinity]", "it holds -Infinity"),
        ("1e999", "it holds 1e999"),
        ('{"a": 1, "a": 2}', "the name 'a' comes twice"),
        ('["\\ud800"]', "surrogates not allowed"),
        ("[" * 100_000, "is not JSON"),
        ("9" * 5000, "is not JSON"),
        (b"\xff", "is not JSON"),
        ("", "is not JSON"),
    ],
)
def test_what_is_no_json_is_one_line(text, message):
    with pytest.raises(InputError) as error:
        parse_json(text, "file.json")
    assert (
        str(error.value).startswith("file.json: is not JSON, it cannot be read (")
        and message in str(error.value)
        and "\n" not in str(error.value)
    )


def test_files_of_earlier_versions_hold_words(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text('{"std": NaN, "max": [Infinity, 1e999]}')
    assert read_json(path, words_as_null=True) == {"std": None, "max": [None, None]}
    with pytest.raises(InputError, match="it holds NaN"):
        read_json(path)


def test_a_byte_order_mark_is_no_part_of_the_text():
    assert parse_json(b"\xef\xbb\xbf[1]", "x") == [1]


def test_lines(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"a": NaN}\n{"b": 1}\n{"c"')
    assert read_json_lines(path) == [{"a": None}, {"b": 1}]
    path.write_text('{"a": 1}\n[2]\n{"c": 3}\n')
    with pytest.raises(InputError, match="line 2: is no object"):
        read_json_lines(path)


def test_a_place_that_cannot_be_written_keeps_what_is_there(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(InputError, match="cannot be written"):
        write_json(path / "b.json", {})
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        write_json(tmp_path / "folder.json", {})
    assert read_json(path) == {"a": 1} and sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "folder.json"]
