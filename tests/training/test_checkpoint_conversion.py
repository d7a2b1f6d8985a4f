"""Published weights under our names: nothing lost, nothing guessed."""

from __future__ import annotations

import pytest
import torch

from pointcept_bsa.errors import InputError
from pointcept_bsa.host import MODELS
from pointcept_bsa.training.checkpoints.published_erwin import convert_erwin_state_dict, load_erwin_weights

CONFIG = dict(
    type="Erwin-v1m1",
    in_channels=3,
    channels=[4, 8],
    ball_sizes=[8, 8],
    enc_num_heads=[2, 4],
    enc_depths=[1, 2],
    dec_num_heads=[1],
    dec_depths=[1],
    strides=[2],
    mp_steps=1,
)


def published(stride=2):
    """A state dict with the published names and shapes for CONFIG, values all different."""
    shapes = {"embed.embed_fn": (4, 3), "embed.mpnn.message_fns.0.0": (4, 11), "embed.mpnn.update_fns.0.0": (4, 8)}
    norms = {"embed.mpnn.message_fns.0.2": 4, "embed.mpnn.update_fns.0.1": 4}
    state = {}
    coarse = 8 if stride > 1 else 4
    for name, width, heads in (
        ("encoder.0.blocks.0", 4, 2),
        ("bottleneck.blocks.0", coarse, 4),
        ("bottleneck.blocks.1", coarse, 4),
        ("decoder.0.blocks.0", 4, 1),
    ):
        state |= {f"{name}.norm1.weight": torch.randn(width), f"{name}.norm2.weight": torch.randn(width)}
        state[f"{name}.BMSA.sigma_att"] = torch.randn(1, heads, 1, 1)
        shapes |= {f"{name}.BMSA.qkv": (3 * width, width), f"{name}.BMSA.proj": (width, width)}
        shapes |= {f"{name}.BMSA.pe_proj": (width, 3), f"{name}.swiglu.w3": (width, 4 * width)}
        shapes |= {f"{name}.swiglu.w{i}": (4 * width, width) for i in (1, 2)}
    shapes["encoder.0.pool.proj"] = (coarse, stride * (4 + 3))
    shapes["decoder.0.unpool.proj"] = (stride * 4, coarse + stride * 3)
    norms |= {"encoder.0.pool.norm": coarse, "decoder.0.unpool.norm": 4}
    for name, shape in shapes.items():
        state |= {f"{name}.weight": torch.randn(shape), f"{name}.bias": torch.randn(shape[0])}
    for name, width in norms.items():
        state |= {f"{name}.weight": torch.randn(width), f"{name}.bias": torch.randn(width)}
    for name in ("encoder.0.pool.norm", "decoder.0.unpool.norm"):
        state |= {f"{name}.running_mean": torch.randn(norms[name]), f"{name}.running_var": torch.rand(norms[name])}
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)
    return state


@pytest.mark.parametrize("stride", [1, 2])
def test_converted_names_and_shapes_are_those_of_the_network(stride):
    model = MODELS.build(dict(CONFIG, strides=[stride], channels=[4, 8 if stride > 1 else 4]))
    model.load_state_dict(convert_erwin_state_dict(published(stride)))


def test_rows_of_the_qkv_map_are_reordered():
    key = "bottleneck.blocks.0.BMSA.qkv"
    state = published()
    converted = convert_erwin_state_dict(state)
    x = torch.randn(8)
    there = (state[f"{key}.weight"] @ x + state[f"{key}.bias"]).view(4, 2, 3)  # (head, channel, {q, k, v})
    here = converted["bottleneck.0.attention.qkv.weight"] @ x + converted["bottleneck.0.attention.qkv.bias"]
    assert torch.allclose(here.view(3, 4, 2), there.permute(2, 0, 1), atol=1e-6)


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "_orig_mod.main_model.", "module._orig_mod.dynamics_model."]
)
def test_wrappers_fall_away(prefix):
    state = published()
    wrapped = {prefix + k: v for k, v in state.items()}
    if "model." in prefix:
        wrapped[prefix.rpartition("_model.")[0].rpartition(".")[0] + ".pred_head.0.weight"] = torch.zeros(1)
    got, want = convert_erwin_state_dict(wrapped), convert_erwin_state_dict(state)
    assert got.keys() == want.keys()
    assert all(torch.equal(got[k], want[k]) for k in want)


def test_unknown_keys_are_named():
    state = published() | {"encoder.0.blocks.0.BMSA.rope": torch.zeros(1), "head.weight": torch.zeros(1)}
    with pytest.raises(InputError, match="encoder.0.blocks.0.BMSA.rope, head.weight"):
        convert_erwin_state_dict(state)
    with pytest.raises(InputError, match="no weights"):
        convert_erwin_state_dict({})
    state = published()
    del state["decoder.0.blocks.0.BMSA.sigma_att"]
    with pytest.raises(InputError, match="lacks decoder.0.blocks.0.BMSA.sigma_att"):
        convert_erwin_state_dict(state)


def test_a_file_is_loaded_into_a_network_of_its_shape_only(tmp_path):
    path = tmp_path / "best.pt"
    torch.save({"model_state_dict": {f"module.{k}": v for k, v in published().items()}, "global_step": 3}, path)
    model = MODELS.build(dict(CONFIG))
    load_erwin_weights(model, path)
    want = convert_erwin_state_dict(published())
    assert set(model.state_dict()) == set(want)
    assert model.pooling[0].norm.num_batches_tracked == 7
    with pytest.raises(InputError, match="does not fit the model.*embedding.steps.1"):
        load_erwin_weights(MODELS.build(dict(CONFIG, mp_steps=2)), path)
    with pytest.raises(InputError, match="wanted a checkpoint file"):
        load_erwin_weights(model, tmp_path / "none.pt")
    path.write_text("not a checkpoint")
    with pytest.raises(InputError, match="not a readable checkpoint"):
        load_erwin_weights(model, path)


def test_published_weights_start_a_training_with_another_norm(tmp_path):
    state = published()
    torch.save(state, tmp_path / "best.pt")
    model = MODELS.build(
        dict(
            type="DefaultRegressor",
            norm="layer",
            backbone=dict(CONFIG),
            head=dict(type="RegressionHead", in_channels=4, out_channels=1),
            normalizer=dict(type="TargetNormalizer", channels=1),
            criteria=[dict(type="MSELoss")],
        )
    )
    load_erwin_weights(model.backbone, tmp_path / "best.pt")
    want = convert_erwin_state_dict(state)
    assert not any("running" in name for name in model.state_dict())
    for name, parameter in model.backbone.named_parameters():
        assert torch.equal(parameter, want.pop(name)), name
    assert all("running" in name or "tracked" in name for name in want)
