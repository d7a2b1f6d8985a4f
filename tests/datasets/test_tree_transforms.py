"""Trees and neighbours made while loading are those the backbone would make."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pointcept_bsa.datasets.tree_transforms import random_rotation
from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry import BallTree, find_neighbors
from pointcept_bsa.geometry.ball_tree import sort_into_tree
from pointcept_bsa.geometry.single_tree import SingleTree
from pointcept_bsa.host import MODELS, TRANSFORMS, collate_fn

KEYS = ("coord", "tree_order", "neighbor_index")
BACKBONES = {
    "bsa": (
        dict(type="BSA-v1m1", channels=16, depth=2, num_heads=2, ball_size=32, block_size=4, group_size=4, topk=2),
        dict(ball_size=32, block_size=4),
    ),
    "bsa, messages": (
        dict(type="BSA-v1m1", channels=16, depth=2, num_heads=2, ball_size=32, block_size=4, group_size=4, topk=2,
             mp_steps=2, num_neighbors=5),
        dict(ball_size=32, block_size=4),
    ),
    "erwin nsa": (
        dict(type="ErwinNSA-v1m1", channels=16, depth=2, num_heads=4, local_ball_size=32, compressed_ball_size=8,
             num_selected=3, num_neighbors=5),
        dict(ball_size=32, block_size=8),
    ),
    "erwin": (
        dict(type="Erwin-v1m1", channels=[16, 16], ball_sizes=[32, 32], enc_num_heads=[2, 2], enc_depths=[2, 2],
             dec_num_heads=[2], dec_depths=[2], strides=[2], num_neighbors=5),
        dict(ball_size=32, block_size=2, unit=64),
    ),
    "upt": (
        dict(type="UPT-v1m1", out_channels=16, channels=16, num_heads=2, num_supernodes=20, num_latents=4, depth=1,
             edges="knn", num_neighbors=5),
        dict(ball_size=1, block_size=1, rotate=0),
    ),
}  # fmt: skip


def collected(points, keys, sizes):
    sample = dict(coord=np.random.default_rng(points).random((points, 3), dtype=np.float32))
    steps = [dict(type="AddTreeOrder", **sizes), dict(type="AddNeighbors", num_neighbors=5)]
    for step in [*steps, dict(type="CollectPoints", keys=keys)]:
        sample = TRANSFORMS.build(step)(sample)
    return sample


@pytest.mark.parametrize("backbone, sizes", BACKBONES.values(), ids=BACKBONES)
def test_the_backbone_gives_the_same_and_sorts_nothing(backbone, sizes, calls):
    network = MODELS.build(backbone | dict(in_channels=3)).eval()
    plain, prepared = (collate_fn([collected(n, keys, sizes) for n in (70, 1, 40)]) for keys in (("coord",), KEYS))
    with torch.no_grad(), calls(sort_into_tree, find_neighbors) as made:
        wanted = network(plain)["feat"]
        assert made
        made.clear()
        assert torch.equal(network(prepared)["feat"], wanted)
    assert made == ["sort_into_tree"] * (backbone["type"] == "Erwin-v1m1")  # its coarser level is sorted anew


def test_sizes_that_do_not_fit_are_refused_at_once():
    with pytest.raises(InputError, match="AddTreeOrder: ball_size: got 24"):
        TRANSFORMS.build(dict(type="AddTreeOrder", ball_size=24))
    with pytest.raises(InputError, match="AddNeighbors: num_neighbors: got 0"):
        TRANSFORMS.build(dict(type="AddNeighbors", num_neighbors=0))


def test_sampling_drops_what_it_makes_wrong():
    sample = collected(70, KEYS, dict(ball_size=32, block_size=4))
    sample = {key: value.numpy() for key, value in sample.items()}
    kept = TRANSFORMS.build(dict(type="SamplePoints", num_points=10))(sample)
    assert "tree_order" not in kept and "neighbor_index" not in kept and kept["coord"].shape == (10, 3)


@pytest.mark.parametrize("backbone, sizes", BACKBONES.values(), ids=BACKBONES)
def test_the_backbone_knows_what_can_be_kept_of_a_static_geometry(backbone, sizes):
    network = MODELS.build(backbone | dict(in_channels=3)).eval()
    clouds = [torch.rand(n, 3) for n in (70, 1, 40)]
    coord, offset = torch.cat(clouds), torch.tensor([70, 71, 111])
    kept = [network.static_geometry(cloud) for cloud in clouds]
    kept = {key: torch.cat([each[key] for each in kept]) for key in kept[0]}
    assert set(kept) == {"tree_order"} | ({"neighbor_index"} if "num_neighbors" in backbone else set())
    assert torch.equal(kept["tree_order"][:70], torch.from_numpy(collected_order(clouds[0], sizes)))
    with torch.no_grad():
        wanted = network(dict(coord=coord, feat=coord, offset=offset))["feat"]
        assert torch.equal(network(dict(coord=coord, feat=coord, offset=offset, **kept))["feat"], wanted)


def collected_order(cloud, sizes):
    return TRANSFORMS.build(dict(type="AddTreeOrder", **sizes))(dict(coord=cloud.numpy()))["tree_order"]


def test_a_tree_rotated_at_random_is_another_each_time_and_the_points_stay():
    torch.manual_seed(0)
    np.random.seed(0)
    coord = torch.randn(200, 3)
    transform = TRANSFORMS.build(dict(type="AddTreeOrder", ball_size=16, block_size=4, random_rotation=True))
    first, second = (transform(dict(coord=coord.numpy())) for _ in range(2))
    assert not np.array_equal(first["tree_order"], second["tree_order"])
    assert np.array_equal(first["coord"], coord.numpy())
    for column in first["tree_order"].T:
        assert np.array_equal(np.sort(column), np.arange(200))
    whole = BallTree.build(coord, (200,), 16, 4, rotate=45.0)
    random = BallTree.build(coord, (200,), 16, 4, rotate=45.0, order=torch.from_numpy(first["tree_order"]))
    extents = [tree.layout.relative.square().sum(1).mean() for tree in (whole, random)]
    assert extents[1] < 1.3 * extents[0]  # as compact as the balls along the axes


def test_random_rotations_are_orthogonal():
    for dimensions in (2, 3):
        matrix = random_rotation(dimensions)
        assert np.allclose(matrix @ matrix.T, np.eye(dimensions))


def test_padding_takes_a_random_tree_anew_where_it_keeps_those_of_static_clouds():
    coord = torch.randn(60, 3)
    padding = SingleTree(16, 4, 0.0).padding(16, "network")
    padding.keep = True
    transform = TRANSFORMS.build(
        dict(type="AddTreeOrder", ball_size=16, block_size=4, rotate=0.0, random_rotation=True)
    )
    sample = dict(coord=coord, offset=torch.tensor([60]))
    found = []
    for _ in range(2):
        order = torch.from_numpy(transform(dict(coord=coord.numpy()))["tree_order"])
        found.append(padding({**sample, "tree_order": order})["coord"])
    assert not torch.equal(*found)
