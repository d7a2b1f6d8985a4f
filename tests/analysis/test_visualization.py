"""What is drawn is what the networks do: attention weights, trees, gradients; and every picture is made."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from pointcept_bsa.analysis.benchmark.report import Row
from pointcept_bsa.analysis.visualization import attention_maps
from pointcept_bsa.analysis.visualization.attention import gate_values, levels_seen, recall_of
from pointcept_bsa.analysis.visualization.attention_maps import BALL, COMPRESSION, SELECTION, branch_weights
from pointcept_bsa.analysis.visualization.capture import capture, choose_layer
from pointcept_bsa.analysis.visualization.influence import brightest, gradient_influence
from pointcept_bsa.analysis.visualization.run import draw_scaling
from pointcept_bsa.analysis.visualization.trees import node_of_points
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import MODELS, collate_fn

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "BSA-v1m1": dict(channels=16, depth=2, num_heads=2, ball_size=32, block_size=8, topk=2, group_size=8),
    "ErwinNSA-v1m1": dict(
        channels=32, depth=2, num_heads=2, num_kv_heads=1, local_ball_size=32, compressed_ball_size=8, num_selected=3
    ),
    "Erwin-v1m1": dict(
        channels=[16, 32],
        ball_sizes=[32, 16],
        enc_num_heads=[2, 2],
        enc_depths=[2, 2],
        dec_num_heads=[2],
        dec_depths=[2],
        strides=[2],
    ),
    "FullAttention-v1m1": dict(channels=16, depth=2, num_heads=2),
}


def regressor(name, width=16, **more):
    backbone = dict(type=name, in_channels=3, **{**SMALL[name], **more})
    return MODELS.build(
        dict(
            type="DefaultRegressor",
            backbone=backbone,
            head=dict(type="RegressionHead", in_channels=width, out_channels=2),
            normalizer=dict(type="TargetNormalizer", channels=2, mean=[1.0, 2.0], std=[3.0, 0.5]),
            criteria=[dict(type="MSELoss")],
        )
    ).eval()


def cloud(*counts):
    coords = [torch.rand(n, 3) for n in counts]
    return collate_fn([dict(coord=c, feat=c, offset=torch.tensor([len(c)]), name="a") for c in coords])


def widened(model):
    """Weights large enough that attention is far from uniform."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("BSA-v1m1", dict(phi="mean")),
        ("BSA-v1m1", dict(phi="mean", group_compression=True, mask_own_ball=False)),
        ("BSA-v1m1", dict(phi="mean", group_size=1, distance_bias=False)),
        ("BSA-v1m1", dict(phi="mean", near=32, fan=2, beam=2)),
        ("BSA-v1m1", dict(phi="mean", qk_norm=True, rotary=4.0)),
        ("BSA-v1m1", dict(phi="mean", mp_steps=2)),
        ("ErwinNSA-v1m1", dict(mp_steps=0)),
        ("ErwinNSA-v1m1", dict(mp_steps=0, qk_norm=True, rotary=4.0)),
    ],
)
def test_weights_gates_and_values_make_the_output_of_the_layer(name, options):
    """Full balls and mean pooling: then every branch is weights times values, exactly."""
    model = widened(regressor(name, SMALL[name]["channels"], **options))
    for call in capture(model, cloud(128)).calls:
        module, layout = call.module, call.layout
        h = call.x + module.position(layout.relative)
        slots = torch.arange(len(call.x))
        if name == "BSA-v1m1":
            value = module.qkv(h).unflatten(-1, (3, module.num_heads, -1))[:, 2]
        else:
            value = module.key_value(h).unflatten(-1, (2, module.num_kv_heads, -1))[:, 1].expand(-1, 2, -1)
        weights = branch_weights(call, slots)
        gates = module.gate(h).sigmoid().unflatten(-1, (3, -1, 1))
        branches = zip(gates.unbind(1), (BALL, COMPRESSION, SELECTION))
        out = sum(gate * torch.einsum("rhs,shd->rhd", weights[branch], value) for gate, branch in branches)
        torch.testing.assert_close(module.projection(out.flatten(-2)), module(call.x, layout), atol=2e-5, rtol=1e-4)


