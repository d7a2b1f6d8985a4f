"""``prepare_data.py custom``: runs, dry runs, runs that go on, what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import unicodedata
from types import SimpleNamespace

import numpy as np
import pytest
from custom_files import MORE, open_all, prepare, surface

from pointcept_bsa.datasets.point_field import CustomFieldDataset
from pointcept_bsa.datasets.prepare.layout import write_sample
from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded.config import load_config
from pointcept_bsa.mesh_io import Mesh, write_mesh


def test_prepared_data_are_those_of_the_files(files, tmp_path, prepare_tool):
    root, meshes = files
    assert prepare(prepare_tool, root, tmp_path / "out", *MORE) == 0
    prepared = open_all(data_root=str(tmp_path / "out"))
    direct = open_all(
        data_root=str(root),
        target=["Static Pressure"],
        fields=["wall_distance", "mach"],
        wall_mask="wall",
        units={"Static Pressure": "Pa"},
    )
    for split in prepared:
        one, other = prepared[split], direct[split]
        assert one.card() == other.card()
        for key in ("mean", "std"):
            assert one.target_statistics()[key] == pytest.approx(other.target_statistics()[key])
        for a, b in zip(one, other, strict=True):
            assert a.keys() == b.keys()
            for key in a:
                np.testing.assert_allclose(a[key], b[key], atol=1e-6) if key != "name" else None
    mach = np.array([sample["mach"][0, 0] for sample in prepared["train"]])
    np.testing.assert_allclose([mach.mean(), mach.std()], [0, 1], atol=0.2)  # weighted by samples, not by points
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Static_Pressure.npy | (N, 1) float32 | Pa" in card and "'wall' is above 0.5" in card


def test_the_dry_run_reports_everything_and_writes_nothing(files, tmp_path, prepare_tool, capsys):
    root, meshes = files
    broken = surface(50)
    broken.point_data["Static Pressure"][3] = np.nan
    broken.points[1] = broken.points[0]
    write_mesh(root / "with_nan.vtp", broken)
    write_mesh(root / "without.vtp", Mesh(np.random.rand(4, 3), {}, {"temperature": np.zeros(4)}))
    (root / "junk.ply").write_bytes(b"ply\nformat")
    before = sorted(os.listdir(tmp_path))
    assert prepare(prepare_tool, root, tmp_path / "out", *MORE, "--dry-run") == 2
    out, error = capsys.readouterr()
    assert "error: dry run: a run would stop: " in error
    assert sorted(os.listdir(tmp_path)) == before
    sizes = [len(mesh.points) for mesh in [*meshes.values(), broken]]
    for part in (
        "15 samples, 12 of them can be used; dimension 3",
        f"points a sample: {min(sizes)} to {max(sizes)}",
        "field 'Static Pressure' (point, 1 columns, 13 samples): NaN 1, infinite 0; range [",
        "duplicates: 1 points of 1 samples",
        "missing: 'Static Pressure' in 1 samples",
        "has no field 'Static Pressure', it has ['temperature']",
        "junk.ply: has the header line",
        "'Static Pressure' has 1 NaN or infinite of",
        "and 2 more samples; --dry-run lists them); --skip-bad leaves such samples out",
        "temperature (point data), in 1 samples",
        "protocol drawn 0.1/0.1, seed 0: train",
    ):
        assert part in out, part
    assert prepare(prepare_tool, root, tmp_path / "out", *MORE) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ") and "and 2 more samples" in error and sorted(os.listdir(tmp_path)) == before
    assert prepare(prepare_tool, root, tmp_path / "out", *MORE, "--skip-bad") == 0
    notes = CustomFieldDataset("train", str(tmp_path / "out")).card()["notes"]
    assert sum("left out, cannot be used" in note for note in notes) == 3


def test_a_training_sample_under_another_name_in_the_test_is_told(tmp_path, prepare_tool, capsys):
    """In a dry run, in a run and on the card, which every report of a test has."""
    root = tmp_path / "raw"
    for part, count in (("train", 3), ("val", 1), ("test", 2)):
        (root / part).mkdir(parents=True)
        for i in range(count):
            points = np.random.default_rng([count, i]).random((30, 3))
            write_mesh(root / part / f"{part}_{i}.vtp", Mesh(points, {}, {"p": points[:, :1].copy()}))
    shutil.copy(root / "train" / "train_1.vtp", root / "test" / "again.vtp")
    words = ["--src", str(root), "--dst", str(tmp_path / "out"), "--target", "p"]
    line = "SAME SAMPLES in train and test: 1 of test have the points and values of one of train ('test/again' as"
    for more in (["--dry-run"], []):
        assert prepare_tool.main(["custom", *words, *more]) == 0
        assert line in capsys.readouterr().out
    notes = CustomFieldDataset("test", str(tmp_path / "out")).card()["notes"]
    assert sum(note.startswith(line) for note in notes) == 1
    assert line in (tmp_path / "out" / "README.md").read_text()


def test_an_interrupted_run_goes_on_and_ends_the_same(files, tmp_path, prepare_tool, capsys, interrupted):
    root, _ = files
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert prepare(prepare_tool, root, whole, *MORE) == 0
    with interrupted(write_sample, 6):
        assert prepare(prepare_tool, root, cut, *MORE) == 130
    assert not (cut / "split.json").exists()
    with pytest.raises(InputError, match="split.json: is missing"):
        CustomFieldDataset("train", str(cut))
    (cut / ".s07.part").mkdir()  # half a sample
    assert prepare(prepare_tool, root, cut, *MORE) == 0
    assert "(7 written, 5 were there)" in capsys.readouterr().out
    listed = [sorted(p.relative_to(r).as_posix() for p in r.rglob("*")) for r in (whole, cut)]
    assert listed[0] == listed[1]
    for path in whole.rglob("*.*"):
        other = (cut / path.relative_to(whole)).read_bytes()
        if path.suffix == ".py":  # configs name their folder
            other = other.replace(bytes(cut), bytes(whole)).replace(b"exp/cut/", b"exp/whole/")
        assert path.read_bytes() == other, path


def test_other_options_are_not_mixed_into_one_folder(files, tmp_path, prepare_tool, capsys):
    root, _ = files
    out = tmp_path / "out"
    assert prepare(prepare_tool, root, out, *MORE) == 0
    command = ["custom", "--src", str(root), "--dst", str(out), "--target", "velocity[:2]"]
    assert prepare_tool.main(command) == 2
    assert "was prepared with other fields or options" in capsys.readouterr().err
    assert prepare_tool.main([*command, "--overwrite"]) == 0
    assert CustomFieldDataset("train", str(out)).target_names == ("velocity_2_0", "velocity_2_1")


def test_cell_data_are_averaged_only_when_asked_and_the_card_says_so(files, tmp_path, prepare_tool, capsys):
    root, _ = files
    for path in [*root.glob("*.npz"), *(p for p in root.iterdir() if p.is_dir())]:
        path.unlink() if path.is_file() else [*map(os.unlink, path.iterdir()), path.rmdir()]
    command = ["custom", "--src", str(root), "--dst", str(tmp_path / "out"), "--target", "area"]
    assert prepare_tool.main(command) == 2
    assert "'area' is cell data, wanted point data, or --cells-to-points" in capsys.readouterr().err
    assert prepare_tool.main([*command, "--cells-to-points"]) == 0
    data = CustomFieldDataset("train", str(tmp_path / "out"))
    assert "area: cell data, averaged to the points (mean over the cells at a point)" in data.card()["notes"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--target", "nothing"], "has no field 'nothing'"),
        (["--target", "velocity"], "target 'velocity': column 2 is 0 everywhere, wanted a field that varies"),
        (["--target", "wall", "--feature", "wall"], "'wall' is named twice"),
        (["--target", "wall", "--unit", "wal=m"], "--unit: got 'wal=m'"),
        (["--target", "wall", "--fractions", "0.5", "0.6"], "--fractions: got 0.5 and 0.6"),
        (["--target", "wall", "--split-file", "none.json"], "none.json: is no file"),
        (["--target", "wall", "--parameters", "none.csv"], "none.csv: is no file"),
        ([], "--target: got none"),
    ],
)
def test_the_command_refuses_in_one_line_and_writes_nothing(files, tmp_path, prepare_tool, capsys, more, message):
    root, _ = files
    assert prepare_tool.main(["custom", "--src", str(root), "--dst", str(tmp_path / "out"), *more]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("look ")]
    assert len(errors) == 1 and errors[0].startswith("error: ") and message in errors[0]
    assert not (tmp_path / "out").exists()


def test_names_that_clash_or_lead_out_are_refused(tmp_path, prepare_tool, capsys):
    np.savez(tmp_path / "a.npz", coord=np.random.rand(3, 3), p=np.arange(3.0))
    write_mesh(tmp_path / "a.vtp", Mesh(np.random.rand(3, 3), {}, {"p": np.arange(3.0)}))
    command = ["custom", "--src", str(tmp_path), "--dst", str(tmp_path / "out"), "--target", "p"]
    assert prepare_tool.main(command) == 2 and "are both" in capsys.readouterr().err
    (tmp_path / "a.vtp").unlink()
    np.savez(tmp_path / "c.npz", coord=np.random.rand(3, 3), p=np.arange(3.0))
    for name, message in (("a?b", "has a sample named 'a?b'"), ("A", "would share a folder"), (" b", "named ' b'")):
        np.savez(tmp_path / f"{name}.npz", coord=np.random.rand(3, 3), p=np.arange(3.0))
        for more in ((), ("--dry-run",)):
            assert prepare_tool.main([*command, *more]) == 2
            assert message in capsys.readouterr().err and not (tmp_path / "out").exists()
        (tmp_path / f"{name}.npz").unlink()


def test_names_with_spaces_and_letters_of_any_language_are_samples(tmp_path, prepare_tool):
    names = ["case 1", "Fäll 2", unicodedata.normalize("NFD", "Fäll 3"), "部品/4", "a.b"]
    for i, name in enumerate(names):
        (tmp_path / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        np.savez(tmp_path / "src" / f"{name}.npz", coord=np.random.rand(3, 3), p=np.arange(3.0) + i)
    rows = [f"{unicodedata.normalize('NFC', name)},{i}" for i, name in enumerate(names)]
    (tmp_path / "cases.csv").write_text("\n".join(["name,mach", *rows]))
    nfc = [unicodedata.normalize("NFC", name) for name in names]
    (tmp_path / "split.json").write_text(json.dumps({"train": nfc[1:4], "val": nfc[:1], "test": nfc[4:]}))
    command = ["custom", "--src", str(tmp_path / "src"), "--dst", str(tmp_path / "out"), "--target", "p"]
    command += ["--feature", "mach", "--parameters", str(tmp_path / "cases.csv")]
    command += ["--split-file", str(tmp_path / "split.json")]
    assert prepare_tool.main([*command, "--dry-run"]) == 0 and not (tmp_path / "out").exists()
    assert prepare_tool.main(command) == 0
    for data in open_all(data_root=str(tmp_path / "out")).values():
        for name in data.data_list:
            number = names.index(name)
            np.testing.assert_array_equal(data.store.read(name)["mach"], [[number]])
            np.testing.assert_array_equal(data.store.read(name)["p"].ravel(), np.arange(3.0) + number)


def test_the_dry_run_finds_what_stops_a_run(files, tmp_path, prepare_tool, capsys):
    """The same line from both, whatever is in the way."""
    root, _ = files
    (tmp_path / "file").write_text("")
    assert prepare(prepare_tool, root, tmp_path / "there", *MORE) == 0
    (tmp_path / "some").mkdir()
    write_mesh(tmp_path / "some" / "other.vtp", surface(0))
    for i in range(3):
        write_mesh(tmp_path / "some" / f"x{i}.vtp", surface(i))
    capsys.readouterr()
    for source, out, more in (
        (root, tmp_path / "file", MORE),
        (root, tmp_path / "file" / "below", MORE),
        (root, tmp_path / "there", ()),  # another recipe
        (tmp_path / "some", tmp_path / "there", MORE),  # other samples
        (root, tmp_path / "new", ("--feature", "no_such")),
        (root, tmp_path / "new", ("--target", "velocity")),  # whose third column is 0 everywhere
    ):
        lines = []
        for last in (("--dry-run",), ()):
            assert prepare(prepare_tool, source, out, *more, *last) == 2
            lines.append(capsys.readouterr().err.strip().splitlines()[-1])
        told = lines[0].removeprefix("error: dry run: a run would stop: ")
        assert told != lines[0] and told.startswith(lines[1].removeprefix("error: ")), lines
        assert not (tmp_path / "new").exists()


VTK = """# vtk DataFile Version 3.0
t
ASCII
DATASET POLYDATA
POINTS 3 double
{points}
POINT_DATA 3
SCALARS p double 1
LOOKUP_TABLE default
{p}
FIELD more 1
material 1 3 string
steel
steel
air
"""


def write_with_text(folder, name, suffix, points, p):
    """Three points with numbers ``p`` and texts ``material``."""
    words = ["steel", "steel", "air"]
    if suffix == "csv":
        rows = [f"{x},{y},{z},{value},{word}" for (x, y, z), value, word in zip(points, p, words, strict=True)]
        (folder / f"{name}.csv").write_text("\n".join(["x,y,z,p,material", *rows]))
    elif suffix == "npz":
        np.savez(folder / f"{name}.npz", coord=points, p=p, material=np.array(words))
    elif suffix == "vtk":
        text = ("\n".join(" ".join(map(str, row)) for row in points), "\n".join(map(str, p)))
        (folder / f"{name}.vtk").write_text(VTK.format(points=text[0], p=text[1]))
    else:
        (folder / name).mkdir()
        for key, values in {"coord": points, "p": p, "material": np.array(words)}.items():
            np.save(folder / name / f"{key}.npy", values)


@pytest.mark.parametrize("suffix", ["csv", "npz", "vtk", "folder"])
def test_texts_of_files_are_told_to_be_left_out_and_are_no_target(tmp_path, prepare_tool, capsys, suffix):
    (tmp_path / "src").mkdir()
    for i in range(3):
        write_with_text(tmp_path / "src", f"case{i}", suffix, np.random.rand(3, 3), np.arange(3.0) + i)
    command = ["custom", "--src", str(tmp_path / "src"), "--dst", str(tmp_path / "out"), "--dry-run", "--target"]
    assert prepare_tool.main([*command, "p"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "  p (point data), in 3 samples" in said and not any("  material" in line for line in said)
    assert "neither numbers nor cells of a fixed shape, and left out: 'material' in 3 samples" in said
    assert prepare_tool.main([*command, "material"]) == 2
    assert "field 'material': what is there under this name holds no real numbers" in capsys.readouterr().err


def test_a_dry_run_of_numbers_alone_says_of_nothing_that_it_is_left_out(files, tmp_path, prepare_tool, capsys):
    assert prepare(prepare_tool, files[0], tmp_path / "out", *MORE, "--dry-run") == 0
    assert "left out" not in capsys.readouterr().out


def test_a_disk_that_is_too_small_is_told_before(files, tmp_path, prepare_tool, capsys, monkeypatch):
    from pointcept_bsa.datasets.prepare import layout

    monkeypatch.setattr(layout.shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
    for more in ((), ("--dry-run",)):
        assert prepare(prepare_tool, files[0], tmp_path / "out", *MORE, *more) == 2
        assert "MB free, wanted" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_options_that_nothing_asks_for_are_refused(files, tmp_path, prepare_tool, capsys):
    root, _ = files
    (tmp_path / "cases.csv").write_text("name,alpha\ns00,1\n")
    for more, message in (
        (("--wall-mask", "wall"), "no field wall_distance"),
        (("--parameters", str(tmp_path / "cases.csv"), "--feature", "mach"), "none of the columns ['alpha']"),
        (("--unit", "Static Pressure=Pa", "Static Pressure=kPa"), "twice, wanted one unit"),
    ):
        assert prepare(prepare_tool, root, tmp_path / "out", *more) == 2
        assert message in capsys.readouterr().err and not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="units: got 'wal'.*did you mean 'wall'"):
        CustomFieldDataset("train", str(root), target=["wall"], units={"wal": "m"})


def clouds(folder, number=6, **fields):
    """Files of 20 points; a field is a function of positions (20, 3) and the number of the sample."""
    folder.mkdir()
    for i in range(number):
        x = np.random.default_rng(i).random((20, 3))
        np.savez(folder / f"s{i}.npz", coord=x, **{name: make(x, i) for name, make in fields.items()})


def prepared(tool, raw, out, *more):
    assert tool.main(["custom", "--src", str(raw), "--dst", str(out), *more]) == 0
    return out


def test_samples_at_rest_are_told_and_trained_on_normalised_values(tmp_path, prepare_tool, capsys):
    clouds(tmp_path / "raw", u=lambda x, i: i * x)
    out = prepared(prepare_tool, tmp_path / "raw", tmp_path / "out", "--target", "u")
    assert "zero at all points of 1 samples (s0)" in capsys.readouterr().out
    assert "no relative error" in (out / "README.md").read_text()
    assert load_config(str(out / "bsa.py")).model.criteria == [dict(type="RelativeL2Loss", physical=False)]


@pytest.mark.parametrize(("scale", "written"), [(1e20, True), (1e-20, True), (1e5, False), (1e-5, False)])
def test_squares_that_float32_does_not_hold_are_not_taken(tmp_path, prepare_tool, scale, written):
    clouds(tmp_path / "raw", density=lambda x, i: scale * (1 + x[:, 0]))
    out = prepared(prepare_tool, tmp_path / "raw", tmp_path / "out", "--target", "density")
    assert ("physical=False" in (out / "bsa.py").read_text()) == written


def test_samples_of_other_units_are_told(tmp_path, prepare_tool, capsys):
    clouds(tmp_path / "raw", p=lambda x, i: x[:, 0])
    x = np.random.default_rng(0).random((20, 3))
    prepared(prepare_tool, tmp_path / "raw", tmp_path / "same", "--target", "p")
    assert "size:" not in capsys.readouterr().out
    np.savez(tmp_path / "raw" / "millimetres.npz", coord=1000 * x, p=x[:, 0])
    prepared(prepare_tool, tmp_path / "raw", tmp_path / "out", "--target", "p")
    assert "(millimetres): in other units?" in capsys.readouterr().out


def test_what_was_prepared_is_no_raw_file(tmp_path, prepare_tool, capsys):
    clouds(tmp_path / "raw", p=lambda x, i: x[:, 0])
    for _ in range(2):
        out = prepared(prepare_tool, tmp_path / "raw", tmp_path / "raw" / "prepared", "--target", "p")
        assert sorted(n for s in open_all(data_root=str(out)).values() for n in s.sample_names) == [
            f"s{i}" for i in range(6)
        ]
    assert (
        prepare_tool.main(["custom", "--src", str(tmp_path / "raw"), "--dst", str(tmp_path / "raw"), "--target", "p"])
        == 2
    )
    assert "the folder of --src" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["npz", "folder"])
def test_tensors_are_columns(tmp_path, prepare_tool, kind):
    def tensor(x, i):
        return np.einsum("ni,nj->nij", x, x + i)

    clouds(tmp_path / "raw", stress=tensor)
    for path in sorted((tmp_path / "raw").glob("*.npz")) if kind == "folder" else ():
        path.with_suffix("").mkdir()
        for name, values in np.load(path).items():
            np.save(path.with_suffix("") / f"{name}.npy", values)
        path.unlink()
    out = prepared(prepare_tool, tmp_path / "raw", tmp_path / "out", "--target", "stress")
    x = np.random.default_rng(4).random((20, 3))
    np.testing.assert_allclose(np.load(out / "s4/stress.npy"), tensor(x, 4).reshape(20, 9), rtol=1e-6)


def test_inputs_named_like_what_transforms_make_are_refused(tmp_path, prepare_tool, capsys):
    clouds(tmp_path / "raw", p=lambda x, i: x[:, 0], fourier=lambda x, i: x[:, 1])
    command = ["custom", "--src", str(tmp_path / "raw"), "--dst", str(tmp_path / "out"), "--target", "p"]
    assert prepare_tool.main([*command, "--feature", "fourier"]) == 2
    assert "'fourier' is a name that samples use otherwise" in capsys.readouterr().err


def test_bad_samples_that_were_drawn_to_be_tested_are_told_with_the_way_out(tmp_path, prepare_tool, capsys):
    clouds(tmp_path / "raw", p=lambda x, i: x[:, 0] + (np.nan if i in (0, 1, 2, 4, 5) else 0))
    command = ["custom", "--src", str(tmp_path / "raw"), "--dst", str(tmp_path / "out"), "--target", "p"]
    assert prepare_tool.main([*command, "--skip-bad"]) == 2
    assert "another --seed draws others" in capsys.readouterr().err
