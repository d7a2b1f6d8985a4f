"""CUDA graphs of the training step."""

from __future__ import annotations

import copy
import gc
import logging

import pytest
import torch

from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.tree_plan import plan_tree
from pointcept_bsa.host import MODELS
from pointcept_bsa.layers.fused.cast_weights import CastWeights
from pointcept_bsa.ops import side_streams
from pointcept_bsa.samples import host_ends, to_device
from pointcept_bsa.training.graph import FlatGradients, GraphedStep, GraphsOfShapes

LENGTHS = [(300, 200), (300, 200), (257,), (300, 200), (257,), (257,), (300, 200), (257,), (300, 200), (257,)]
MODEL = dict(
    type="DefaultRegressor",
    backbone=dict(type="BSA-v1m1", channels=16, depth=2, num_heads=2, ball_size=64),
    head=dict(type="RegressionHead", in_channels=16, out_channels=1),
    normalizer=dict(type="TargetNormalizer", channels=1, mean=[0.0], std=[1.0]),
    criteria=[dict(type="MSELoss")],
)
WHOLE = MODEL | dict(  # conditioned by numbers of whole clouds, and predicting some
    backbone=MODEL["backbone"] | dict(condition=2),
    scalars=dict(
        head=dict(type="ScalarHead", in_channels=16, out_channels=2),
        normalizer=dict(type="TargetNormalizer", channels=2, mean=[0.0, 0.0], std=[1.0, 1.0]),
        criteria=[dict(type="MSELoss")],
    ),
)


DOMAINS = {
    key: value for key, value in WHOLE.items() if key not in ("head", "criteria", "type", "normalizer")
} | dict(  # and all that at once of two domains, from anchors of each
    type="JointRegressor",
    domains=dict(
        surface=dict(head=dict(type="GaussianHead", in_channels=16, out_channels=1), criteria=[dict(type="MSELoss")]),
        volume=dict(
            head=dict(type="GaussianHead", in_channels=16, out_channels=2),
            criteria=[dict(type="RelativeL2Loss", physical=False), dict(type="GaussianNLLLoss")],
        ),
    ),
    normalizer=dict(type="TargetNormalizer", channels=3, mean=[0.0] * 3, std=[1.0] * 3),
)


def batches(every=LENGTHS):
    generator = torch.Generator().manual_seed(0)
    for lengths in every:
        coord = torch.randn(sum(lengths), 3, generator=generator)
        offset = torch.tensor(lengths).cumsum(0)
        yield dict(coord=coord, feat=coord, target=coord[:, :1].square(), offset=offset, name=["x"] * len(lengths))


def with_numbers(batch):
    """The batch with parameters and scalars of its clouds."""
    numbers = torch.stack([cloud.mean(0) for cloud in batch["coord"].tensor_split(batch["offset"][:-1])])
    return batch | dict(parameters=10 * numbers[:, :2], scalars=numbers[:, 1:] * 10)


