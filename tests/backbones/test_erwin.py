"""What is particular to Erwin: the published outputs, parameter counts, levels, the bottleneck.

``golden/erwin_*.npz`` was made once with the authors' code (maxxxzdn/erwin) and its tree (balltree-erwin 0.1.0), on
the CPU in float32:

- shapes of the weights: ``config`` and ``shapes``, by the published names; values: :func:`published_weights`;
- coordinates and features: standard normal, two clouds of 45 and 64 points (45 gives 19 copies); edges: the 4 nearest
  points, itself among them, found by sorting all distances;
- distances in the attention bias without matrix multiplication, whose cancellation costs up to 1e-4;
- ``eval`` and ``train``: the output in either mode from the same weights; ``running_*``: the buffers of the first
  unpooling after the pass in training; ``latent``: the output with decode=False in evaluation;
- ``order``: the points of each cloud in the published tree (``tree_order``). The order inside a pair of points, which
  pooling of stride 2 can see, is whatever the C++ library's nth_element leaves;
- the random seed of the clouds is the first for which no ball of a rotated tree parts a point from its copy: which
  of the two goes where is left to nth_element as well. ``erwin_ties.npz`` has a seed where that happens, and is the
  output on trees of balltree-erwin only.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.ball_tree import tree_order
from pointcept_bsa.host import MODELS
from pointcept_bsa.training.checkpoints.published_erwin import convert_erwin_state_dict

from .conftest import ERWIN, ERWIN_UNET, sample

GOLDEN = Path(__file__).parent / "golden"
SHAPENET = dict(type="Erwin-v1m1", in_channels=64)
COSMOLOGY = dict(
    type="Erwin-v1m1",
    in_channels=32,
    channels=[32, 64, 128, 256],
    ball_sizes=[256] * 4,
    enc_num_heads=[2, 4, 8, 16],
    enc_depths=[2, 2, 6, 2],
    dec_num_heads=[2, 4, 8],
    dec_depths=[2, 2, 2],
    strides=[2, 2, 2],
)
DYNAMICS = dict(
    type="Erwin-v1m1",
    in_channels=16,
    channels=[16, 32, 64, 128, 256],
    ball_sizes=[128, 128, 128, 64, 32],
    enc_num_heads=[2, 4, 8, 16, 32],
    enc_depths=[2, 2, 2, 6, 2],
    dec_num_heads=[4, 4, 8, 16],
    dec_depths=[2, 2, 2, 2],
    strides=[2, 2, 2, 2],
)


def published_weights(shapes):
    """Weights by the published names, from numpy's default generator of seed 0, in the order of sorted names."""
    rng, weights = np.random.default_rng(0), {}
    for name in sorted(shapes):
        x = rng.standard_normal(shapes[name]).astype(np.float32)
        if name.endswith("num_batches_tracked"):
            value = np.zeros((), np.int64)
        elif name.endswith("running_var"):
            value = 0.5 + x * x
        elif name.endswith("sigma_att"):
            value = 0.3 * x - 1
        elif x.ndim == 2:
            value = x / np.sqrt(np.float32(x.shape[1]))
        elif name.endswith("weight"):
            value = 1 + 0.1 * x
        else:
            value = 0.1 * x
        weights[name] = torch.from_numpy(np.asarray(value))
    return weights


def load_golden(name):
    """Arrays of one golden file, its sample, and a function that builds the network with its weights."""
    with np.load(GOLDEN / f"{name}.npz") as file:
        arrays = {k: torch.from_numpy(file[k]) for k in file.files if k not in ("shapes", "config")}
        shapes, config = json.loads(str(file["shapes"])), json.loads(str(file["config"]))
    arrays["order"] = arrays["order"].long()
    options = {k: v for k, v in config.items() if k not in ("c_in", "c_hidden")}

    def build(**more):
        model = MODELS.build(
            dict(
                type="Erwin-v1m1",
                in_channels=config["c_in"],
                channels=config["c_hidden"],
                num_neighbors=4,
                pad="power_of_two",
                **options,
                **more,
            )
        )
        weights = convert_erwin_state_dict(published_weights(shapes))
        model.load_state_dict({k: v for k, v in weights.items() if k in model.state_dict()})
        return model

    data = dict(coord=arrays["coord"], feat=arrays["feat"], offset=arrays["lengths"].cumsum(0))
    data["tree_order"] = arrays["order"]
    return arrays, data, build