def test_levels_of_tokens_around_a_point_and_what_the_descent_finds():
    model = widened(regressor("BSA-v1m1", near=32, fan=2, beam=2))
    seen = capture(model, cloud(256))
    call = seen.calls[0]
    level = levels_seen(call, 7)
    nodes = call.slot // 32
    own = nodes[7]
    wanted = torch.tensor([int(n ^ own).bit_length() for n in nodes])  # a power of two of balls: a node's ring each
    assert torch.equal(level, wanted) and level.max() == 3
    assert 0 < recall_of(call) < 1
    all_of_them = widened(regressor("BSA-v1m1", near=32, fan=2, beam=64))
    assert [recall_of(each) for each in capture(all_of_them, cloud(256)).calls] == [1.0, 1.0]
    with pytest.raises(InputError, match="levels: the network has no levels of tokens"):
        levels_seen(capture(regressor("BSA-v1m1"), cloud(64)).calls[0], 0)


@pytest.mark.parametrize(
    ("name", "options"),
    [("Erwin-v1m1", {}), ("FullAttention-v1m1", {}), ("FullAttention-v1m1", dict(qk_norm=True, rotary=4.0))],
)
def test_ball_and_full_weights_make_the_output_of_the_layer(name, options):
    model = widened(regressor(name, **options))
    for call in capture(model, cloud(100)).calls:
        place = call.centred if call.layout is None else call.layout.relative
        value = call.module.qkv(call.x + call.module.position(place)).unflatten(-1, (3, 2, -1))[:, 2]
        (weight,) = branch_weights(call, torch.arange(len(call.x))).values()
        out = call.module.projection(torch.einsum("rhs,shd->rhd", weight, value).flatten(-2))
        arguments = (call.layout,) if call.layout is not None else (call.centred, (100,))
        expected = call.module(call.x, *arguments)
        real = slice(None) if call.layout is None or call.layout.valid is None else call.layout.valid
        torch.testing.assert_close(out[real], expected[real], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["BSA-v1m1", "ErwinNSA-v1m1", "Erwin-v1m1"])
def test_each_point_is_found_in_its_slot_in_every_layer(name):
    batch = cloud(107)
    calls = capture(regressor(name, SMALL[name]["channels"] if name != "Erwin-v1m1" else 16), batch).calls
    assert {call.rotated for call in calls} == {True, False}
    for call in calls:
        distance = (call.layout.coord[call.slot] - batch["coord"]).norm(dim=1)
        pooled = call.layout.coord.shape[0] < 107
        assert distance.max() < (0.5 if pooled else 1e-6)
        if not pooled:
            for weight in attention_maps.point_weights(call, 5).values():
                assert weight.sum() <= 1 + 1e-5
                assert weight.shape == (107,)


def test_a_block_map_holds_the_mean_attention_of_every_stretch():
    call = capture(widened(regressor("BSA-v1m1")), cloud(128)).calls[1]
    maps = attention_maps.block_map(call, blocks=4, queries=10**6)
    weights = branch_weights(call, torch.arange(128))
    for branch, weight in weights.items():
        expected = weight.mean(1).view(4, 32, 4, 32).sum(3).mean(1)
        torch.testing.assert_close(maps[branch], expected)
    assert torch.equal(maps[BALL] > 0, torch.eye(4, dtype=torch.bool))


