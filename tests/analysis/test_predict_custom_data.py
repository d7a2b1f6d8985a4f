"""What tools/predict.py says of a raw file of own data is what the test says of that sample, for every option.

The networks are not trained, but random ones of the shipped configs' kind: any difference of an input shows.
"""

from __future__ import annotations

import numpy as np
import pytest

from pointcept_bsa.analysis.prediction.inputs import prepare_input
from pointcept_bsa.analysis.prediction.network import open_network
from pointcept_bsa.datasets.prepare.custom import prepare_custom
from pointcept_bsa.host import build_dataset, collate_fn
from pointcept_bsa.mesh_io import Mesh, read_mesh, write_mesh
from pointcept_bsa.training.evaluation.export_fields import FieldExporter

from .custom_bodies import ALL, FOURIER, NUMBER, PREPARE, body, collect, compare, custom_config, make_run, write_bodies

GIVEN = ["--field", "alpha=ALPHA", "mass=MASS"]
OPTIONS = {  # transforms, options of the data set, options of the test set
    "box": ([FOURIER, collect("fourier")], dict(scale_to_box=True), {}),
    "every field": ([collect("coord", *ALL, "alpha", "mass")], {}, {}),
    "box and fields": ([FOURIER, collect("fourier", "normal", "mach")], dict(scale_to_box=True), {}),
    "scaled": (
        [
            dict(type="ScaleField", key="velocity", std=[0.5, 2.0, 1.0], mean=[0.1, 0.2, 0.3]),
            dict(type="ScaleCoord", min=(0, 0, -1), max=(2, 1, 1)),
            collect("coord", "velocity"),
        ],
        {},
        {},
    ),
    "mirrored": ([dict(type="RandomMirror", p=1.0, vector_keys=("velocity",)), collect("coord", "velocity")], {}, {}),
    "sampled": ([dict(type="SamplePoints", num_points=1000), collect("coord", "wind")], {}, {}),
    "bounded": ([collect("coord", "mach")], {}, dict(test_cfg=dict(max_points=20, votes=2))),
    "tree": (
        [
            dict(type="AddGridCoord", grid_size=0.1),
            dict(
                type="CollectPoints",
                keys=("coord", "target", "name", "grid_coord"),
                feat_keys=("coord", "grid_coord"),
            ),
        ],
        {},
        {},
    ),
}


@pytest.mark.parametrize("far", [False, True], ids=["near", "far"])
@pytest.mark.parametrize("option", list(OPTIONS))
def test_custom_data_prepared(option, far, tmp_path, tool):
    shift = dict(shift=(501234.0, 5212345.0, 300.0), constant=101325.0) if far else {}
    mesh_of = write_bodies(tmp_path / "src", **shift)
    prepare_custom(str(tmp_path / "src"), str(tmp_path / "data"), parameters=str(tmp_path / "src/cases.csv"), **PREPARE)
    transform, options, test = OPTIONS[option]
    if far:  # places in transforms are those of the files
        low = np.array(shift["shift"])
        places = {
            "ScaleCoord": dict(min=(low - [0, 0, 1]).tolist(), max=(low + [2, 1, 1]).tolist()),
            "RandomMirror": dict(center=float(low[0])),
        }
        transform = [{**step, **(places.get(step["type"]) or {})} for step in transform]
    cfg = custom_config(tmp_path / "data", transform, test, **options)
    number = int(build_dataset(cfg.data.test).get_data_name(0).split()[1])
    given = [text.replace("ALPHA", str(number - 3)).replace("MASS", str(1e9 + number)) for text in GIVEN]
    arguments = given if "alpha" in str(transform) else []
    wanted, test = compare(cfg, mesh_of, tmp_path, tool, *arguments)
    truth = body(number, **shift)
    used = slice(0, len(truth.points) - 1)
    target = test[0]["target"].double().numpy() + test.target_offset()
    np.testing.assert_allclose(target[:, 0], truth.point_data["q"][used], rtol=1e-12 if far else 1e-6, atol=1e-9)
    assert wanted.std() > 1e-4 * target.std()  # the network says something that could differ


