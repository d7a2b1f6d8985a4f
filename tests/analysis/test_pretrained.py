"""A network opened by name predicts on arrays what tools/predict.py predicts on files, and is saved without code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import pointcept_bsa
from pointcept_bsa.analysis.prediction.network import Network, Prediction
from pointcept_bsa.analysis.prediction.outputs import predict_arrays
from pointcept_bsa.errors import InputError
from pointcept_bsa.files.json_file import read_json, write_json
from pointcept_bsa.mesh_io import read_mesh, write_mesh
from pointcept_bsa.training.checkpoints.export import load_safetensors

from .conftest import ROOT
from .test_prediction import ellipsoid, network  # noqa: F401 - a fixture

TARGET = "pressure_coefficient"
NAME = "someone/car"


@pytest.fixture(scope="module")
def saved(small_run, tmp_path_factory) -> Path:
    """A folder of ``save_pretrained``."""
    folder = tmp_path_factory.mktemp("saved")
    pointcept_bsa.load(small_run, device="cpu").save_pretrained(folder)
    return folder


@pytest.fixture
def predicted(small_run, ellipsoid, tmp_path, tool):  # noqa: F811
    """What tools/predict.py says of the body: (121,), NaN at the last point, which has no face."""
    write_mesh(tmp_path / "points.vtu", ellipsoid)
    output = tmp_path / "out.npz"
    words = ["--weight", str(small_run), "--input", str(tmp_path / "points.vtu"), "--output", str(output)]
    assert tool("predict", *words) == 0
    return read_mesh(output).point_data[f"predicted_{TARGET}"]


def test_three_lines_give_the_values_of_the_tool(small_run, saved, ellipsoid, predicted, tmp_path, tool):  # noqa: F811
    assert tool("export", str(small_run), "--output", str(tmp_path / "one.safetensors")) == 0
    checkpoint = small_run / "model" / "model_best.pth"
    for source in (small_run, checkpoint, tmp_path / "one.safetensors", saved, saved / "model.safetensors"):
        found = pointcept_bsa.load(source, device="cpu")
        assert found.fields == ("normal",) and found.units == {TARGET: "1"}
        with pytest.warns(UserWarning, match="faces looked inward"):
            result = found.predict(ellipsoid.points, faces=ellipsoid.cells["triangle"])
        np.testing.assert_array_equal(result[TARGET], predicted)
    assert np.isnan(predicted[-1]) and np.ptp(predicted[:-1]) > 0


def test_a_field_may_be_given_as_array_or_tensor(saved, ellipsoid, tmp_path, tool):  # noqa: F811
    points = torch.from_numpy(ellipsoid.points[:120])
    normal = torch.nn.functional.normalize(points, dim=1)
    np.savez(tmp_path / "points.npz", coord=points, normal=normal)
    output = tmp_path / "out.npz"
    words = ["--weight", str(saved / "model.safetensors"), "--input", str(tmp_path / "points.npz")]
    assert tool("predict", *words, "--output", str(output)) == 0
    wanted = read_mesh(output).point_data[f"predicted_{TARGET}"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "outside the training range")
        opened = pointcept_bsa.Predictor.from_pretrained(str(saved), device="cpu")
        np.testing.assert_array_equal(opened.predict(points, normal=normal)[TARGET], wanted)
        np.testing.assert_array_equal(opened.predict(points.tolist(), normal=normal.numpy())[TARGET], wanted)
    assert not np.allclose(opened.predict(points, normal=-normal)[TARGET], wanted)


def test_a_network_says_what_it_is_in_a_line(saved):
    told = repr(pointcept_bsa.load(saved, device="cpu"))
    assert told == f"Predictor('{saved / 'model.safetensors'}': {TARGET} [1]; fields ['normal'])"


def test_points_that_their_type_rounds_away_are_told(saved, ellipsoid):  # noqa: F811
    opened, normal = pointcept_bsa.load(saved, device="cpu"), np.tile([1.0, 0, 0], (120, 1))
    for points, told in ((ellipsoid.points[:120], False), (ellipsoid.points[:120] + 5.7e6, True)):
        for kind in (np.float32, np.float64):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                opened.predict(points.astype(kind), normal=normal)
            assert any("give float64" in str(each.message) for each in caught) == (told and kind is np.float32)


def test_saving_what_was_saved_changes_nothing(saved, tmp_path):
    pointcept_bsa.load(saved, device="cpu").save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in saved.iterdir())
    (weights, metadata), (old_weights, old_metadata) = (
        load_safetensors(folder / "model.safetensors") for folder in (tmp_path, saved)
    )
    assert metadata == old_metadata and weights.keys() == old_weights.keys()
    assert all(torch.equal(weights[name], old_weights[name]) for name in weights)
    assert (tmp_path / "config.json").read_bytes() == (saved / "config.json").read_bytes()
    assert read_json(tmp_path / "config.json")["model"]["type"] == "DefaultRegressor"


def test_nothing_beside_saved_weights_is_executed(saved, tmp_path):
    folder = tmp_path / "model"  # a checkpoint would take ../config.py for that of its run
    shutil.copytree(saved, folder)
    for place in (folder, tmp_path):
        (place / "config.py").write_text("raise SystemExit('executed')")
    assert pointcept_bsa.load(folder, device="cpu").fields == ("normal",)


def test_a_changed_config_is_refused(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "model")
    config = read_json(saved / "config.json")
    config["model"]["backbone"]["depth"] += 1
    write_json(tmp_path / "model" / "config.json", config)
    with pytest.raises(InputError, match="is not the config in model.safetensors"):
        pointcept_bsa.load(tmp_path / "model")


class Echo(Network):
    """Says of every point where it is."""

    def predict(self, sample, max_points=None, anchors=None):
        self.seen.append(sample)
        return Prediction(np.asarray(sample["coord"], np.float64))


def test_targets_of_two_columns_and_numbers_for_all_points():
    base = network()
    echo = Echo(**{name: getattr(base, name) for name in base.__dataclass_fields__})
    object.__setattr__(echo, "seen", [])
    coord = np.random.default_rng(0).random((5, 2)).astype(np.float32)
    fields = {"wall_distance": np.arange(5), "flow": (0.1, 10)}
    found, remarks = predict_arrays(echo, coord, fields)
    np.testing.assert_array_equal(found["velocity"], coord)
    np.testing.assert_array_equal(echo.seen[0]["wall_distance"], np.arange(5, dtype=np.float32)[:, None])
    np.testing.assert_array_equal(echo.seen[0]["flow"], np.tile(np.float32([0.1, 10]), (5, 1)))
    assert remarks == []


@pytest.mark.parametrize(
    ("points", "more", "message"),
    [
        (np.ones((4, 3)), {}, "has no point field 'normal'"),
        (np.ones((4, 3)), {"normal": np.ones((3, 3))}, "wanted a row for each of the 4 points"),
        (np.ones((4, 3)), {"normal": np.ones((4, 2))}, "has 2 columns, wanted 3"),
        (np.ones((4, 3)), {"normal": np.ones(5)}, "wanted a row for each of the 4 points, or the 3 numbers"),
        (np.ones((4, 3)), {"normal": np.ones((4, 3)), "speed": 3.0}, "speed"),
        (np.ones((4, 3)), {"normal": "x"}, "wanted a row for each of the 4 points"),
        (np.ones((4, 3)), {"faces": [[0, 1, 4]]}, "name points 0 to 4"),
        (np.ones((4, 3)), {"faces": [[0, 1, 2, 3]]}, "wanted .F, 3."),
        (np.ones((4, 3)), {"faces": [[0, 1], [2]]}, "wanted arrays of numbers"),
        (np.ones((4, 3)), {"normal": np.ones((4, 3)), "max_points": 0}, "max_points: got 0"),
        (np.ones(3), {}, "wanted .N, 3. or .N, 2."),
        (np.zeros((0, 3)), {}, "has no points"),
        (3.0, {}, "wanted .N, 3. or .N, 2."),
    ],
)
def test_a_mistake_in_arrays_is_one_line(saved, points, more, message):
    opened = pointcept_bsa.load(saved, device="cpu")
    with pytest.raises(InputError, match=message) as caught:
        opened.predict(points, **more)
    assert "\n" not in str(caught.value)


def on_the_hub(source: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """``load`` in a process without a network, whose Hub is the cache in ``home``."""
    code = f"import pointcept_bsa; print(pointcept_bsa.load({source!r}, device='cpu').weight)"
    settings = {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=home, env={**os.environ, **settings}, capture_output=True, text=True
    )


def test_a_name_on_the_hub(saved, tmp_path):
    pytest.importorskip("huggingface_hub", reason="missing: package huggingface_hub (extra [hub])")
    commit = "0" * 40
    cache = tmp_path / "hub" / "models--someone--car"
    shutil.copytree(saved, cache / "snapshots" / commit)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit)
    done = on_the_hub(NAME, tmp_path)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == cache / "snapshots" / commit / "model.safetensors"
    done = on_the_hub("someone/ship", tmp_path)
    assert "'someone/ship': no such file or folder, and it cannot be had from the Hugging Face Hub" in done.stderr


def test_names_that_are_nothing(saved, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="no such file or folder, and no name on the Hugging Face Hub"):
        pointcept_bsa.load(tmp_path / "nowhere")
    with pytest.raises(InputError, match="neither a checkpoint nor a folder"):
        pointcept_bsa.load(tmp_path)
    with pytest.raises(InputError, match="lies on the disk, wanted a name on the Hub"):
        pointcept_bsa.load(saved, revision="main")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"pip install 'pointcept_bsa\[hub\]'"):
        pointcept_bsa.load(NAME)