@pytest.fixture(params=["erwin_flat", "erwin_unet"])
def golden(request):
    return load_golden(request.param)


@pytest.mark.parametrize("training", [True, False])
def test_published_outputs(golden, training):
    arrays, data, build = golden
    model = build().train(training)
    with torch.no_grad():
        out = model(data)["feat"]
    assert torch.allclose(out, arrays["train" if training else "eval"], atol=1e-4)
    if training:
        norm = model.unpooling[0].norm
        assert torch.allclose(norm.running_mean, arrays["running_mean"], atol=1e-5)
        assert torch.allclose(norm.running_var, arrays["running_var"], atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["erwin_flat", "erwin_unet", "erwin_ties"])
def test_published_outputs_on_the_published_trees(balltree_peer, name, training):
    arrays, data, build = load_golden(name)
    del data["tree_order"]
    with torch.no_grad():
        out = build(tree="balltree").train(training)(data)["feat"]
    assert torch.allclose(out, arrays["train" if training else "eval"], atol=1e-4)


def test_the_published_tree_refuses_clouds_that_do_not_fill_a_ball(balltree_peer):
    model = MODELS.build(dict(ERWIN_UNET, pad="power_of_two", tree="balltree"))
    with pytest.raises(InputError, match="cloud of 60 points, wanted more than 64"):
        model(sample((200, 60)))


def test_published_bottleneck(golden):
    arrays, data, build = golden
    with torch.no_grad():
        out = build(decode=False).eval()(data)
    assert torch.allclose(out["feat"], arrays["latent"], atol=1e-4)
    assert torch.diff(out["offset"], prepend=torch.zeros(1)).tolist() == arrays["latent_lengths"].tolist()


@pytest.mark.parametrize(
    ("config", "published"), [(SHAPENET, 1_265_680), (COSMOLOGY, 4_752_440), (DYNAMICS, 4_762_332)]
)
def test_parameters_are_counted_as_published(config, published):
    """The published pooling of stride 1 keeps a Linear(64 + 3, 64) and a BatchNorm(64) that nothing ever calls."""
    model = MODELS.build(dict(config))
    unused = 67 * 64 + 64 + 2 * 64 if 1 in model.strides else 0
    assert sum(p.numel() for p in model.parameters()) + unused == published


def test_state_dict_keys_stay():
    model = MODELS.build(dict(ERWIN_UNET))
    block = [
        "attention.position.bias",
        "attention.position.weight",
        "attention.projection.bias",
        "attention.projection.weight",
        "attention.qkv.bias",
        "attention.qkv.weight",
        "attention.sigma",
        "norm1.weight",
        "norm2.weight",
        *(f"swiglu.w{i}.{kind}" for i in (1, 2, 3) for kind in ("bias", "weight")),
    ]
    pooling = [f"norm.{k}" for k in ("bias", "num_batches_tracked", "running_mean", "running_var", "weight")]
    pooling += ["projection.bias", "projection.weight"]
    step = [f"{k}.{kind}" for k in ("message", "message_norm", "update", "update_norm") for kind in ("bias", "weight")]
    stacks = {"encoder.0": 2, "encoder.1": 1, "bottleneck": 2, "decoder.0": 2, "decoder.1": 2}
    wanted = {f"{stack}.{i}.{key}" for stack, depth in stacks.items() for i in range(depth) for key in block}
    wanted |= {f"{kind}.{i}.{key}" for kind in ("pooling", "unpooling") for i in (0, 1) for key in pooling}
    wanted |= {f"embedding.steps.{i}.{key}" for i in range(3) for key in step}
    wanted |= {"embedding.linear.weight", "embedding.linear.bias"}
    assert set(model.state_dict()) == wanted


