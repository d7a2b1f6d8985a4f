"""ProteinSurfaceDataset: the real surfaces, sums worked by hand, and files that are not right."""

from __future__ import annotations

import numpy as np
import pytest

from pointcept_bsa.datasets.proteins import (
    ProteinSurfaceDataset,
    atom_density,
    atom_distance,
    atom_kinds,
    screened_charges,
)

# Methanol-like: H on O, O, C, H on C; then S far away.
ATOMS = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [0.96, 1.4, 0.0], [0.96, 2.5, 0.0], [30.0, 0.0, 0.0]])
NUMBER = np.array([1, 8, 6, 1, 16])


def test_screened_charges_by_hand():
    charge = np.array([0.0, -0.5, 0.0, 0.0, 1.0], np.float32)
    points = np.array([[0.96, 0.0, 4.0], [30.0, 0.0, 0.5]])
    sums = screened_charges(points, ATOMS, charge)
    far, other = np.hypot(29.04, 4), np.hypot(29.04, 0.5)
    for k, length in enumerate((2, 4, 8, 16)):
        first = -0.5 * np.exp(-4 / length) / 4 + np.exp(-far / length) / far
        second = np.exp(-1 / length) - 0.5 * np.exp(-other / length) / other  # 0.5 A counts as 1 A
        np.testing.assert_allclose(sums[:, k], [first, second], rtol=1e-12)


def test_kinds_densities_and_distances_by_hand():
    np.testing.assert_array_equal(atom_kinds(ATOMS, NUMBER), [0, 4, 2, 1, 5])
    points = np.array([[0.96, 0.0, 5.0]])
    density = atom_density(points, ATOMS, NUMBER)
    r = np.linalg.norm(ATOMS[[0, 3, 2, 1]] - points, axis=1)  # polar hydrogen, the other, carbon, oxygen
    for start, length in ((0, 1.5), (6, 3.0)):
        sums = np.exp(-r / length) / r
        np.testing.assert_allclose(density[0, start : start + 6], [sums[0], sums[1], sums[2], 0, sums[3], 0])
    np.testing.assert_allclose(atom_distance(points, ATOMS, NUMBER), [[r[0], r[2], 12, 5.0, 12]])


def test_inputs_do_not_turn_with_the_protein():
    rng = np.random.default_rng(0)
    points, charge = 5 * rng.normal(size=(7, 3)), rng.normal(size=5)
    turn, shift = np.linalg.qr(rng.normal(size=(3, 3)))[0], np.array([3.0, -80.0, 200.0])
    moved, atoms = points @ turn + shift, ATOMS @ turn + shift
    np.testing.assert_allclose(screened_charges(moved, atoms, charge), screened_charges(points, ATOMS, charge))
    np.testing.assert_allclose(atom_density(moved, atoms, NUMBER), atom_density(points, ATOMS, NUMBER))
    np.testing.assert_allclose(atom_distance(moved, atoms, NUMBER), atom_distance(points, ATOMS, NUMBER))


@pytest.fixture(scope="module")
def real(real_data, tmp_path_factory, prepare_tool):
    path = str(tmp_path_factory.mktemp("proteins") / "proteins")
    assert prepare_tool.main(["proteins", "--src", str(real_data("masif_pb_surface_59.npz")), "--dst", path]) == 0
    return path


def test_the_real_surfaces(real, real_data):
    raw = np.load(real_data("masif_pb_surface_59.npz"), allow_pickle=False)
    raw = {key: raw[key] for key in raw.files}
    cases = raw["case"].tolist()
    parts = {split: ProteinSurfaceDataset(split, real) for split in ("train", "val", "test")}
    assert {split: len(data) for split, data in parts.items()} == {"train": 39, "val": 8, "test": 12}
    drawn = np.random.RandomState(0).permutation(59)
    assert set(parts["test"].data_list) == {cases[i] for i in drawn[:12]}
    assert len({name for data in parts.values() for name in data.data_list}) == 59
    for data in parts.values():
        for sample in (data[0], data[-1]):
            i = cases.index(sample["name"])
            rows = slice(raw["offsets"][i], raw["offsets"][i + 1])
            points = raw["points"][rows]
            np.testing.assert_allclose(sample["coord"], points - points.mean(axis=0, dtype=np.float64), atol=1e-4)
            np.testing.assert_array_equal(sample["target"][:, 0], raw["potential"][rows])
            np.testing.assert_array_equal(sample["normal"], raw["normals"][rows])
            np.testing.assert_array_equal(sample["hbond"][:, 0], raw["hbond"][rows])
            assert sample["face"].max() == len(points) - 1 and sample["face"].dtype.kind == "i"
            atoms = slice(raw["atom_offsets"][i], raw["atom_offsets"][i + 1])
            charged = raw["atom_formal_charge"][atoms] != 0
            r = np.linalg.norm(points[7].astype(np.float64) - raw["atom_points"][atoms][charged], axis=1)
            for k, length in enumerate((2, 4, 8, 16)):
                value = (raw["atom_formal_charge"][atoms][charged] * np.exp(-r / length) / np.maximum(r, 1)).sum()
                assert sample["coulomb"][7, k] == pytest.approx(value, abs=1e-5)
    card = parts["test"].card()
    assert card["protocol"] == "39/8/12, seed 0" and card["units"] == ["kT/e"]