@pytest.mark.parametrize(
    ("suffix", "fields", "options"),
    [
        ("vtp", ["normal", "mach", "velocity[:2]"], dict(drop_loose_points=True)),
        ("npz", ["wind", "temperature"], dict(drop_loose_points=False)),
        ("vtk", ["area"], dict(cells_to_points=True, drop_loose_points=True)),
    ],
)
@pytest.mark.parametrize("far", [False, True], ids=["near", "far"])
def test_custom_data_read_as_files(suffix, fields, options, far, tmp_path, tool):
    shift = dict(shift=(501234.0, 5212345.0, 300.0), constant=101325.0) if far else {}
    mesh_of = write_bodies(tmp_path / "src", suffix, **shift)
    keys = [field.replace("[:2]", "_2") for field in fields]
    transform = [FOURIER, collect("fourier", *keys)]
    cfg = custom_config(
        tmp_path / "src", transform, target=["q", "velocity[2:3]"], fields=fields, scale_to_box=True, **options
    )
    compare(cfg, mesh_of, tmp_path, tool)


@pytest.mark.parametrize("prepared", [True, False])
def test_custom_data_in_tables(prepared, tmp_path, tool):
    """Points alone, beside the table of parameters, which is no sample; the prediction is a table, too."""
    folder = tmp_path / "src"
    folder.mkdir()
    for index in range(NUMBER):
        mesh = body(index)
        write_mesh(
            folder / f"case {index}.csv", Mesh(mesh.points[:-1], {}, {k: v[:-1] for k, v in mesh.point_data.items()})
        )
    table = ["name,alpha", *(f"case {index},{index - 3}" for index in range(NUMBER))]
    (folder / "cases.csv").write_text("\n".join(table))
    fields = dict(target=["q", "velocity[2:3]"], wall_mask="wall", parameters=str(folder / "cases.csv"))
    asked = ["wall_distance", "velocity[:2]", "alpha"]
    if prepared:
        prepare_custom(str(folder), str(tmp_path / "data"), feature=asked, **fields)
    else:
        fields["fields"] = asked
    data, options = (tmp_path / "data", {}) if prepared else (folder, fields)
    transform = [FOURIER, collect("fourier", "wall_distance", "velocity_2", "alpha")]
    cfg = custom_config(data, transform, scale_to_box=True, **options)
    name = build_dataset(cfg.data.test).get_data_name(0)
    alpha = f"alpha={int(name.split()[1]) - 3}"
    compare(cfg, lambda name: folder / f"{name}.csv", tmp_path, tool, "--field", alpha)
    source, out = folder / f"{name}.csv", tmp_path / "out"
    command = ["--weight", str(tmp_path / "run"), "--input", str(source), "--output", str(out), "--field", alpha]
    for kind in ("csv", "npz"):
        assert tool("predict", *command, "--format", kind) == 0
    written, packed = read_mesh(out / f"{name}.csv"), read_mesh(out / f"{name}.npz")
    np.testing.assert_array_equal(written.points, packed.points)
    assert written.point_data.keys() == packed.point_data.keys() >= {"q", "velocity", "predicted_q"}
    for key, values in packed.point_data.items():
        np.testing.assert_array_equal(written.point_data[key].astype(values.dtype), values)


def test_custom_data_in_the_plane(tmp_path, tool):
    mesh_of = write_bodies(tmp_path / "src", flat=True)
    cfg = custom_config(
        tmp_path / "src",
        [FOURIER, collect("fourier", "wall_distance")],
        target=["q"],
        fields=["wall_distance"],
        wall_mask="wall",
    )
    cfg.model.backbone.dimensionality = 2
    compare(cfg, mesh_of, tmp_path, tool)


