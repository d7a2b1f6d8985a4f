"""Submanifold convolution: a dense convolution read at the occupied voxels; every backend and its gradients agree."""

import importlib.util

import pytest
import torch

from pointcept_bsa.errors import InputError
from pointcept_bsa.ops.submanifold_conv import VoxelIndex, submanifold_conv

SIDE = 5


def make_cloud(num_points: int = 70, shared: bool = False, dtype=torch.float64, seed: int = 0, channels: int = 3):
    """Two clouds in a cube of ``SIDE`` cells: features, cells, cloud of each point."""
    generator = torch.Generator().manual_seed(seed)
    per_cloud = num_points // 2
    cells = []
    for _ in range(2):
        flat = torch.randperm(SIDE**3, generator=generator)[:per_cloud]
        flat = flat // 4 * 4 if shared else flat
        cells.append(torch.stack([flat // SIDE**2, flat // SIDE % SIDE, flat % SIDE], dim=1))
    feat = torch.randn(num_points, channels, generator=generator, dtype=torch.float64).to(dtype)
    return feat, torch.cat(cells), torch.arange(2).repeat_interleave(per_cloud)


def make_weight(kernel_size: int, c_out: int = 4, c_in: int = 3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(7)
    return torch.randn(c_out, *[kernel_size] * 3, c_in, generator=generator, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("backend", ["torch", "reference"])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_equals_a_dense_convolution_at_the_points(kernel_size, backend):
    feat, cells, batch = make_cloud()
    weight, bias = make_weight(kernel_size), torch.arange(4.0, dtype=torch.float64)
    dense = feat.new_zeros(2, SIDE, SIDE, SIDE, feat.shape[1])
    dense[batch, cells[:, 0], cells[:, 1], cells[:, 2]] = feat
    expected = torch.nn.functional.conv3d(
        dense.permute(0, 4, 1, 2, 3), weight.permute(0, 4, 1, 2, 3), bias, padding=kernel_size // 2
    )[batch, :, cells[:, 0], cells[:, 1], cells[:, 2]]
    shifted = VoxelIndex(cells + torch.tensor([3, -2, 1000]), batch, 2)
    torch.testing.assert_close(submanifold_conv(feat, weight, bias, shifted, backend), expected)


CODES = {"one product": 0.0, "a product a kernel cell": 2.0}  # from which share of neighbours on the first is taken


@pytest.fixture(params=CODES)
def code(request, monkeypatch):
    """Each of the two that "torch" chooses from."""
    monkeypatch.setattr("pointcept_bsa.ops.submanifold_conv.FILLED", CODES[request.param])
    return request.param


@pytest.mark.parametrize("at_once", [1, 1 << 10, 1 << 18])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_torch_equals_reference_with_gradients(kernel_size, shared, code, at_once, monkeypatch):
    monkeypatch.setattr("pointcept_bsa.ops.submanifold_conv.gathered_product.ON_CPU", at_once)
    feat, cells, batch = make_cloud(shared=shared)
    index = VoxelIndex(cells, batch, 2)
    assert (index.num_voxels < len(feat)) == shared
    results = []
    for backend in ("torch", "reference"):
        inputs = [t.clone().requires_grad_() for t in (feat, make_weight(kernel_size), feat.new_ones(4))]
        out = submanifold_conv(*inputs, index, backend)
        out.square().sum().backward()
        results.append([out, *(t.grad for t in inputs)])
    for ours, truth in zip(*results, strict=True):
        torch.testing.assert_close(ours, truth)


def test_a_flat_cloud_uses_the_cells_of_its_plane_alone(code):
    feat, cells, batch = make_cloud()
    number = torch.arange(len(cells))
    cells = torch.stack([number // 6, number % 6, 0 * number], 1)
    index = VoxelIndex(cells, torch.zeros_like(batch), 1)
    kernel = index.kernel_map(3)
    assert kernel.used.tolist() == [1, 4, 7, 10, 13, 16, 19, 22, 25]  # x-major, z in the middle
    assert kernel.filled == (kernel.table < len(cells)).float().mean()
    assert kernel.table.shape == (len(cells), 9) and int(kernel.table.max()) == len(cells)
    assert kernel.table[:, 4].tolist() == number.tolist()
    torch.testing.assert_close(
        *(submanifold_conv(feat, make_weight(3), None, index, backend) for backend in ("torch", "reference"))
    )


def test_one_product_launches_a_few_operations_whatever_the_kernel(launches, monkeypatch):
    monkeypatch.setattr("pointcept_bsa.ops.submanifold_conv.FILLED", 0.0)
    feat, cells, batch = make_cloud()
    index = VoxelIndex(cells, batch, 2)
    numbers = []
    for kernel_size in (3, 5):
        inputs = feat.clone().requires_grad_(), make_weight(kernel_size).requires_grad_()
        submanifold_conv(*inputs, None, index, "torch")  # finds the neighbours
        with launches() as seen:
            submanifold_conv(*inputs, None, index, "torch").sum().backward()
        numbers.append(len(seen.names))
    assert numbers[0] == numbers[1] < 60


@pytest.mark.parametrize("shared", [False, True])
def test_gradcheck(shared, code):
    feat, cells, batch = make_cloud(16, shared, channels=2)
    index = VoxelIndex(cells, batch, 2)
    inputs = (feat.requires_grad_(), make_weight(3, 2, 2).requires_grad_(), feat.new_ones(2).requires_grad_())
    assert torch.autograd.gradcheck(lambda f, w, b: submanifold_conv(f, w, b, index, "torch"), inputs)


@pytest.mark.parametrize("backend", ["torch", "reference"])
def test_shared_voxel_by_hand(backend):
    """Points 0 and 1 share a voxel, point 2 sits beside it in +x."""
    index = VoxelIndex(torch.tensor([[4, 4, 4], [4, 4, 4], [5, 4, 4]]), torch.zeros(3, dtype=torch.long), 1)
    weight = torch.zeros(1, 3, 3, 3, 1)
    weight[0, 1, 1, 1, 0], weight[0, 2, 1, 1, 0], weight[0, 0, 1, 1, 0] = 1.0, 10.0, 100.0
    out = submanifold_conv(torch.tensor([[1.0], [3.0], [7.0]]), weight, None, index, backend)
    assert out.flatten().tolist() == [1 + 70, 3 + 70, 7 + 200]  # 200: the mean of 1 and 3, times 100


@pytest.mark.parametrize("shared", [False, True])
def test_permuting_points_permutes_the_result(shared):
    feat, cells, batch = make_cloud(shared=shared)
    perm = torch.randperm(len(feat), generator=torch.Generator().manual_seed(3))
    weight = make_weight(3)
    out = submanifold_conv(feat, weight, None, VoxelIndex(cells, batch, 2), "torch")
    permuted = submanifold_conv(feat[perm], weight, None, VoxelIndex(cells[perm], batch[perm], 2), "torch")
    torch.testing.assert_close(permuted, out[perm])


def test_batch_equals_single_clouds():
    feat, cells, batch = make_cloud()
    weight = make_weight(5)
    out = submanifold_conv(feat, weight, None, VoxelIndex(cells, batch, 2), "torch")
    for cloud in range(2):
        own = batch == cloud
        single = VoxelIndex(cells[own], torch.zeros(int(own.sum()), dtype=torch.long), 1)
        torch.testing.assert_close(submanifold_conv(feat[own], weight, None, single, "torch"), out[own])


def test_neighbours_are_found_once_and_in_chunks(monkeypatch):
    _, cells, batch = make_cloud()
    index = VoxelIndex(cells, batch, 2)
    whole = index.kernel_map(5)
    assert index.kernel_map(5) is whole
    monkeypatch.setattr("pointcept_bsa.ops.submanifold_conv.voxel_index.QUERIES_AT_ONCE", 200)
    chunked = VoxelIndex(cells, batch, 2).kernel_map(5)
    assert whole.pairs.keys() == chunked.pairs.keys()
    for k, pair in whole.pairs.items():
        assert all(torch.equal(a, b) for a, b in zip(pair, chunked.pairs[k], strict=True))


def test_bf16_autocast(code):
    feat, cells, batch = make_cloud(dtype=torch.float32)
    weight, index = make_weight(3, dtype=torch.float32).requires_grad_(), VoxelIndex(cells, batch, 2)
    truth = submanifold_conv(feat, weight, None, index, "torch")
    with torch.autocast("cpu", torch.bfloat16):
        out = submanifold_conv(feat, weight, None, index, "torch")
    assert out.dtype == torch.bfloat16
    assert (out.float() - truth).norm() < 0.01 * truth.norm()  # 8 bits of mantissa
    out.float().sum().backward()
    assert weight.grad.dtype == torch.float32


def test_errors(monkeypatch):
    feat, cells, batch = make_cloud()
    index = VoxelIndex(cells, batch, 2)
    with pytest.raises(InputError, match="the features are on cpu"):
        submanifold_conv(feat, make_weight(3), None, index, "spconv")
    monkeypatch.setenv("PCBSA_SUBM_CONV", "spcnv")
    with pytest.raises(InputError, match="did you mean 'spconv'"):
        submanifold_conv(feat, make_weight(3), None, index)
    with pytest.raises(ValueError, match="kernel_size: got 4"):
        index.kernel_map(4)


@pytest.mark.gpu
@pytest.mark.skipif(importlib.util.find_spec("spconv") is None, reason="missing: package spconv")
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("kernel_size", [3, 5])
def test_spconv_gives_the_same_with_gradients(kernel_size, shared):
    feat, cells, batch = (t.cuda() for t in make_cloud(shared=shared, dtype=torch.float32, channels=16))
    weight = make_weight(kernel_size, 16, 16, torch.float32).cuda()
    index = VoxelIndex(cells, batch, 2)
    results = []
    for backend in ("spconv", "torch"):
        inputs = [t.clone().requires_grad_() for t in (feat, weight, feat.new_ones(16))]
        out = submanifold_conv(*inputs, index, backend)
        out.square().sum().backward()
        results.append([out, *(t.grad for t in inputs)])
    for ours, truth in zip(*results, strict=True):
        assert (ours - truth).norm() <= 1e-5 * truth.norm()
