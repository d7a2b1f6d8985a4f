"""What is particular to BSA: selection, padding, operation counts."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pointcept_bsa.backbones import bsa
from pointcept_bsa.geometry.ball_tree import BallTree
from pointcept_bsa.host import MODELS
from pointcept_bsa.layers.ball_sparse_attention import BallSparseAttention
from pointcept_bsa.layers.linear import Linear
from pointcept_bsa.training.evaluation.flops import count_flops

from .conftest import NETWORKS, sample

PAPER = {
    "bsa": (27.91, dict(type="BSA-v1m1")),
    "bsa w/o group selection": (32.67, dict(type="BSA-v1m1", group_size=1)),
    "bsa w group compression": (20.82, dict(type="BSA-v1m1", group_compression=True, query_pooling="mlp")),
    "full attention": (87.08, dict(type="FullAttention-v1m1")),
}


class WithHead(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = MODELS.build(backbone)
        self.head = MODELS.build(dict(type="RegressionHead", in_channels=64, out_channels=1))

    def forward(self, data):
        return self.head(self.backbone(data)["feat"])


@pytest.mark.parametrize("row", PAPER)
def test_operations_are_those_of_table_3(row):
    gflops, backbone = PAPER[row]
    data = sample((4096,))
    assert count_flops(WithHead(backbone), data) / 1e9 == pytest.approx(gflops, rel=0.03)


def test_erwin_row_of_table_3_is_the_ball_branch_alone():
    from pointcept_bsa.layers.attention import BallAttention
    from pointcept_bsa.layers.transformer import BallTreeStack, TransformerBlock

    class FlatErwin(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.head = nn.Linear(3, 64), nn.Linear(64, 1)
            self.blocks = BallTreeStack([TransformerBlock(BallAttention(64, 8), 64) for _ in range(18)], rotate=True)

        def forward(self, data):
            tree = BallTree.build(data["coord"], (4096,), 256, rotate=45)
            return self.head(tree.scatter(self.blocks(tree.gather(self.embedding(data["feat"])), tree)))

    assert count_flops(FlatErwin(), sample((4096,))) / 1e9 == pytest.approx(14.60, rel=0.01)


@pytest.mark.parametrize("group_size", [1, 4])
def test_selected_blocks_are_never_inside_the_own_ball(group_size):
    layer = BallSparseAttention(16, 2, ball_size=32, block_size=4, topk=5, group_size=group_size)
    layout = BallTree.build(torch.randn(300, 3), (200, 100), 32, 4).layout
    q, k = torch.randn(sum(layout.slots) // group_size, 2, 8), torch.randn(sum(layout.blocks), 2, 8)
    index = layer.select(q, k, layout)
    ball_of_group = torch.arange(len(index)).view(-1, 1, 1) * group_size // 32
    assert (index >= 0).all()
    assert (index * 4 // 32 != ball_of_group).all()


def test_a_cloud_of_one_ball_selects_nothing_and_trains():
    model = MODELS.build(dict(type="BSA-v1m1", channels=16, depth=2, num_heads=2, ball_size=64))
    data = sample((40,))
    model(data)["feat"].sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("options", [{}, dict(group_compression=True, query_pooling="mlp"), dict(phi="mean")])
def test_what_lies_in_empty_slots_never_leaks(options):
    torch.manual_seed(0)
    layer = BallSparseAttention(16, 2, ball_size=32, block_size=4, group_size=4, **options)
    layout = BallTree.build(torch.randn(75, 3), (75,), 32, 4).layout
    x = torch.randn(96, 16)
    other = torch.where(layout.valid[:, None], x, torch.randn(96, 16) * 1e3)
    real = layout.valid
    assert torch.equal(layer(x, layout)[real], layer(other, layout)[real])


def test_queries_pooled_once_score_like_the_mean_of_their_scores():
    q, k = torch.randn(8, 5, dtype=torch.float64), torch.randn(7, 5, dtype=torch.float64)
    assert torch.allclose((q @ k.T).mean(0), q.mean(0) @ k.T)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (dict(num_heads=3), "divisor of the 16 channels"),
        (dict(group_size=5), "divisor of ball_size"),
        (dict(phi="max"), "wanted one of"),
        (dict(group_size=16, group_compression=True), "wanted block_size"),
        (dict(topk=0), "at least 1"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, word):
    with pytest.raises(ValueError, match=word):
        BallSparseAttention(**dict(dim=16, num_heads=2) | options)


def test_without_messages_keys_and_first_values_are_those_of_a_linear_map(monkeypatch):
    """Of a network that knows nothing of messages: its weights load, and a seed draws what it drew."""

    def drawn():
        torch.manual_seed(0)
        return MODELS.build(NETWORKS["bsa"] | dict(mp_steps=0)), torch.rand(1)

    network, following = drawn()
    monkeypatch.setattr(bsa, "PointEmbedding", lambda *sizes, **_: SimpleNamespace(linear=Linear(*sizes)))
    before, wanted = drawn()
    assert list(network.state_dict()) == list(before.state_dict())
    assert list(network.state_dict())[:2] == ["embedding.weight", "embedding.bias"]
    for name, value in before.state_dict().items():
        assert torch.equal(network.state_dict()[name], value), name
    assert torch.equal(following, wanted)
    assert set(network.static_geometry(torch.rand(70, 3))) == {"tree_order"}


@pytest.mark.parametrize("mp_steps", [0, 2])
@pytest.mark.parametrize(("options", "word"), [(dict(edges="all"), "edges"), (dict(edges="radius"), "radius")])
def test_neighbours_that_cannot_be_are_refused(mp_steps, options, word):
    with pytest.raises(ValueError, match=f"{word}: got"):
        MODELS.build(dict(type="BSA-v1m1", mp_steps=mp_steps, **options))
