"""What the oracles of these tests share: clouds of grid cells, formulas written point by point, and the comparison.

Nothing here calls a layer or an operator of the package: float64, loops over points and heads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn


def numbers(*shape: int, seed: int = 1, grad: bool = True) -> Tensor:
    """Of a normal distribution, float64, and want their gradient."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_(grad)


def randomized(module: nn.Module, seed: int = 0) -> nn.Module:
    """With parameters in float64 that are far from their beginning."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            scale = 1 / math.sqrt(parameter.shape[-1]) if parameter.dim() > 1 else 0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * scale)
    return module


def compare(got: Tensor, want: Tensor, inputs: Mapping[str, Tensor]) -> None:
    """Equal outputs, and equal gradients of a sum weighed at random; no input is without one in the oracle."""
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
    weight = numbers(*want.shape, seed=2, grad=False)
    ours, theirs = (torch.autograd.grad((y * weight).sum(), list(inputs.values())) for y in (got, want))
    for name, own, wanted in zip(inputs, ours, theirs, strict=True):
        assert wanted.any(), f"{name}: the oracle does not use it"
        torch.testing.assert_close(own, wanted, rtol=1e-8, atol=1e-10, msg=lambda text, name=name: f"{name}: {text}")


def cells_of(sizes: tuple[int, ...], side: int = 11, seed: int = 0, shared: bool = False) -> list[list[int]]:
    """A grid cell for each point, at random in a cube of ``side``: its own, or ``shared`` by points of the cloud."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for size in sizes:
        for flat in torch.randperm(side**3, generator=generator)[:size].tolist():
            rows.append([flat // side**2, flat // side % side, flat % side])
        for i in range(2, size, 3) if shared else ():
            rows[-i] = list(rows[-i + 1])
    return rows


def clouds_of(sizes: tuple[int, ...]) -> list[int]:
    """The cloud of each point."""
    return [cloud for cloud, size in enumerate(sizes) for _ in range(size)]


def morton(cell: list[int], transposed: bool = False) -> int:
    """Place on the z-order curve: the bits of x, y, z taken in turn."""
    x, y, z = (cell[1], cell[0], cell[2]) if transposed else cell
    bits = range(16)
    return sum((x >> b & 1) << 3 * b + 2 | (y >> b & 1) << 3 * b + 1 | (z >> b & 1) << 3 * b for b in bits)


def sequence(cells: list[list[int]], clouds: list[int], transposed: bool = False) -> list[int]:
    """The points, cloud after cloud along the curve; those of one cell stay in their order."""
    return sorted(range(len(cells)), key=lambda i: (clouds[i], morton(cells[i], transposed), i))


def patches(points: list[int], size: int) -> list[tuple[list[int], int]]:
    """One cloud's sequence cut into patches, as (points, how many of them are its own).

    The last patch borrows what it lacks from the same places of the patch before; a smaller cloud is one patch.
    """
    found = []
    for first in range(0, len(points), size):
        own = points[first : first + size]
        borrowed = points[first - size : first][len(own) :] if first else []
        found.append((own + borrowed, len(own)))
    return found


def linear(p: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    """W x + b of one vector."""
    out = p[f"{name}.weight"] @ x
    return out + p[f"{name}.bias"] if f"{name}.bias" in p else out


def layer_norm(p: Mapping[str, Tensor], name: str, x: Tensor, eps: float = 1e-5) -> Tensor:
    """Of one vector."""
    mean = x.sum() / len(x)
    variance = ((x - mean) * (x - mean)).sum() / len(x)
    return (x - mean) / (variance + eps).sqrt() * p[f"{name}.weight"] + p[f"{name}.bias"]


def gelu(x: Tensor) -> Tensor:
    """x Phi(x)."""
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def softmax_sum(scores: list[Tensor], values: list[Tensor]) -> Tensor:
    """sum_j exp(s_j) v_j / sum_j exp(s_j)."""
    largest = max(float(s.detach()) for s in scores)
    weights = [(s - largest).exp() for s in scores]
    return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)


def patch_attention(
    p: Mapping[str, Tensor],
    prefix: str,
    x: list[Tensor],
    cut: list[tuple[list[int], int]],
    num_heads: int,
    scale: float | None = None,
    cells: list[list[int]] | None = None,
) -> list[Tensor]:
    """Wu et al. 2024, sec. 4.2: softmax(scale q k^T + bias) v among the points of a patch, then the output map.

    ``cells``: of each point, where the layer has a table of biases.
    """
    channels = len(x[0])
    width = channels // num_heads
    qkv = [linear(p, f"{prefix}qkv", row) for row in x]
    out: list[Tensor] = [None] * len(x)  # type: ignore[list-item]
    for points, own in cut:
        for i in points[:own]:
            heads = []
            for head in range(num_heads):
                q, k, v = ({j: qkv[j][part * channels + head * width :][:width] for j in points} for part in range(3))
                scores = [(1 / math.sqrt(width) if scale is None else scale) * (q[i] @ k[j]) for j in points]
                if cells is not None:
                    table = p[f"{prefix}rpe.rpe_table"]
                    scores = [
                        s + table_bias(table, cells[i], cells[j], head) for s, j in zip(scores, points, strict=True)
                    ]
                heads.append(softmax_sum(scores, [v[j] for j in points]))
            out[i] = linear(p, f"{prefix}proj", torch.cat(heads))
    return out


def table_bias(table: Tensor, a: list[int], b: list[int], head: int) -> Tensor:
    """Of the offset a - b: one row for each axis, of offsets from -bound to bound."""
    rows = len(table) // 3
    bound = rows // 2
    offsets = [max(-bound, min(bound, of_a - of_b)) for of_a, of_b in zip(a, b, strict=True)]
    return sum(table[axis * rows + bound + offset, head] for axis, offset in enumerate(offsets))


def submanifold_conv(
    weight: Tensor, bias: Tensor | None, x: list[Tensor], cells: list[list[int]], clouds: list[int]
) -> list[Tensor]:
    """b + W_centre x_i + sum over other cells k of the kernel of W_k mean(x_j in the voxel that k reaches from i)."""
    size = weight.shape[1]
    reach = range(size)
    out = []
    for i, cell in enumerate(cells):
        total = weight[:, size // 2, size // 2, size // 2] @ x[i]
        for a in reach:
            for b in reach:
                for c in reach:
                    if a == b == c == size // 2:
                        continue
                    there = [at + k - size // 2 for at, k in zip(cell, (a, b, c), strict=True)]
                    found = [j for j, other in enumerate(cells) if other == there and clouds[j] == clouds[i]]
                    if found:
                        total = total + weight[:, a, b, c] @ (sum(x[j] for j in found) / len(found))
        out.append(total if bias is None else total + bias)
    return out
