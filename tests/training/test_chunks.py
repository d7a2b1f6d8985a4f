"""Large clouds: evaluation within a bound, and parts of layers row by row."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from pointcept_bsa.errors import InputError
from pointcept_bsa.host import DATASETS, MODELS, collate_fn
from pointcept_bsa.layers import prenorm as by_rows
from pointcept_bsa.layers.prenorm import recomputed
from pointcept_bsa.ops import side_streams
from pointcept_bsa.samples import host_ends, to_device
from pointcept_bsa.training.evaluation.bounded import BoundedModel, cloud_starts, cut_clouds, cut_points, random_order
from pointcept_bsa.training.evaluation.evaluation import evaluate

MODEL = dict(
    type="DefaultRegressor",
    backbone=dict(type="BSA-v1m1", channels=16, depth=2, num_heads=2, ball_size=32, topk=2),
    head=dict(type="RegressionHead", in_channels=16, out_channels=2),
    normalizer=dict(type="TargetNormalizer", channels=2, mean=[0.0, 1.0], std=[1.0, 2.0]),
    criteria=[dict(type="MSELoss")],
)
SMALL = dict(channels=16, num_heads=2)
BACKBONES = (
    dict(type="BSA-v1m1", depth=2, ball_size=32, topk=2, **SMALL),
    dict(type="ErwinNSA-v1m1", channels=16, depth=2, num_heads=2, local_ball_size=32, compressed_ball_size=8),
    dict(type="FullAttention-v1m1", depth=2, **SMALL),
    dict(
        type="Erwin-v1m1",
        channels=(16, 16),
        ball_sizes=(32, 16),
        enc_num_heads=(2, 2),
        enc_depths=(2, 2),
        dec_num_heads=(2,),
        dec_depths=(2,),
        strides=(2,),
    ),
)


class Noting(nn.Module):
    """Predicts coord[:, :1]; notes the sizes and what came with them."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))
        self.sizes, self.keys = [], set()

    def forward(self, batch):
        ends = batch["offset"].tolist()
        assert ends[-1] == len(batch["coord"]) and list(host_ends(batch)) == ends
        self.sizes.append([b - a for a, b in zip([0, *ends[:-1]], ends, strict=True)])
        self.keys |= set(batch)
        pred = batch["coord"][:, :1] + (len(self.sizes) if self.training else 0)
        return {"pred": pred, "variance": torch.ones_like(pred), "loss": pred.sum()}


def batch_of(*lengths: int) -> dict:
    generator = torch.Generator().manual_seed(0)
    samples = [
        {
            "coord": (coord := torch.randn(n, 3, generator=generator)),
            "feat": coord,
            "target": coord[:, :2],
            "tree_order": torch.arange(n)[:, None],
            "offset": torch.tensor([n]),
            "name": f"cloud{i}",
        }
        for i, n in enumerate(lengths)
    ]
    return to_device(collate_fn(samples), torch.device("cpu"))


def test_clouds_within_the_bound_are_only_run_apart():
    model, batch = Noting().eval(), batch_of(5, 3, 4, 8)
    predict = BoundedModel(model, max_points=8)
    assert torch.equal(predict(batch)["pred"], batch["coord"][:, :1])
    assert model.sizes == [[5, 3], [4], [8]] and "tree_order" in model.keys and not predict.pieces


def test_a_large_cloud_is_split_into_even_pieces_that_cover_it_once():
    model, batch = Noting().eval(), batch_of(5, 23)
    predict = BoundedModel(model, max_points=8, votes=2)
    out = predict(batch)
    torch.testing.assert_close(out["pred"], batch["coord"][:, :1])
    assert out.keys() == {"pred", "variance"}
    assert [len(sizes) for sizes in model.sizes] == [1] * 7
    assert sorted(sum(model.sizes, [])) == [5, 7, 7, 8, 8, 8, 8] and predict.pieces == {"cloud1": 3}
    assert torch.equal(random_order(23, "x", 0), random_order(23, "x", 0))
    assert not torch.equal(random_order(23, "x", 0), random_order(23, "x", 1))


def test_what_belongs_to_the_whole_cloud_is_not_handed_to_its_pieces():
    model = Noting().eval()
    BoundedModel(model, max_points=8)(batch_of(23))
    assert model.keys == {"coord", "feat", "offset", "name", "host_ends"}


def test_votes_are_averaged_and_their_spread_is_variance():
    model = Noting().eval()
    model.train()  # here: call n predicts coord + n; pieces of the first vote are calls 1, 2, of the second 3, 4
    batch = batch_of(10)
    out = BoundedModel(model, max_points=5, votes=2)(batch)
    extra = out["pred"] - batch["coord"][:, :1]
    assert extra.min() >= 2 - 1e-5 and extra.max() <= 3 + 1e-5
    spread = torch.tensor([1.0, 2.0, 3.0]) / 2  # of a point's two calls: (1 or 2, 3 or 4)
    assert all((value - 1 - spread.square()).abs().min() < 1e-5 for value in out["variance"].flatten())


def test_an_entry_that_cannot_be_shared_out_is_named():
    with pytest.raises(InputError, match="odd: got 3 rows, wanted 12, one a point"):
        BoundedModel(Noting(), max_points=8)({**batch_of(5, 7), "odd": torch.zeros(3)})
    with pytest.raises(InputError, match="got 'odd' in the batch, which has no rows"):
        BoundedModel(Noting(), max_points=8)({**batch_of(5, 7), "odd": 3.0})


