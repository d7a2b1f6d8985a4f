"""Parameters of samples from a table: CSV and JSON, names that fit, what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from custom_files import prepare

from pointcept_bsa.datasets.custom.table import read_parameters
from pointcept_bsa.datasets.point_field import CustomFieldDataset
from pointcept_bsa.errors import InputError
from pointcept_bsa.mesh_io import write_mesh


def test_parameters_come_from_a_table(files, tmp_path):
    root, meshes = files
    table = tmp_path / "cases.csv"
    table.write_text("case,alpha,Re\n" + "".join(f"{name},{i},1e6\n" for i, name in enumerate(meshes)))
    data = CustomFieldDataset("train", str(root), target=["wall"], fields=["alpha", "Re"], parameters=str(table))
    alpha = {s["name"]: s["alpha"] for s in data}
    values = np.array([float(name[1:]) for name in alpha])
    for name, column in alpha.items():
        np.testing.assert_allclose(column, (float(name[1:]) - values.mean()) / values.std(), rtol=1e-5)
    assert all(np.all(sample["Re"] == 0) for sample in data)  # never changes
    (tmp_path / "cases.json").write_text(json.dumps([{"name": "a/b", "x": 1}, {"name": "c", "x": "2.5"}]))
    assert read_parameters(tmp_path / "cases.json") == {"a/b": {"x": 1.0}, "c": {"x": 2.5}}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "case,x\na,1\na,2\n", "sample 'a' is there twice"),
        ("a.csv", "case,x\na,nan\n", "parameter 'x' of sample 'a' is 'nan', wanted a finite number"),
        ("a.csv", "case,x\na\n", "row 2 has 1 entries, wanted 2"),
        ("a.csv", "", "wanted a line of different names"),
        ("a.json", "[1]", "wanted an object of objects"),
        ("a.json", "{", "is no table of parameters"),
        ("a.json", '{"a": {"x": [1]}}', "wanted a finite number"),
        ("a.txt", "", "wanted a .csv or .json file"),
    ],
)
def test_bad_tables_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_parameters(tmp_path / name)


@pytest.mark.parametrize(
    "text",
    [
        "name,mach, mach\nc,0.3,0.8\n",
        "name,mach,Mach\nc,0.3,0.8\n",
        "name,Fäll,Fa\u0308ll\nc,0.3,0.8\n",
        "name,mach\nc,0.3\n c,0.8\n",
        '{"c": {"mach": 0.3, "mach": 0.8}}',
        '{"c": {"mach": 0.3, " mach": 0.8}}',
        '{"c": {"mach": 0.3}, "c": {"mach": 0.8}}',
        '{"c": {"mach": 0.3}, "c ": {"mach": 0.8}}',
    ],
)
def test_parameters_that_can_be_read_two_ways_are_refused(text, tmp_path):
    path = tmp_path / ("cases.json" if text.startswith("{") else "cases.csv")
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="have one name|is there twice|comes twice in one object"):
        read_parameters(path)


def test_a_row_or_a_name_of_two_things_is_refused(files, tmp_path, prepare_tool, capsys):
    root, meshes = files
    (root / "a").mkdir()
    write_mesh(root / "a" / "s00.vtp", meshes["s00"])
    for row, message in (
        ("s00,alpha", "row 's00' fits the samples 'a/s00' and 's00'"),
        ("s01,mach", "'mach' is a field"),
    ):
        name, key = row.split(",")
        (tmp_path / "cases.csv").write_text(f"name,{key}\n{name},1\n")
        more = ["--feature", key, "--parameters", str(tmp_path / "cases.csv")]
        assert prepare(prepare_tool, root, tmp_path / "out", *more) == 2
        assert message in capsys.readouterr().err
    (tmp_path / "split.json").write_text('{"train": ["s00"], "train": ["s01"], "test": ["s02"]}')
    assert prepare(prepare_tool, root, tmp_path / "out", "--split-file", str(tmp_path / "split.json")) == 2
    assert "the name 'train' comes twice" in capsys.readouterr().err


def test_samples_without_a_row_of_the_table_are_told_how_to_name_it(files, tmp_path, prepare_tool, capsys):
    root, _ = files
    (tmp_path / "cases.csv").write_text("name,alpha\ns00.vtu,1\nother,2\n")
    more = ("--parameters", str(tmp_path / "cases.csv"), "--feature")
    assert prepare(prepare_tool, root, tmp_path / "out", *more, "alpha") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "; --parameters has no row for the sample 's" in error and "(it has 'other', 's00.vtu')" in error
    assert prepare(prepare_tool, root, tmp_path / "out", *more, "wall") == 2
    assert "(the first column has the names of the samples: ['other', 's00.vtu'])" in capsys.readouterr().err
    assert prepare(prepare_tool, root, tmp_path / "out", "--feature", "wall_distance") == 2
    assert "has no field 'wall_distance'" in (error := capsys.readouterr().err.splitlines()[-1])
    assert "; --wall-mask FIELD has it worked out" in error and not (tmp_path / "out").exists()