def with_domains(batch, anchors=True):
    """The batch with points of two domains in turn, of whose first two thirds the others are queries."""
    lengths = batch["offset"].diff(prepend=batch["offset"].new_zeros(1)).tolist()
    domain = torch.cat([torch.arange(n) % 2 for n in lengths])
    counts = torch.tensor([[n - n // 2, n // 2] for n in lengths]).flatten()
    first = torch.tensor([2 * n // 3 for n in lengths]).cumsum(0)
    target = torch.cat([batch["target"], batch["coord"][:, 1:]], 1)
    more = dict(domain=domain, domain_offset=counts.cumsum(0), target=target)
    return with_numbers(batch) | more | (dict(anchor_offset=first) if anchors else {})


OF = {
    "fields": (MODEL, lambda batch: batch),
    "numbers of whole clouds": (WHOLE, with_numbers),
    "domains": (DOMAINS, lambda batch: with_domains(batch, anchors=False)),
    "anchors of domains": (DOMAINS, with_domains),
    "levels of anchors' tokens": (DOMAINS | dict(backbone=DOMAINS["backbone"] | dict(near=128, fan=2)), with_domains),
}


def train(step, model, of=batches) -> list[float]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for batch in of():
        losses.append(step(to_device(batch, torch.device("cuda")))["loss"])
        optimizer.step()
    return [loss.item() for loss in losses]


def test_a_batch_on_a_device_knows_where_its_clouds_end():
    batch = to_device(next(iter(batches())), torch.device("cpu"))
    assert host_ends(batch) == (300, 500)


def test_a_graph_gives_way_to_a_shape_that_comes_twice_as_often():
    shapes = GraphsOfShapes(most=2, remembered=8)
    for name, times in (("a", 9), ("b", 3)):
        assert [shapes.count(name) for _ in range(times)] == [*range(1, times + 1)] and shapes.make_room(name)
        shapes.graphs[name] = None
    for times in range(1, 6):
        assert shapes.count("c") == times and not shapes.make_room("c")
    assert shapes.count("c") == 6 and shapes.make_room("c") and list(shapes.graphs) == ["a"]
    shapes.graphs["c"] = None
    for number in range(100):  # shapes that come once take no place, and are forgotten
        shapes.count(number)
        assert not shapes.make_room(number) and len(shapes.seen) <= 8
    assert shapes.seen["a"] == 9 and shapes.seen["c"] == 6


def test_a_shape_whose_graph_is_kept_is_not_forgotten():
    shapes = GraphsOfShapes(most=1, remembered=4)
    shapes.count("a")
    shapes.graphs["a"] = None
    for name in "bcdefgh":
        for _ in range(2):
            shapes.count(name)
    assert shapes.seen["a"] == 1 and len(shapes.seen) <= 4
    shapes.count("h")
    assert shapes.make_room("h") and not shapes.graphs


def test_weights_cast_at_once_and_gradients_taken_at_once_are_those_of_autocast():
    torch.manual_seed(0)
    plain = MODELS.build(copy.deepcopy(MODEL)).train()
    plain.unused = torch.nn.Parameter(torch.ones(3))
    other = copy.deepcopy(plain)
    gradients, cast = FlatGradients(other), CastWeights(other, torch.bfloat16)
    names = list(other.state_dict())
    assert len(cast.places) > 20
    for batch in list(batches())[:2]:
        plain.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = plain(batch)["loss"]
        loss.backward()
        gradients.part()
        with cast.swapped_in():
            with torch.autocast("cpu", torch.bfloat16):
                same = other(batch)["loss"]
            same.backward()
        gradients.take(cast.gradients())
        assert torch.equal(loss, same)
        for (name, left), right in zip(plain.named_parameters(), other.parameters(), strict=True):
            if left.grad is None:
                assert right.grad is None and name == "unused"
                continue
            assert right.dtype == torch.float32 and right.grad.dtype == torch.float32
            assert torch.equal(left.grad, right.grad), name
        with torch.no_grad():  # the next cast must see it
            for left, right in zip(plain.parameters(), other.parameters(), strict=True):
                left.add_(0.01)
                right.add_(0.01)
    assert list(other.state_dict()) == names


def test_flat_gradients_are_the_gradients():
    torch.manual_seed(0)
    plain = MODELS.build(copy.deepcopy(MODEL)).train()
    flat = copy.deepcopy(plain)
    gradients = FlatGradients(flat)
    batch = next(iter(batches()))
    for _ in range(2):
        gradients.part()
        plain.zero_grad()
        for model in (plain, flat):
            model(batch)["loss"].backward()
        gradients.take()
    for left, right in zip(plain.parameters(), flat.parameters(), strict=True):
        assert torch.equal(left.grad, right.grad)
    assert sum(buffer.abs().sum() for buffer in gradients.buffers) == pytest.approx(
        float(sum(parameter.grad.abs().sum() for parameter in plain.parameters())), rel=1e-5
    )


@pytest.mark.parametrize("name", OF)
def test_a_step_of_known_shapes_makes_no_table_and_asks_the_device_nothing(name, launches):
    """Else a CUDA graph could not hold it. What is counted here on the CPU would be a wait on a GPU."""
    torch.manual_seed(0)
    config, made = OF[name]
    model = MODELS.build(copy.deepcopy(config)).train()
    batch = to_device(made(next(iter(batches()))), torch.device("cpu"))
    model(batch)["loss"].backward()
    with launches() as seen:
        model(batch)["loss"].backward()
    assert not {"_local_scalar_dense", "lift_fresh", "nonzero", "masked_select", "equal"} & set(seen.names)


@pytest.mark.gpu
@pytest.mark.parametrize("name", OF)
def test_graphed_steps_train_like_eager_ones(name):
    """A model and its optimizer, shapes in turn; every backbone's own step: ``tests/backbones/test_cuda.py``."""
    torch.manual_seed(0)
    config, made = OF[name]
    eager = MODELS.build(copy.deepcopy(config)).cuda().train()
    graphed = copy.deepcopy(eager)

    def eager_step(batch):
        eager.zero_grad()
        out = eager(batch)
        out["loss"].backward()
        return out

    step = GraphedStep(graphed, graphed, logging.getLogger("test"))
    of = lambda: map(made, batches())  # noqa: E731
    assert train(step, graphed, of) == pytest.approx(train(eager_step, eager, of), rel=1e-3)  # atomics: not bit for bit
    assert len(step.graphs) == 2


@pytest.mark.gpu
def test_an_ordinary_batch_is_captured_and_says_what_is_missing_where_others_capture():
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(MODEL)).cuda().train()
    step = GraphedStep(model, model, logging.getLogger("test"))
    (batch,) = ({k: v.cuda() for k, v in batch.items() if k != "name"} for batch in batches([(300, 200)]))
    wanted = [step(batch)["loss"].item() for _ in range(4)]
    assert len(step.graphs) == 1 and step(batch)["loss"].item() == pytest.approx(wanted[-1], rel=1e-3)
    with pytest.raises(InputError, match="cannot be read from the GPU while a CUDA graph is captured"):
        with torch.cuda.graph(torch.cuda.CUDAGraph()):
            model(batch)


@pytest.mark.gpu
@pytest.mark.parametrize("backbone", ["BSA-v1m1", "ErwinNSA-v1m1"])
def test_branches_side_by_side_give_the_same_bits(backbone, monkeypatch):
    """In a captured graph branches run on streams of their own, in both passes."""
    torch.manual_seed(0)
    model = MODELS.build(dict(type=backbone, channels=32, depth=4, num_heads=4)).cuda().train()
    (batch,) = batches([(900, 600)])
    runs = []
    for slots in (side_streams.SLOTS, 0):
        monkeypatch.setattr(side_streams, "SLOTS", slots)
        forward = lambda batch: dict(loss=model(batch)["feat"].float().pow(3).mean())  # noqa: E731
        step = GraphedStep(model, forward, logging.getLogger("test"), torch.bfloat16)
        found = []
        for scale in (1, 1, 1, 1, 2, 3, 1, 2):
            moved = batch | dict(coord=batch["coord"] * scale)
            with torch.autocast("cuda", torch.bfloat16):
                loss = step(to_device(moved, torch.device("cuda")))["loss"]
            found.append([loss, *(buffer.clone() for buffer in step.gradients.buffers)])
        assert len(step.graphs) == 1
        runs.append(found[4:])
    for one, other in zip(*runs, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.gpu
def test_padded_clouds_of_many_sizes_share_a_graph():
    torch.manual_seed(0)
    eager = MODELS.build(copy.deepcopy(MODEL)).cuda().train()
    graphed = copy.deepcopy(eager)
    padding = graphed.padding(256)
    step = GraphedStep(graphed, graphed, logging.getLogger("test"))
    losses: list[list[float]] = [[], []]
    optimizers = [torch.optim.AdamW(model.parameters(), lr=1e-3) for model in (eager, graphed)]
    for batch in batches([(n,) for n in (129, 256, 200, 150, 255, 131, 240, 3)]):
        eager.zero_grad()
        out = eager(to_device(batch, torch.device("cuda")))
        out["loss"].backward()
        losses[0].append(out["loss"].item())
        losses[1].append(step(to_device(padding(batch), torch.device("cuda")))["loss"].item())
        for optimizer in optimizers:
            optimizer.step()
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert len(step.graphs) == 1


@pytest.mark.gpu
def test_a_graph_keeps_the_tables_that_caches_drop():
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(MODEL)).cuda().train()
    step = GraphedStep(model, model, logging.getLogger("test"))
    batch = to_device(next(iter(batches([(300, 200)]))), torch.device("cuda"))
    wanted = [step(batch)["loss"].item() for _ in range(5)][-1]
    assert len(step.graphs) == 1
    plan_tree.cache_clear()
    gc.collect()
    trash = [torch.full((n,), 7, dtype=torch.uint8, device="cuda") for n in (64, 512, 4096, 5000) for _ in range(200)]
    assert step(batch)["loss"].item() == pytest.approx(wanted, rel=1e-3)
    del trash
