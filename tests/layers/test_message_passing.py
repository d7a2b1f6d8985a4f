"""Message passing equals its formula, edge by edge."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.ball_tree import BallTree
from pointcept_bsa.geometry.neighbors import find_neighbors
from pointcept_bsa.layers.message_passing import MessagePassing
from pointcept_bsa.layers.point_embedding import PointEmbedding

LENGTHS = (9, 4)


def sample(lengths=LENGTHS):
    return dict(coord=torch.randn(sum(lengths), 3), feat=torch.randn(sum(lengths), 5))


def edge_by_edge(step, h, coord, index):
    """The step in loops: a mean of one message for each neighbour."""
    out = []
    for i, row in enumerate(index.tolist()):
        messages = [
            step.message_norm(F.gelu(step.message(torch.cat([h[j], h[i], coord[j] - coord[i]])))) for j in row if j >= 0
        ]
        mean = torch.stack(messages).mean(0) if messages else torch.zeros_like(h[i])
        out.append(h[i] + step.update_norm(step.update(torch.cat([h[i], mean]))))
    return torch.stack(out)


def test_embedding_equals_the_formula_edge_by_edge():
    data = sample()
    embedding = PointEmbedding(5, 6, mp_steps=2, num_neighbors=5)
    index = find_neighbors(data["coord"], LENGTHS, 5)
    assert (index == -1).any()
    want = embedding.linear(data["feat"])
    for step in embedding.steps:
        want = edge_by_edge(step, want, data["coord"], index)
    assert torch.allclose(embedding(data, LENGTHS), want, atol=1e-5)


def test_a_point_without_neighbors_hears_nothing():
    data = sample((3,)) | dict(neighbor_index=torch.tensor([[1, 2], [-1, -1], [0, -1]]))
    embedding = PointEmbedding(5, 6, mp_steps=1)
    h = embedding.linear(data["feat"])
    want = edge_by_edge(embedding.steps[0], h, data["coord"], data["neighbor_index"])
    assert torch.allclose(embedding(data, (3,)), want, atol=1e-5)


def test_neighbors_of_the_sample_replace_the_search():
    data = sample()
    embedding = PointEmbedding(5, 6, num_neighbors=3)
    local = torch.cat([find_neighbors(c, (len(c),), 3) for c in data["coord"].split(LENGTHS)])
    assert torch.equal(embedding(data | dict(neighbor_index=local), LENGTHS), embedding(data, LENGTHS))
    with pytest.raises(InputError, match="neighbor_index"):
        embedding(data | dict(neighbor_index=local + 9), LENGTHS)


def test_no_steps_is_a_linear_map():
    data = sample()
    embedding = PointEmbedding(5, 6, mp_steps=0)
    assert torch.equal(embedding(data, LENGTHS), embedding.linear(data["feat"]))
    tree = BallTree.build(data["coord"], LENGTHS, 4, 4)
    for each in (embedding, embedding.linear):
        assert torch.equal(each.in_tree(data, LENGTHS, tree), tree.gather(embedding.linear(data["feat"])))
        assert each.wanted_neighbors is None and each.static_geometry(data["coord"]) == {}
    with pytest.raises(ValueError, match="mp_steps: got -1"):
        PointEmbedding(5, 6, mp_steps=-1)


def test_gradients():
    step = MessagePassing(4, 2).double()
    index = torch.tensor([[0, 1], [1, 2], [2, 0]])
    h = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    relative = torch.randn(3, 2, 2, dtype=torch.float64)
    weight = torch.tensor([[0.5, 0.5], [1.0, 0.0], [0.5, 0.5]], dtype=torch.float64).unsqueeze(-1)
    assert gradcheck(lambda x: step(x, relative, index, weight), h)
