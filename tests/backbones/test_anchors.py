"""Networks that encode anchors once and predict at queries from them."""

from __future__ import annotations

import pytest
import torch

from pointcept_bsa.errors import InputError
from pointcept_bsa.host import MODELS

from .conftest import ERWIN_NSA, NETWORKS, SMALL, TREE, sample, scale_weights

ANCHORS, QUERIES = (100, 37, 70), (20, 9, 31)
ANCHORED = [name for name in NETWORKS if name.startswith(("full", "bsa", "erwin nsa"))]
# Networks in which a point at an anchor's place meets all that the anchor meets: it selects for itself there, too.
EXACT = {
    "full": dict(type="FullAttention-v1m1", **SMALL),
    "full rotary": dict(type="FullAttention-v1m1", **SMALL | dict(channels=32), qk_norm=True, rotary=3.0),
    "bsa": dict(type="BSA-v1m1", **SMALL, **TREE | dict(group_size=1)),
    "bsa rotary": dict(type="BSA-v1m1", **SMALL | dict(channels=32), **TREE | dict(group_size=1), rotary=3.0),
    "bsa one tree": dict(type="BSA-v1m1", **SMALL, **TREE | dict(group_size=1), rotate=0, skip_every=2),
    "bsa hierarchical": NETWORKS["bsa hierarchical"] | dict(group_size=1),
    "bsa messages": NETWORKS["bsa messages"] | dict(group_size=1, edges="radius", radius=0.7),
    "erwin nsa": ERWIN_NSA,
    "erwin nsa radius": ERWIN_NSA | dict(edges="radius", radius=0.7, num_kv_heads=2, mask_own_ball=True),
}


def built(options, **more):
    torch.manual_seed(0)
    model = MODELS.build(options | more).double().eval()
    scale_weights(model, 8)
    return model


def double(lengths, dims=3, seed=0):
    return sample(lengths, dims, seed, torch.float64)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", EXACT)
def test_a_query_at_an_anchor_gets_the_prediction_of_the_anchor(name, dims):
    model, anchors = built(EXACT[name], dimensionality=dims), double(ANCHORS, dims)
    with torch.no_grad():
        memory = model.encode_anchors(anchors)
        torch.testing.assert_close(model.decode(memory, anchors), memory.feat, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ANCHORED)
def test_anchors_are_encoded_as_ever_and_a_batch_is_its_clouds(name):
    model, anchors, queries = built(NETWORKS[name]), double(ANCHORS), double(QUERIES, seed=1)
    with torch.no_grad():
        memory = model.encode_anchors(anchors)
        assert torch.equal(memory.feat, model(anchors)["feat"])
        together = model.decode(memory, queries).split(QUERIES)
        for i, feat in enumerate(together):
            own = [part(data, lengths, i) for data, lengths in ((anchors, ANCHORS), (queries, QUERIES))]
            torch.testing.assert_close(model.decode(model.encode_anchors(own[0]), own[1]), feat, rtol=1e-9, atol=1e-9)
        moved = double(QUERIES, seed=1)
        moved["feat"][1:] += 1.0
        moved["coord"][1:] -= 0.5
        torch.testing.assert_close(model.decode(memory, moved)[0], together[0][0], rtol=1e-9, atol=1e-9)
        assert not torch.allclose(model.decode(memory, moved)[1], together[0][1])


def part(data, lengths, i):
    """One cloud of a batch."""
    cut = {key: data[key].split(lengths)[i] for key in ("coord", "feat")}
    return cut | {"offset": torch.tensor([lengths[i]])}


@pytest.mark.parametrize("name", ANCHORED)
def test_gradients_reach_anchors_queries_and_every_parameter(name):
    model, anchors, queries = built(NETWORKS[name]).train(), double(ANCHORS), double(QUERIES, seed=1)
    for data in (anchors, queries):
        data["feat"].requires_grad_()
    out = model.decode(model.encode_anchors(anchors), queries)
    (out * torch.randn_like(out)).sum().backward()  # the square of normalised features hardly depends on anything
    assert (queries["feat"].grad.abs().sum(1) > 0).all()
    assert (anchors["feat"].grad.abs().sum(1) > 0).all()
    assert not [key for key, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]


@pytest.mark.parametrize("name", ["full", "bsa", "bsa hierarchical", "erwin nsa"])
def test_gradients_are_those_of_finite_differences(name):
    model, anchors, queries = built(NETWORKS[name]), double((40,)), double((6,), seed=1)
    scale_weights(model, 0.25)  # gentle enough for differences, and for the choice of blocks to stay

    def loss(shift):
        memory = model.encode_anchors(anchors | {"feat": anchors["feat"] + shift})
        return model.decode(memory, queries | {"feat": queries["feat"] - 2 * shift}).square().sum()

    direction = torch.randn(3, dtype=torch.float64)
    shift = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(shift), shift)
    with torch.no_grad():
        slope = (loss(1e-6 * direction) - loss(-1e-6 * direction)) / 2e-6
    torch.testing.assert_close(gradient @ direction, slope, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["full", "bsa", "bsa hierarchical", "erwin nsa"])
def test_recomputing_changes_no_gradient(name):
    gradients = []
    for recompute in (False, True):
        model = built(NETWORKS[name], recompute=recompute).train()
        model.decode(model.encode_anchors(double(ANCHORS)), double(QUERIES, seed=1)).square().sum().backward()
        gradients.append([p.grad for p in model.parameters()])
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(again, plain, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", EXACT)
def test_parameters_of_clouds_condition_queries_as_they_do_anchors(name):
    model, anchors = built(EXACT[name], condition=2), double(ANCHORS)
    torch.nn.init.normal_(model.condition.layers[-1].weight, std=0.3)
    anchors["parameters"] = torch.randn(len(ANCHORS), 2, dtype=torch.float64)
    with torch.no_grad():
        memory = model.encode_anchors(anchors)
        torch.testing.assert_close(model.decode(memory, anchors), memory.feat, rtol=1e-9, atol=1e-9)
        other = anchors | {"parameters": anchors["parameters"] + 1.0}
        assert not torch.allclose(model.decode(memory, other), memory.feat)


def test_as_many_queries_as_slots_are_not_taken_for_them():
    """The slots of the anchors have empty ones, whose outputs ``selected_attention`` would empty."""
    model, anchors = built(NETWORKS["bsa"]), double((75,))
    memory, queries = model.encode_anchors(anchors), double((96,), seed=1)
    assert len(memory.tree.layout.coord) == 96 and not memory.tree.layout.valid.all()
    whole = model.decode(memory, queries)
    halves = [part(queries, (48, 48), i) for i in range(2)]
    apart = torch.cat([model.decode(memory, half) for half in halves])
    torch.testing.assert_close(apart, whole, rtol=1e-9, atol=1e-9)


def test_what_has_no_way_for_queries_is_refused():
    model = MODELS.build(dict(NETWORKS["bsa"]))
    with pytest.raises(InputError, match="queries of 2 clouds, wanted 1"):
        model.decode(model.encode_anchors(sample((40,))), sample((5, 5)))
    padded = model.padding(64)(sample((40,)))
    with pytest.raises(InputError, match="pad_clouds"):
        model.encode_anchors(padded)