def test_a_row_a_cloud_goes_with_its_cloud_and_counts_go_on_from_its_first_point():
    batch = {**batch_of(2, 3, 2), "parameters": torch.arange(3.0), "part_offset": torch.tensor([1, 2, 4, 5, 6, 7])}
    cut = cut_clouds(batch, cloud_starts(batch), 1, 3)
    assert cut["parameters"].tolist() == [1, 2] and cut["part_offset"].tolist() == [2, 3, 4, 5]
    assert cut.lengths == (3, 2) and "target" not in cut
    piece = cut_points(cut_clouds(batch, cloud_starts(batch), 1, 2), torch.tensor([0, 2]))
    assert piece["parameters"].tolist() == [1] and piece.lengths == (2,) and "part_offset" not in piece


def test_evaluation_in_parts_is_that_of_the_whole_where_clouds_fit():
    torch.manual_seed(0)
    model, batch = MODELS.build(copy.deepcopy(MODEL)), batch_of(50, 70, 40)
    batch.pop("tree_order")
    whole = evaluate(model, [batch], ["mse"])
    parts = evaluate(BoundedModel(model, max_points=120), [batch], ["mse"])
    assert [r["mse"] for r in parts] == pytest.approx([r["mse"] for r in whole], rel=1e-5)
    assert not any("pieces" in record for record in parts)
    split = evaluate(BoundedModel(model, max_points=60), [batch], ["mse"])
    assert [record.get("pieces") for record in split] == [None, 2, None]
    assert split[0]["mse"] == pytest.approx(whole[0]["mse"], rel=1e-5)


def test_test_cfg_is_checked():
    dataset = dict(type="EllipsoidFlowDataset", split="test")
    assert DATASETS.build(dict(dataset, test_cfg=dict(max_points=100, votes=2))).test_cfg["votes"] == 2
    for bad in (dict(max_points=0), dict(points=3), dict(votes=1.5)):
        with pytest.raises(InputError, match="test_cfg: got"):
            DATASETS.build(dict(dataset, test_cfg=bad))


@pytest.mark.parametrize("recompute", [True, "selective"])
@pytest.mark.parametrize("cfg", BACKBONES, ids=lambda cfg: cfg["type"])
def test_row_by_row_and_recomputed_are_the_same(cfg, recompute, monkeypatch):
    """Without gradients the feed-forward goes row by row; with ``recompute`` the gradients are those without."""
    torch.manual_seed(0)
    plain = MODELS.build(dict(cfg)).train()
    recomputing = MODELS.build(dict(cfg, recompute=recompute)).train()
    recomputing.load_state_dict(plain.state_dict())
    batch = batch_of(90, 60)
    batch.pop("tree_order")
    results = []
    for model in (plain, recomputing):
        (model(batch)["feat"] * batch["coord"][:, :1]).sum().backward()
        results.append([parameter.grad for parameter in model.parameters()])
    torch.testing.assert_close(*results)
    with torch.no_grad():
        whole = plain.eval()(batch)["feat"]
        monkeypatch.setattr(by_rows, "ROWS_AT_ONCE", 32)
        torch.testing.assert_close(plain(batch)["feat"], whole, rtol=1e-5, atol=1e-6)


def test_recomputing_saves_memory():
    """Bytes that the backward pass waits for."""

    def kept(recompute: bool | str) -> int:
        model = MODELS.build(dict(BACKBONES[0], recompute=recompute)).train()
        sizes: dict[int, int] = {}
        weights = {parameter.data_ptr() for parameter in model.parameters()}

        def note(tensor):
            if tensor.data_ptr() not in weights:
                sizes[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            model({key: value for key, value in batch_of(150).items() if key != "tree_order"})
        return sum(sizes.values())

    assert kept(True) < kept(False) / 3


def test_selective_recomputing_computes_no_attention_again():
    class Count(TorchDispatchMode):
        attentions = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.attentions += "scaled_dot_product" in str(func) and "backward" not in str(func)
            return func(*args, **(kwargs or {}))

    def attentions(recompute: bool | str) -> int:
        model = MODELS.build(dict(BACKBONES[0], recompute=recompute)).train()
        with Count() as count:
            model({key: value for key, value in batch_of(150).items() if key != "tree_order"})["feat"].sum().backward()
        return count.attentions

    assert attentions("selective") == attentions(False) > 0
    assert attentions(True) == 2 * attentions(False)


def test_recompute_is_checked():
    with pytest.raises(ValueError, match="recompute: got 'some', wanted True, False or 'selective'"):
        MODELS.build(dict(BACKBONES[0], recompute="some"))


@pytest.mark.parametrize("recompute", [True, "selective"])
def test_what_is_computed_again_stays_on_one_stream(recompute):
    """In the forward pass and again in the backward pass, which runs in another thread on CUDA."""
    seen = []

    def run(x):
        seen.append(side_streams._single_stream)
        return x.sin().exp()

    x = torch.ones(3, requires_grad=True)
    recomputed(run, recompute, x).sum().backward()
    assert seen == [1, 1] and side_streams._single_stream == 0