def test_exports_have_the_places_and_values_of_the_files(tmp_path):
    shift = dict(shift=(501234.0, 5212345.0, 300.0), constant=101325.0)
    write_bodies(tmp_path / "src", **shift)
    prepare_custom(str(tmp_path / "src"), str(tmp_path / "data"), parameters=str(tmp_path / "src/cases.csv"), **PREPARE)
    cfg = custom_config(tmp_path / "data", [FOURIER, collect("fourier", "mach")], scale_to_box=True)
    test = build_dataset(cfg.data.test)
    name, sample = test.get_data_name(0), collate_fn([test[0]])
    FieldExporter(tmp_path / "out", ["vtu"], test)(sample, sample["target"] + 0.001)
    mesh, number = read_mesh(tmp_path / "out" / f"{name}.vtu"), int(name.split()[1])
    truth = body(number, **shift)
    np.testing.assert_allclose(mesh.points, truth.points[:-1], rtol=0, atol=1e-6)
    values = mesh.point_data
    np.testing.assert_allclose(values["truth_q"].ravel(), truth.point_data["q"][:-1], rtol=0, atol=1e-8)
    np.testing.assert_allclose(values["predicted_q"] - values["truth_q"], 0.001, rtol=1e-4)
    np.testing.assert_allclose(values["error_q"], 0.001, rtol=1e-4)
    np.testing.assert_allclose(values["mach"], truth.field_data["mach"][0], rtol=1e-6)  # not standardised
    np.testing.assert_allclose(values["temperature"].ravel(), truth.point_data["temperature"][:-1], rtol=0, atol=1e-9)


def test_the_numbers_of_transforms_are_those_of_the_files(tmp_path, tool):
    """A box, a mirror and a scale given in the coordinates and values that the files have."""
    shift = dict(shift=(501234.0, 5212345.0, 300.0), constant=101325.0)
    mesh_of = write_bodies(tmp_path / "src", **shift)
    low = np.array(shift["shift"])
    transform = [
        dict(type="RandomMirror", axis=0, p=1.0, center=float(low[0] + 0.5)),
        dict(type="ScaleField", key="temperature", std=[1e-3], mean=[1e5]),
        dict(type="ScaleCoord", min=low.tolist(), max=(low + 2).tolist()),
        collect("coord", "temperature"),
    ]
    cfg = custom_config(tmp_path / "src", transform, target=["q"], fields=["temperature"], drop_loose_points=True)
    _, test = compare(cfg, mesh_of, tmp_path, tool)
    truth = body(int(test.get_data_name(0).split()[1]), **shift)
    coord = (truth.points - low) * [-1, 1, 1] + [1, 0, 0]
    feat = np.concatenate([coord / 2, (truth.point_data["temperature"][:, None] - 1e5) / 1e-3], axis=1)
    np.testing.assert_allclose(test[0]["feat"].numpy(), feat[:-1], atol=1e-5)


def test_normals_made_of_the_faces_follow_their_order_and_that_is_said(tmp_path):
    """In training as in the prediction; forces alone are of faces that were turned."""
    write_bodies(tmp_path / "src", "vtp")
    cfg = custom_config(
        tmp_path / "src", [collect("coord", "normal")], target=["q"], fields=["normal"], drop_loose_points=True
    )
    run = open_network(cfg, make_run(cfg, tmp_path / "run")[0], tmp_path / "run")
    found = {}
    for way, step in (("as is", 1), ("turned", -1)):
        mesh = body(0)
        mesh = Mesh(mesh.points[:-1], {"triangle": mesh.cells["triangle"][:, ::step]})
        prepared = prepare_input(mesh, "x", run)
        found[way] = prepared.sample["normal"], [text for text in prepared.remarks if "looked inward" in text]
    np.testing.assert_allclose(found["turned"][0], -found["as is"][0], atol=1e-6)
    (said,) = [text for _, texts in found.values() for text in texts]  # one of the two looks inward
    assert "turned for forces, but not for normals" in said
