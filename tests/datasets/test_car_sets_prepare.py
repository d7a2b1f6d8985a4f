"""Preparing the sets of simulated cars: runs that go on, parts, protocols, damaged files, wrong arguments."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest

car_files = pytest.importorskip("car_files", reason="pyvista, which writes the raw files, is missing")

from pointcept_bsa.datasets.base import split_hash  # noqa: E402
from pointcept_bsa.datasets.car_sets.ahmedml import AHMEDML  # noqa: E402
from pointcept_bsa.datasets.car_sets.drivaerml import DRIVAERML, DrivAerMLDataset  # noqa: E402
from pointcept_bsa.datasets.prepare.car_sets.convert import ShuffledRows  # noqa: E402
from pointcept_bsa.datasets.prepare.car_sets.splits import drawn  # noqa: E402
from pointcept_bsa.errors import InputError  # noqa: E402

command = car_files.command


def arrays(folder, domain):
    return {file.stem.removeprefix(f"{domain}_"): np.load(file) for file in folder.glob(f"{domain}_*.npy")}


def test_a_second_run_has_nothing_to_do_and_redoes_what_is_damaged(copied, prepare_tool, capsys):
    raw, out = copied
    run = command("drivaerml", raw, out)
    before = {file: file.stat().st_mtime_ns for file in out.glob("*/*.npy")}
    assert prepare_tool.main(run) == 0 and "(0 domains written, 10 were there)" in capsys.readouterr().out
    assert before == {file: file.stat().st_mtime_ns for file in out.glob("*/*.npy")}
    cut = out / "run_2" / "surface_coord.npy"
    whole = cut.read_bytes()
    cut.write_bytes(whole[:-4])
    (out / "run_3" / "volume.json").unlink()  # written last: without it the domain is not finished
    assert prepare_tool.main(run) == 0 and "(2 domains written, 8 were there)" in capsys.readouterr().out
    assert cut.read_bytes() == whole  # the order of the rows follows from the case alone
    car_files.drivaerml_case(raw, 4)
    (raw / "run_4" / "boundary_4.vtp").write_bytes((raw / "run_4" / "boundary_4.vtp").read_bytes() + b"\n")
    assert prepare_tool.main(run) == 0 and "(1 domains written, 9 were there)" in capsys.readouterr().out


def test_raw_files_of_finished_cases_may_go(copied, prepare_tool, capsys):
    raw, out = copied
    shutil.rmtree(raw / "run_1")
    (raw / "run_2" / "volume_2.vtu").unlink()
    assert prepare_tool.main(command("drivaerml", raw, out)) == 0
    assert "prepared 5 cases" in capsys.readouterr().out
    assert prepare_tool.main(command("drivaerml", raw, out, "--overwrite")) == 2
    assert "lacks files of 2 of 5 cases, first run_1/boundary_1.vtp of 'run_1'" in capsys.readouterr().err


def test_an_interrupted_conversion_leaves_no_halves_and_goes_on(copied, tmp_path, prepare_tool, interrupted, capsys):
    raw, out = copied[0], tmp_path / "new"
    with interrupted(ShuffledRows.write, 10):  # the second case's surface, after its coordinates
        assert prepare_tool.main(command("drivaerml", raw, out)) == 130
    assert sorted(folder.name for folder in out.iterdir()) == ["run_1"] and not (out / "split.json").exists()
    (out / ".run_2.surface.part").mkdir()  # what a killed run leaves
    assert prepare_tool.main(command("drivaerml", raw, out)) == 0
    assert "were there)" in capsys.readouterr().out and not list(out.glob(".*"))
    for file in copied[1].glob("*/*.npy"):
        assert file.read_bytes() == (out / file.parent.name / file.name).read_bytes()


def test_domains_one_after_the_other(copied, tmp_path, prepare_tool):
    out = tmp_path / "new"
    assert prepare_tool.main(command("drivaerml", copied[0], out, "--domains", "surface")) == 0
    with pytest.raises(InputError, match="volume_coord"):
        DrivAerMLDataset("train", str(out), domain="volume")
    assert "volume_velocity.npy" not in (out / "README.md").read_text()
    assert prepare_tool.main(command("drivaerml", copied[0], out, "--domains", "volume")) == 0
    assert json.loads((out / "stats.json").read_text()) == json.loads((copied[1] / "stats.json").read_text())


def test_a_volume_in_parts(copied, prepare_tool):
    raw, out = copied
    for number in (1, 2):
        path = raw / f"run_{number}" / f"volume_{number}.vtu"
        content = path.read_bytes()
        for part, piece in enumerate((content[:5000], content[5000:9000], content[9000:])):
            path.with_name(f"{path.name}.{part:02d}.part").write_bytes(piece)
        path.unlink()
    before = (out / "run_1" / "volume_velocity.npy").read_bytes()
    assert prepare_tool.main(command("drivaerml", raw, out, "--overwrite")) == 0
    assert (out / "run_1" / "volume_velocity.npy").read_bytes() == before
    (raw / "run_2" / "volume_2.vtu.01.part").unlink()
    assert prepare_tool.main(command("drivaerml", raw, out, "--overwrite")) == 2


def test_some_of_the_rows(copied, tmp_path, prepare_tool, capsys):
    """A random part of the rows, fields still at their points; statistics of all; another number is done again."""
    raw, out = copied[0], tmp_path / "few"
    assert prepare_tool.main(command("drivaerml", raw, out, "--rows", "40")) == 0
    found, every = arrays(out / "run_1", "volume"), np.load(copied[1] / "run_1" / "volume_row.npy")
    rows = found["row"][:, 0]
    assert 40 <= len(rows) == len(set(rows)) == len(found["velocity"]) <= 60 < len(every)
    assert rows.max() > len(every) / 2 and rows.min() < len(every) / 4
    np.testing.assert_allclose(found["velocity"], car_files.vector(found["coord"]), atol=2e-6)
    assert json.loads((out / "stats.json").read_text()) == json.loads((copied[1] / "stats.json").read_text())
    assert "about 40 rows are here" in (out / "README.md").read_text()
    assert prepare_tool.main(command("drivaerml", raw, out, "--rows", "40")) == 0
    assert "(0 domains written" in capsys.readouterr().out
    assert prepare_tool.main(command("drivaerml", raw, out)) == 0 and "(10 domains" in capsys.readouterr().out
    assert prepare_tool.main(command("drivaerml", raw, out, "--rows", "0")) == 2


def test_a_dry_run_looks_and_writes_nothing(copied, tmp_path, prepare_tool, capsys):
    raw, out = copied[0], tmp_path / "new"
    assert prepare_tool.main(command("drivaerml", raw, out, "--dry-run")) == 0 and not out.exists()
    text = capsys.readouterr().out
    assert "5 cases, 10 domains to write" in text and "protocol full (default): train 3, val 1, test 1" in text
    mesh = car_files.body(2, inward=True)
    car_files.save(raw / "run_2" / "boundary_2.vtp", mesh)
    assert prepare_tool.main(command("drivaerml", raw, out, "--dry-run")) == 2
    assert "boundary_2.vtp: has cell fields [], wanted also 'CpMeanTrim'" in capsys.readouterr().err


def test_protocols(copied, tmp_path, prepare_tool, capsys):
    raw, out = copied
    assert prepare_tool.main(command("drivaerml", raw, out, "--split", "scarce")) == 0
    assert len(DrivAerMLDataset("train", str(out))) == 1 and len(DrivAerMLDataset("train", str(out), "full")) == 3
    shutil.rmtree(raw / "run_3")
    new = tmp_path / "new"
    assert prepare_tool.main(command("drivaerml", raw, new)) == 2
    assert "lacks files of 1 of 5 cases, first run_3/boundary_3.vtp" in capsys.readouterr().err
    assert prepare_tool.main(command("drivaerml", raw, new, "--allow-partial")) == 0
    data = DrivAerMLDataset("train", str(new))
    assert (data.card()["protocol"], len(data)) == ("full partial", 2)
    assert "Left out: run_3." in (new / "README.md").read_text()
    other = tmp_path / "other"
    assert prepare_tool.main(command("drivaerml", copied[0], other, "--without", "run_3", "run_1")) == 0
    assert len(DrivAerMLDataset("train", str(other))) == 1


def test_published_draws():
    """Hashes of the lists that AB-UPT publishes; DrivAerML's is the authors' own, too."""
    for spec, hashes in [
        (DRIVAERML, ["1989d7aceec4fb19", "1fb6042d5547d976", "16c66c45e4f585c2"]),
        (AHMEDML, ["33b4033c7c08dd2e", "0806fbb1bce04c91", "ceea313c4cea4a27"]),
    ]:
        lists = drawn(spec.drawn, spec.prefix)
        assert [split_hash(lists[part]) for part in ("train", "val", "test")] == hashes
    assert drawn(DRIVAERML.drawn, "run_")["test"][:4] == ["run_11", "run_12", "run_19", "run_20"]


def edit(path, old, new):
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


def without_field(raw):
    mesh = car_files.body(1, inward=True)
    at = car_files.cell_centers(mesh)
    mesh.cell_data["CpMeanTrim"], mesh.cell_data["wallShearStressMeanTrum"] = (
        car_files.pressure(at),
        car_files.vector(at),
    )
    car_files.save(raw / "run_1" / "boundary_1.vtp", mesh)


def with_nan(raw):
    mesh = car_files.body(1, inward=True)
    at = car_files.cell_centers(mesh)
    mesh.cell_data["CpMeanTrim"], mesh.cell_data["wallShearStressMeanTrim"] = (
        car_files.pressure(at),
        car_files.vector(at),
    )
    mesh.cell_data["CpMeanTrim"][3] = np.nan
    car_files.save(raw / "run_1" / "boundary_1.vtp", mesh)


def truncated(raw):
    path = raw / "run_1" / "volume_1.vtu"
    path.write_bytes(path.read_bytes()[:-900])


DAMAGED = [
    (without_field, "wanted also 'wallShearStressMeanTrim' (did you mean 'wallShearStressMeanTrum'?)"),
    (with_nan, "field 'pressure_coefficient' has 1 NaN"),
    (truncated, "volume_1.vtu: "),
    (lambda raw: edit(raw / "run_1/force_mom_constref_1.csv", b"Cd", b"Ce"), "wanted 'cd' for drag_coefficient"),
    (lambda raw: edit(raw / "run_1/force_mom_constref_1.csv", b"0.3001", b"none"), "'cd' of 'run_1' is 'none'"),
    (lambda raw: edit(raw / "run_1/force_mom_constref_1.csv", b"0.3001,", b""), "row 2 has 4 entries, wanted 5"),
    (lambda raw: (raw / "run_1/force_mom_constref_1.csv").unlink(), "force_mom_constref_1.csv"),
    (lambda raw: edit(raw / "splits.json", b'"run_4"', b'"run_1"'), "protocol 'full' has a case twice"),
    (lambda raw: edit(raw / "splits.json", b'"full_train"', b'"full_trian"'), None),
    (lambda raw: (raw / "splits.json").write_text("{"), "is not JSON"),
    (lambda raw: (raw / "splits.json").write_text('{"train": [1]}'), "has no lists <protocol>_train"),
    (lambda raw: edit(raw / "splits.json", b'"run_2"', b"2.5"), "has the entry '2.5'"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGED, ids=range(len(DAMAGED)))
def test_damaged_files_give_one_line(copied, tmp_path, prepare_tool, capsys, damage, message):
    raw, out = copied[0], tmp_path / "new"
    damage(raw)
    code = prepare_tool.main(command("drivaerml", raw, out))
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    if message is None:  # a protocol without a list of training cases is none, the other stays
        assert code == 0 and list(json.loads((out / "split.json").read_text())["protocols"]) == ["scarce"]
        return
    assert code == 2 and len(error) == 1 and message in error[0]
    assert not (out / "split.json").exists() and not list(out.glob(".*.part"))
    assert len(list(out.glob("run_1/*.json"))) < 2  # never both domains


def test_a_design_without_a_row_and_points_that_differ(tmp_path, prepare_tool, capsys):
    raw = car_files.raw_set(tmp_path / "raw", "drivaernet", range(1, 4))
    table = raw / "DrivAerNetPlusPlus_Cd_8k_Updated.csv"
    text = table.read_text()
    table.write_text("\n".join(text.splitlines()[:-1]) + "\n")
    assert prepare_tool.main(command("drivaernet", raw, tmp_path / "out")) == 2
    assert "has no row of 'F_D_WM_WW_0003'" in capsys.readouterr().err
    (tmp_path / "moved.csv").write_text(text)
    other = car_files.pyvista.PolyData(np.asarray(car_files.body(2).points) + 0.5)
    other.point_data["wallShearStress"] = car_files.vector(np.asarray(other.points))
    car_files.save_legacy(raw / "WallShearStressVTK_Updated" / car_files.GROUP / "F_D_WM_WW_0002.vtk", other)
    run = command("drivaernet", raw, tmp_path / "out", "--coefficients", str(tmp_path / "moved.csv"))
    assert prepare_tool.main(run) == 2
    assert re.search(r"Stress.*0002.vtk: has other points than .*Pressure.*0002.vtk", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--split", "ful"], "--split: got 'ful', wanted one of ['full', 'scarce'] (did you mean 'full'?)"),
        (["--domains", "surfaces"], "--domains: got 'surfaces'"),
        (["--without", "run_9"], "--without: got 'run_9'"),
        (["--splits", "nowhere.json"], "nowhere.json"),
        (["--src", "nowhere"], "--src: got 'nowhere', wanted the folder of the published files of DrivAerML"),
        (["--splits", "."], "has 0 files train*.txt, wanted one"),
    ],
)
def test_wrong_arguments_of_the_tool(whole, tmp_path, prepare_tool, capsys, monkeypatch, more, message):
    monkeypatch.chdir(tmp_path)
    assert prepare_tool.main([*command("drivaerml", whole[0], tmp_path / "out"), *more]) == 2
    assert message in capsys.readouterr().err


def test_sets_whose_lists_are_not_known_ask_for_them(whole, tmp_path, prepare_tool, capsys):
    for name in ("windsorml", "drivaernet"):
        assert prepare_tool.main([name, "--src", str(whole[0]), "--dst", str(tmp_path / "out")]) == 2
        assert "--splits: is missing, wanted the published lists of" in capsys.readouterr().err