@pytest.mark.parametrize("count", [32 * 7, 215, 20])
def test_levels_of_the_tree_are_nested_and_end_in_balls_and_blocks(count):
    tree = capture(regressor("BSA-v1m1"), cloud(count)).tree
    levels = node_of_points(tree, count)
    for coarse, fine in zip(levels, levels[1:]):
        assert len(set(zip(coarse.tolist(), fine.tolist()))) == fine.max() + 1 >= coarse.max() + 1
    slots = tree.inverse.numpy()
    balls = -(-count // 32)
    (at,) = [level for level in levels if level.max() + 1 == balls][:1]
    assert len(set(zip(at.tolist(), (slots // 32).tolist()))) == balls
    assert np.bincount(levels[-1]).max() <= 8


def test_influence_is_the_gradient():
    model, batch = widened(regressor("BSA-v1m1")).double(), cloud(96)
    batch = {k: v.double() if torch.is_tensor(v) and v.is_floating_point() else v for k, v in batch.items()}
    found = gradient_influence(model, batch, point=7)
    for j in (7, 50):
        columns = []
        for c in range(3):
            step = torch.zeros_like(batch["feat"])
            step[j, c] = 1e-6
            with torch.no_grad():
                high, low = (model({**batch, "feat": batch["feat"] + s * step})["pred"][7] for s in (1, -1))
            columns.append((high - low) / 2e-6 / model.normalizer.std)
        assert found[j] == pytest.approx(torch.stack(columns).norm().item(), rel=1e-4)


def test_colours_of_influence_leave_the_point_itself_out():
    positive = np.append(np.geomspace(1e-6, 3e-3, 1000), 1.0)
    assert 1e-3 < brightest(positive, 1e-6, 1.0) <= 3e-3
    assert brightest(np.ones(5), 1.0, 2.0) == 2.0  # all alike: something has to be above the lowest


def test_gates_lie_between_0_and_1_at_every_point():
    calls = capture(regressor("BSA-v1m1"), cloud(50)).calls
    values = gate_values(calls[0])
    assert values.shape == (50, 3, 2)
    assert ((values > 0) & (values < 1)).all()
    with pytest.raises(InputError, match="no gates"):
        gate_values(capture(regressor("FullAttention-v1m1"), cloud(9)).calls[0])


def test_what_cannot_be_drawn_is_refused():
    calls = capture(regressor("BSA-v1m1"), cloud(50)).calls
    with pytest.raises(InputError, match="layers 0 to 1"):
        choose_layer(calls, 2)
    with pytest.raises(InputError, match="got 2 clouds"):
        capture(regressor("BSA-v1m1"), cloud(5, 6))
    with pytest.raises(InputError, match="no attention layer"):
        capture(torch.nn.Identity(), cloud(5))


def test_scaling_draws_the_rows_of_a_result(tmp_path):
    row = {f.name: None for f in fields(Row)}
    row |= dict(
        name="a",
        mode="eager",
        ops="reference",
        backbone="BSA-v1m1",
        config="c",
        options="",
        points=1024,
        batch_size=1,
        dtype="fp32",
    )
    row |= dict(parameters=1, gflops=1.0, forward="ok", forward_ms=1.0, forward_iqr_ms=0.1, forward_repeats=3)
    row |= dict(train="not asked", train_ms=None, train_iqr_ms=None, train_repeats=0, memory_gib=None)
    row |= dict(points_per_second=None)
    content = dict(environment=dict(device="cpu", dtype="fp32"), baseline=None, rows=[row, {**row, "points": 4096}])
    (tmp_path / "benchmark.json").write_text(json.dumps(content))
    assert draw_scaling([str(tmp_path)], tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    wrong = [[], {**content, "environment": {"device": 3}}, {**content, "rows": [3]}, {**content, "rows": {}}]
    for key, values in dict(points=("x", 0, None), forward_ms=("1", True, -1.0), name=(3, None), mode=([],)).items():
        wrong += [{**content, "rows": [{**row, key: value}]} for value in values]
    for other in wrong:
        (tmp_path / "benchmark.json").write_text(json.dumps(other))
        with pytest.raises(InputError, match="not a result|has no rows"):
            draw_scaling([str(tmp_path)], tmp_path / "out.png")


def test_every_picture_of_a_run_is_made_and_its_cloud_read_by_another_reader(small_run, tmp_path, tool):
    pyvista = pytest.importorskip("pyvista", reason="missing: package pyvista (part of the extra [test])")
    out = str(tmp_path)
    for what in ("tree", "rotated", "attention", "receptive", "influence", "gates"):
        assert tool("visualize", what, str(small_run), "--output", out, "--format", "png", "vtp") == 0
        assert (tmp_path / f"{what}.png").read_bytes().startswith(b"\x89PNG")
    cloud = pyvista.read(tmp_path / "receptive.vtp")
    branch = np.asarray(cloud["branch"])
    assert cloud.n_points == 96
    assert (branch == 1).sum() == np.asarray(cloud["receptive_field_ball"]).sum() > 0
    assert np.asarray(cloud["receptive_field_ball_selection_compression"]).all()


def test_the_picture_of_levels_is_made(tool, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    options = ("--options", "model.backbone.near=64", "model.backbone.fan=2", "device=cpu")
    config = ("--config", "configs/ellipsoid_flow/bsa_hierarchical.py", "--output", str(tmp_path))
    assert tool("visualize", "levels", *config, *options) == 0
    assert (tmp_path / "levels.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tree"], "got 0 runs"),
        (["receptive", "RUN", "--point", "96"], "points 0 to 95"),
        (["receptive", "RUN", "--near", "1", "2"], "wanted 3 coordinates"),
        (["receptive", "RUN", "--sample", "nobody"], "the split has 4 samples"),
        (["scaling", "nowhere"], "no such file"),
        (["levels", "RUN"], "levels: the network has no levels of tokens, wanted BSA-v1m1 with near=..."),
        (["tree", "--config", "configs/ellipsoid_flow/full_attention.py"], "has no ball tree"),
        (["tree", "--config", "configs/ellipsoid_flow/ptv3.py"], "no attention layer that can be drawn"),
    ],
)
def test_a_mistake_is_told_in_one_line(small_run, tool, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(ROOT)
    assert tool("visualize", *(str(small_run) if a == "RUN" else a for a in arguments)) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("error: ") and error.count("\n") == 1