def test_empty_slots_never_reach_the_statistics_of_a_training_step():
    """A batch that needs padding trains as its points do: positions of the empty slots change nothing."""
    model = MODELS.build(dict(ERWIN_UNET)).train()
    data = sample((70, 9))
    levels = model.build_levels(data["coord"], (70, 9))
    assert all(level.layout.valid is not None for level in levels[:2])
    before = model(data)["feat"]

    def moved(coord, lengths, order=None):
        for level in levels:
            for layout in (level.layout, level.rotated):
                if layout.valid is not None:
                    layout.coord[~layout.valid] = 7.0
        return levels

    model.build_levels = moved
    assert torch.allclose(model(data)["feat"], before, atol=1e-5)


@pytest.mark.parametrize("pad", ["ball", "power_of_two"])
def test_every_level_holds_whole_balls_of_one_cloud(pad):
    model = MODELS.build(dict(DYNAMICS, pad=pad))
    levels = model.build_levels(torch.randn(1300, 3), (700, 5, 595))
    for level, ball_size, pooled in zip(levels, model.ball_sizes, model.pooled, strict=True):
        assert level.layout.ball_size == level.rotated.ball_size == ball_size
        assert all(slots % ball_size == 0 for slots in level.layout.slots)
        assert level.layout.slots == tuple(s // pooled for s in levels[0].layout.slots)
        assert level.layout.coord.isfinite().all() and level.layout.relative.isfinite().all()


def test_a_cached_order_gives_the_same_features():
    model = MODELS.build(dict(ERWIN_UNET)).eval()
    data = sample((70, 33))
    orders = [
        tree_order(c, model.ball_sizes[0], model.leaf, unit=model.unit, rotate=model.rotate)
        for c in data["coord"].split((70, 33))
    ]
    with torch.no_grad():
        assert torch.equal(model(data)["feat"], model(data | dict(tree_order=torch.cat(orders)))["feat"])


@pytest.mark.parametrize("config", [ERWIN, ERWIN_UNET])
def test_the_bottleneck_is_a_point_of_its_own(config):
    model = MODELS.build(dict(config, decode=False)).eval()
    out = model(sample((70, 9)) | dict(target=torch.zeros(79, 1)))
    assert sorted(out) == ["batch", "coord", "feat", "offset"]
    assert out["feat"].shape == (len(out["coord"]), model.out_channels) and model.out_channels == 16
    assert out["offset"][-1] == len(out["coord"]) == len(out["batch"])
    assert len(out["coord"]) >= 79 // model.pooled[-1]


def test_two_dimensions():
    model = MODELS.build(dict(ERWIN_UNET, dimensionality=2)).eval()
    assert model(sample((70,), dims=2))["feat"].shape == (70, 8)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (dict(ball_sizes=[32, 16]), "ball_sizes: got 2 numbers, wanted 3"),
        (dict(strides=[2]), "strides: got 1 numbers, wanted 2"),
        (dict(ball_sizes=[32, 24, 16]), "wanted balls that nest"),
        (dict(strides=[3, 3], ball_sizes=[36, 12, 4], pad="power_of_two"), "power of two"),
        (dict(pad="zero"), "pad: got 'zero'"),
        (dict(tree="balltree"), "tree: got 'balltree' with pad 'ball'"),
        (dict(strides=[1, 4]), "around a stride of 1"),
        (dict(enc_num_heads=[3, 4, 4]), "num_heads: got 3"),
        (dict(edges="radius"), "radius: got None"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, word):
    with pytest.raises(ValueError, match=word):
        MODELS.build(dict(ERWIN_UNET, **options))