def test_screened_charges_tell_much_of_the_real_potential(real):
    """Least squares on the four sums and a constant: 0.666 on the test proteins, where a constant has 0.982."""
    fields = ("coulomb",)
    train, test = (ProteinSurfaceDataset(split, real, fields=fields) for split in ("train", "test"))
    rows = [(np.c_[s["coulomb"], np.ones(len(s["coord"]))], s["target"]) for s in train]
    weight = np.linalg.lstsq(np.concatenate([r[0] for r in rows]), np.concatenate([r[1] for r in rows]), rcond=None)[0]
    assert weight.sum() > 0  # like charges, like potential
    errors = []
    for sample in test:
        prediction = np.c_[sample["coulomb"], np.ones(len(sample["coord"]))] @ weight
        errors.append(np.linalg.norm(prediction - sample["target"]) / np.linalg.norm(sample["target"]))
    assert np.mean(errors) == pytest.approx(0.666, abs=2e-3)


def made_up(path, **changes):
    rng = np.random.default_rng(0)
    count, points, faces = 4, 5, 3
    arrays = {"case": np.array([f"{i}XYZ_A" for i in range(count)])}
    for name, length in (("offsets", points), ("face_offsets", faces), ("atom_offsets", len(ATOMS))):
        arrays[name] = np.arange(count + 1) * length
    arrays["points"], arrays["normals"] = rng.random((2, count * points, 3), np.float32)
    arrays["potential"], arrays["hbond"], arrays["hydropathy"] = rng.random((3, count * points), np.float32)
    arrays["faces"] = np.tile(np.array([[0, 1, 2], [1, 2, 3], [2, 3, 4]]), (count, 1))
    arrays["atom_points"] = np.tile(ATOMS, (count, 1)).astype(np.float32)
    arrays["atom_number"] = np.tile(NUMBER, count)
    arrays["atom_formal_charge"] = rng.random(count * len(ATOMS), np.float32)
    np.savez(path, **(arrays | changes))
    return arrays


def test_a_small_file(tmp_path, prepare_tool):
    arrays = made_up(tmp_path / "p.npz")
    command = ["proteins", "--src", str(tmp_path / "p.npz"), "--dst", str(tmp_path / "out")]
    assert prepare_tool.main(command) == 0
    parts = [ProteinSurfaceDataset(split, str(tmp_path / "out")) for split in ("train", "val", "test")]
    assert [len(d) for d in parts] == [2, 1, 1] and parts[0].protocol == "2/1/1, seed 0"
    sample = parts[2][0]
    i = int(sample["name"][0])
    np.testing.assert_array_equal(sample["target"][:, 0], arrays["potential"][5 * i : 5 * i + 5])
    np.testing.assert_allclose(sample["coord"].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_array_equal(sample["face"], arrays["faces"][:3])
    shapes = {key: sample[key].shape for key in ("coulomb", "atom_density", "atom_distance", "hbond", "hydropathy")}
    assert shapes == dict(coulomb=(5, 4), atom_density=(5, 12), atom_distance=(5, 5), hbond=(5, 1), hydropathy=(5, 1))
    assert "face" not in ProteinSurfaceDataset("test", str(tmp_path / "out"), with_face=False)[0]


def test_damaged_files_are_refused_by_name(tmp_path, prepare_tool, capsys):
    arrays = made_up(tmp_path / "p.npz")
    places = np.full_like(arrays["atom_points"], np.nan)
    for changes, message in [
        ({"offsets": np.array([0, 5, 10, 15, 19])}, "'offsets' has 5 entries, wanted 5, rising from 0 to 20"),
        ({"normals": np.zeros((20, 2), np.float32)}, "'normals' has shape (20, 2), wanted (20, 3)"),
        ({"atom_number": np.zeros(20, int)}, "has atoms of the elements [0], wanted [1, 6, 7, 8, 16]"),
        ({"atom_number": np.full(20, 1.5)}, "'atom_number' holds float64 values, wanted integers"),
        ({"atom_points": places}, "places or charges of atoms are NaN or infinite"),
        ({"faces": np.full((12, 3), 5)}, "faces name points 5 to 5, wanted 0 to 4"),
        ({"potential": np.full(20, np.inf, np.float32)}, "field 'potential' has 5 NaN or infinite"),
        ({"case": np.array(["../a", "b", "c", "d"])}, "has a sample named '../a'"),
        ({"case": np.array(["a", "a", "c", "d"])}, "'case' names ['a'] more than once"),
    ]:
        made_up(tmp_path / "p.npz", **changes)
        assert prepare_tool.main(["proteins", "--src", str(tmp_path / "p.npz"), "--dst", str(tmp_path / "o")]) == 2
        err = capsys.readouterr().err
        assert message in err and err.count("error:") == 1, (list(changes), err)
