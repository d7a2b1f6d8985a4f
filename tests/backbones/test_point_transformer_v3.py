"""Point Transformer V3: the public model's outputs and checkpoint keys, and the truths every backbone states.

``golden/point_transformer_v3.npz`` and ``.json`` were made with the public standalone model of Wu et al. on CPU in
float64. What it imports was stood in for: ``spconv`` by a submanifold convolution that compares all pairs of points,
``torch_scatter.segment_csr`` by a loop over segments, flash-attn by a loop over patches without its rounding to 16
bits, timm's DropPath by a few lines. Its poolings were told not to shuffle the orders. The inputs and weights are
those of ``golden_inputs`` below and of ``fill``. The json lists the names and shapes of its state dict in their order.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pointcept_bsa.backbones.point_transformer_v3 import PointTransformerV3
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import MODELS, Point
from pointcept_bsa.layers.serialized_level import cut_patches

from .filled import fill

GOLDEN = Path(__file__).parent / "golden" / "point_transformer_v3"
TINY = dict(
    in_channels=4,
    stride=(2, 2),
    enc_depths=(1, 1, 2),
    enc_channels=(8, 16, 24),
    enc_num_head=(2, 2, 3),
    enc_patch_size=(16, 16, 16),
    dec_depths=(2, 1),
    dec_channels=(12, 16),
    dec_num_head=(2, 4),
    dec_patch_size=(16, 16),
    shuffle_orders=False,
)
VARIANTS = {
    "z": dict(order=("z", "z-trans")),
    "four_orders_flash": dict(order=("z", "z-trans", "hilbert", "hilbert-trans"), enc_depths=(4, 1, 2)),
    "hilbert_rpe_stride4": dict(
        order=("hilbert", "hilbert-trans"), stride=(4, 2), enable_rpe=True, enable_flash=False, pre_norm=False
    ),
}


def golden_inputs() -> dict[str, torch.Tensor]:
    """Clouds of 90 and 13 points, each in its own cell of a cube of 11 cells."""
    rng = np.random.RandomState(11)
    flat = np.concatenate([rng.permutation(11**3)[:90], rng.permutation(11**3)[:13]])
    cells = np.stack([flat // 121, flat // 11 % 11, flat % 11], axis=1)
    return dict(
        coord=torch.tensor(cells * 0.1 + 0.05),
        grid_coord=torch.tensor(cells),
        feat=torch.tensor(rng.standard_normal((103, 4))),
        offset=torch.tensor([90, 103]),
    )


def tiny(dtype=torch.float64, **arguments) -> PointTransformerV3:
    return fill(PointTransformerV3(**{**TINY, **arguments})).to(dtype).eval()


def cloud(sizes=(90, 13), dims=3, side=11, seed=0, dtype=torch.float64) -> dict[str, torch.Tensor]:
    """Points in cells of their own; the far corner is always taken, so that every batch needs the same bits."""
    generator = torch.Generator().manual_seed(seed)
    cells = []
    for size in sizes:
        flat = torch.randperm(side**dims - 1, generator=generator)[: size - 1]
        flat = torch.cat([flat, torch.tensor([side**dims - 1])])
        cells.append(torch.stack([flat // side**axis % side for axis in range(dims)], dim=1))
    grid_coord = torch.cat(cells)
    feat = torch.randn(len(grid_coord), 4, generator=generator, dtype=torch.float64).to(dtype)
    offset = torch.tensor(sizes).cumsum(0)
    return dict(coord=(grid_coord + 0.5).to(dtype) * 0.1, grid_coord=grid_coord, feat=feat, offset=offset)


@pytest.mark.parametrize("variant", VARIANTS)
def test_outputs_of_the_public_model(variant):
    expected = torch.tensor(np.load(GOLDEN.with_suffix(".npz"))[variant])
    with torch.no_grad():
        out = tiny(**VARIANTS[variant])(golden_inputs())["feat"]
    torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("name", "arguments"), [("defaults", {}), ("tiny_rpe", {**TINY, **VARIANTS["hilbert_rpe_stride4"]})]
)
def test_checkpoint_keys_and_shapes_of_the_public_model(name, arguments):
    expected = json.loads(GOLDEN.with_suffix(".json").read_text())[name]
    state = PointTransformerV3(**arguments).state_dict()
    assert list(state) == list(expected)
    assert {key: list(value.shape) for key, value in state.items()} == expected


def test_registered():
    assert MODELS.get("PT-v3m1") is not None


@pytest.mark.parametrize("order", ["z", ("z", "z-trans", "hilbert", "hilbert-trans")])
def test_batch_equals_single_clouds(order):
    model, data = tiny(order=order), cloud((40, 7, 90))
    with torch.no_grad():
        out = model(data)["feat"]
        first = 0
        for last in data["offset"].tolist():
            single = {key: data[key][first:last] for key in ("coord", "grid_coord", "feat")}
            alone = model({**single, "offset": torch.tensor([last - first])})["feat"]
            torch.testing.assert_close(alone, out[first:last])
            first = last


def test_permuting_points_permutes_the_features():
    model, data = tiny(order=("z", "hilbert")), cloud((60, 20))
    perm = torch.cat([torch.randperm(60), 60 + torch.randperm(20)])
    with torch.no_grad():
        out = model(data)["feat"]
        permuted = model({key: value if key == "offset" else value[perm] for key, value in data.items()})["feat"]
    torch.testing.assert_close(permuted, out[perm])


def test_input_is_left_alone_and_the_rest_of_it_returned():
    data = Point(cloud(), name=["a", "b"])
    before = {key: value.clone() for key, value in data.items() if isinstance(value, torch.Tensor)}
    model = tiny()
    out = model(data)
    assert out["feat"].shape == (103, model.out_channels)
    assert out["name"] == ["a", "b"]
    assert before.keys() == {key for key in data if key != "name"}
    assert all(torch.equal(data[key], value) for key, value in before.items())


def test_points_that_share_voxels_are_kept_apart():
    data = cloud((60,))
    data["grid_coord"] = data["grid_coord"] // 4
    with torch.no_grad():
        out = tiny()(data)["feat"]
    assert out.isfinite().all()
    assert torch.pdist(out).min() > 0


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("grid_size", [0.1, torch.tensor(0.1), torch.tensor([0.1, 0.1])])
def test_grid_size_counts_cells_from_each_clouds_minimum(dims, grid_size):
    data, model = cloud((30, 20), dims), tiny()
    data["coord"] = torch.rand(50, dims, dtype=torch.float64) + torch.tensor([5.0] * 30 + [-7.0] * 20)[:, None]
    data["grid_coord"] = torch.cat([((part - part.amin(0)) / 0.1).long() for part in data["coord"].split([30, 20])])
    with torch.no_grad():
        expected = model(data)["feat"]
        del data["grid_coord"]
        torch.testing.assert_close(model({**data, "grid_size": grid_size})["feat"], expected)


def test_cells_of_a_flat_cloud_may_come_with_a_third_column():
    data, model = cloud((30, 20), dims=2), tiny()
    padded = torch.nn.functional.pad(data["grid_coord"], (0, 1))
    with torch.no_grad():
        torch.testing.assert_close(model({**data, "grid_coord": padded})["feat"], model(data)["feat"])


def test_grid_size_must_be_positive():
    data = cloud((30, 20))
    del data["grid_coord"]
    with pytest.raises(InputError, match="grid_size: got 0"):
        tiny()({**data, "grid_size": 0})


def test_training_step_reaches_every_parameter():
    model = tiny(torch.float32, shuffle_orders=True, drop_path=0.1, attn_drop=0.1, proj_drop=0.1).train()
    model(cloud(dtype=torch.float32))["feat"].square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_bf16_autocast():
    model, data = tiny(torch.float32), cloud(dtype=torch.float32)
    with torch.no_grad():
        truth = model(data)["feat"]
        with torch.autocast("cpu", torch.bfloat16):
            out = model(data)["feat"].float()
    assert (out - truth).norm() < 0.05 * truth.norm()  # some ten layers with 8 bits of mantissa


@pytest.mark.parametrize("argument", ["enc_mode", "cls_mode"])
def test_encoder_alone_leads_back_to_the_points(argument):
    data = cloud()
    point = tiny(**{argument: True})(data)
    assert point["feat"].shape[1] == 24
    sizes = [len(point["feat"])]
    while "pooling_parent" in point:
        inverse = point["pooling_inverse"]
        assert torch.equal(inverse.unique(), torch.arange(len(point["feat"])))
        assert torch.equal(point["grid_coord"][inverse], point["pooling_parent"]["grid_coord"] >> 1)
        assert torch.equal(point["batch"][inverse], point["pooling_parent"]["batch"])
        point = point["pooling_parent"]
        sizes.append(len(point["feat"]))
    assert sizes == sorted(sizes)
    assert sizes[-1] == 103


@pytest.mark.parametrize("patch_size", [1, 4, 16, 100])
def test_every_point_has_one_slot_and_patches_stay_in_their_cloud(patch_size):
    sizes = [5, 16, 1, 37, 32]
    batch = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    layout = cut_patches(sizes, patch_size, torch.device("cpu"))
    slots = layout.full.flatten()
    assert (batch[layout.full] == batch[layout.full[:, :1]]).all()
    if layout.short is not None:
        assert (batch[layout.short] == batch[layout.short[:, :1]]).all()
        assert torch.equal(layout.short_mask.sum(1), torch.tensor([size for size in sizes if size < patch_size]))
        slots = torch.cat([slots, layout.short.flatten()])
    assert torch.equal(slots[layout.slot], torch.arange(sum(sizes)))


def test_last_patch_borrows_from_the_one_before():
    layout = cut_patches([10], 4, torch.device("cpu"))
    assert layout.full.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 6, 7]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(grid_coord=None), "grid_coord: missing.*AddGridCoord"),
        (dict(grid_coord=torch.zeros(103, 3)), "grid_coord: got torch.float32"),
        (dict(grid_coord=torch.full((103, 3), -1)), "grid_coord: got cells from -1"),
        (dict(grid_coord=torch.full((103, 3), 1 << 16)), "grid_coord: got cells from 65536"),
        (dict(feat=torch.zeros(103, 5)), "feat: got 5 channels"),
        (dict(feat=torch.zeros(102, 4)), "feat: got 102 points, wanted 103"),
        (dict(offset=None), "offset: missing"),
        (dict(offset=torch.tensor([103, 103])), "offset: cloud 1"),
    ],
)
def test_mistakes_in_the_input(change, message):
    data = {key: value for key, value in {**cloud(), **change}.items() if value is not None}
    with pytest.raises(InputError, match=message):
        tiny()(data)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(order=()), "order: got no curve, wanted one at least"),
        (dict(drop_path=-0.5), "drop_path: got -0.5, wanted a number from 0 to 1"),
        (dict(pdnorm_bn=True), "pdnorm_bn"),
        (dict(order="spiral"), "order: got 'spiral'"),
        (dict(stride=(3, 2)), "stride: got 3"),
        (dict(stride=(2,)), "stride: got 1 entries, wanted 2"),
        (dict(dec_channels=(8,)), "dec_channels: got 1 entries, wanted 2"),
        (dict(enc_num_head=(3, 2, 3)), "num_heads: got 3 for 8 channels"),
        (dict(enable_rpe=True), "enable_flash"),
    ],
)
def test_mistakes_in_the_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        PointTransformerV3(**{**TINY, **arguments})
