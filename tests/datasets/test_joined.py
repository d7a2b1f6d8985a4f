"""Data sets of single domains, joined to one."""

from __future__ import annotations

import numpy as np
import pytest

from pointcept_bsa.errors import InputError
from pointcept_bsa.host import build_dataset


@pytest.fixture
def folders(tmp_path):
    """Surface files with pressure, volume files with velocity, six cases each."""
    rng = np.random.default_rng(0)
    for case in range(6):
        for domain, count, field, columns in (("surface", 9, "pressure", ()), ("volume", 14, "velocity", (3,))):
            (tmp_path / domain).mkdir(exist_ok=True)
            values = {"points": rng.random((count, 3)), field: rng.random((count, *columns))}
            np.savez(tmp_path / domain / f"case_{case}.npz", **values)
    return tmp_path


def parts(folder, **volume):
    own = dict(type="CustomFieldDataset", fractions=(0.2, 0.2), seed=1)
    return dict(
        surface=own | dict(data_root=str(folder / "surface"), target=("pressure",), units={"pressure": "Pa"}),
        volume=own | dict(data_root=str(folder / "volume"), target=("velocity",), units={"velocity": "m/s"}) | volume,
    )


def test_custom_surface_and_volume_files_become_one_cloud(folders):
    dataset = build_dataset(dict(type="JoinedDataset", split="train", parts=parts(folders)))
    data = dataset.get_data(0)
    assert dataset.target_names == ("surface/pressure", *(f"volume/velocity_{axis}" for axis in "xyz"))
    assert dataset.target_units == ("Pa", "m/s", "m/s", "m/s")
    np.testing.assert_array_equal(data["domain"], [0] * 9 + [1] * 14)
    with np.load(folders / "volume" / f"{data['name'].removesuffix('.npz')}.npz") as arrays:
        np.testing.assert_allclose(data["target"][9:, 1:], arrays["velocity"], rtol=1e-6)
        np.testing.assert_allclose(data["coord"][9:], arrays["points"], rtol=1e-6)
    for channel, domain in enumerate((0, 1, 1, 1)):
        every = [dataset.get_data(i) for i in range(len(dataset))]
        values = np.concatenate([each["target"][each["domain"] == domain, channel] for each in every])
        statistics = dataset.target_statistics()
        assert statistics["mean"][channel] == pytest.approx(values.mean(), rel=1e-5)
        assert statistics["std"][channel] == pytest.approx(values.std(), rel=1e-5)


def test_the_box_of_a_part_scales_the_whole_cloud(folders):
    with pytest.raises(InputError, match="box: got 'volume', a part that scales no coordinates"):
        build_dataset(dict(type="JoinedDataset", parts=parts(folders), box="volume"))
    scaled = parts(folders, scale_to_box=True)
    dataset = build_dataset(
        dict(type="JoinedDataset", parts=scaled, box="volume", transform=[dict(type="OneHotDomain")])
    )
    sample = dataset[0]
    np.testing.assert_array_equal(sample["position"], dataset.get_data(0)["coord"])
    around = dataset.input_description.transform[0]
    low, high = np.asarray(around["min"]), np.asarray(around["max"])
    np.testing.assert_allclose(sample["coord"], 2 * (sample["position"] - low) / (high - low) - 1, atol=1e-5)


def test_what_cannot_be_joined_is_refused_in_one_line(folders):
    (folders / "volume" / "case_0.npz").rename(folders / "volume" / "other.npz")
    with pytest.raises(InputError, match="are not in both 'surface' and 'volume'") as raised:
        for split in ("train", "val", "test"):
            build_dataset(dict(type="JoinedDataset", split=split, parts=parts(folders)))
    assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match="parts: got None"):
        build_dataset(dict(type="JoinedDataset"))
    with pytest.raises(InputError, match="box: got 'volum'.*did you mean 'volume'"):
        build_dataset(dict(type="JoinedDataset", parts=parts(folders), box="volum"))
    with pytest.raises(InputError, match="is no set of fields on points of one domain"):
        build_dataset(dict(type="JoinedDataset", parts=dict(a=dict(type="EllipsoidFlowJointDataset"))))
