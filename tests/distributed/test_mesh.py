"""The table of processes."""

import pytest
import torch
import torch.distributed as dist
from torch.testing._internal.distributed.fake_pg import FakeStore

from pointcept_bsa.distributed import mesh
from pointcept_bsa.errors import InputError
from pointcept_bsa.host import MODELS


@pytest.fixture
def six():
    dist.init_process_group("fake", rank=4, world_size=6, store=FakeStore())
    yield
    mesh.create(1, "cpu")
    dist.destroy_process_group()


def test_consecutive_processes_share_a_cloud(six):
    mesh.create(3, "cpu")
    assert (mesh.context_size(), mesh.context_rank()) == (3, 1)
    assert dist.get_process_group_ranks(mesh.context_group()) == [3, 4, 5]
    assert dist.get_process_group_ranks(mesh.data_group()) == [1, 4]
    with mesh.whole_clouds():
        assert (mesh.context_size(), mesh.context_rank(), mesh.context_group()) == (1, 0, None)
    assert mesh.context_size() == 3


def test_a_number_that_does_not_divide_is_refused(six):
    with pytest.raises(InputError, match="context_parallel: got 4, wanted a divisor of the 6 processes"):
        mesh.create(4, "cpu")


@pytest.mark.parametrize("name", ["PT-v3m1", "PointNet-v1m1"])
def test_a_network_that_wants_whole_clouds_says_so(six, name):
    network = MODELS.build(dict(type=name, in_channels=3))
    point = {key: torch.zeros(4, 3) for key in ("coord", "feat", "grid_coord")} | {"offset": torch.tensor([4])}
    mesh.create(2, "cpu")
    with pytest.raises(InputError, match=f"context_parallel: got 2, but {type(network).__name__} wants .* BSA-v1m1"):
        network(point)


@pytest.mark.parametrize("arguments", [dict(pad="power_of_two"), dict(decode=False)])
def test_arguments_with_which_erwin_wants_whole_clouds(six, arguments):
    network = MODELS.build(dict(type="Erwin-v1m1", in_channels=3) | arguments)
    point = {key: torch.zeros(4, 3) for key in ("coord", "feat")} | {"offset": torch.tensor([4])}
    mesh.create(2, "cpu")
    said = f"got 2, but ErwinTransformer with pad={network.pad!r}, decode={network.decode} wants whole clouds"
    with pytest.raises(InputError, match=said):
        network(point)


def test_without_processes_there_is_one_part():
    mesh.create(1, "cpu")
    assert (mesh.context_size(), mesh.context_rank(), mesh.context_group(), mesh.data_group()) == (1, 0, None, None)
    with pytest.raises(InputError, match="the 1 processes"):
        mesh.create(2, "cpu")
