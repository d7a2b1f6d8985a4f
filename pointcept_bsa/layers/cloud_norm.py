"""Normalisation that does not depend on the batch, in place of BatchNorm.

BatchNorm's running statistics describe a mixture of clouds. A network that sees one to four clouds a step trains with
the statistics of these few, and predicts with those of the mixture, which fit no single cloud. The norms here compute
the same in training and in evaluation, whatever lies beside a cloud in its batch. Written here because torch's own
(``InstanceNorm1d``) takes clouds of one size alone.

Legend: ``N`` rows of all clouds, ``B`` clouds, ``C`` channels, ``L`` further axes (of networks that keep neighbours).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pointcept_bsa.distributed.mesh import context_size
from pointcept_bsa.distributed.parts import sum_over_parts
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.geometry.padding import VALID


class CloudNorm(nn.Module):
    """(x - mean) / sqrt(variance + eps) * weight + bias, a channel at a time, over the rows of each cloud.

    BatchNorm with the statistics of each cloud alone, in training and in evaluation; a cloud of one row becomes the
    bias. Which rows are whose the caller says, or a :class:`CloudWatch` where the caller is a network of others.

    Args:
        channels: C.
        eps: added to the variance.
        affine: whether there are ``weight`` and ``bias`` (C,).
        watch: asked where the caller gives no ``sizes``.
    """

    def __init__(self, channels: int, eps: float = 1e-5, affine: bool = True, watch: CloudWatch | None = None) -> None:
        super().__init__()
        self.channels, self.eps, self.watch = channels, eps, watch
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None

    def extra_repr(self) -> str:
        return f"{self.channels}, eps={self.eps}, affine={self.weight is not None}"

    def forward(self, x: Tensor, sizes: Sequence[int] | None = None, valid: Tensor | None = None) -> Tensor:
        """(N, C) or (N, C, L) -> the same, in the same type.

        Args:
            x: rows of all clouds.
            sizes: rows of each cloud, one after the other. None: as the watch says.
            valid: (N,) False for rows that are no points: they do not count, and become zero. None: all are points.

        Raises:
            InputError: rows of which nobody has said whose they are.
        """
        values = x.float() if x.itemsize < 4 else x
        if sizes is None:
            if self.watch is None:
                raise InputError("norm='cloud': nobody says which rows are of which cloud, wanted norm='layer'")
            out = self._by_index(values, *self.watch.clouds_of(len(x)))
        elif context_size() > 1:
            out = self._of_parts(values, sizes, valid)
        elif len(sizes) == 1 and valid is None and x.dim() == 2 and len(x) > 1:
            return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.eps)
        else:
            out = self._by_size(values, sizes, valid)
        if self.weight is not None and self.bias is not None:
            shape = (-1, *[1] * (x.dim() - 2))
            out = out * self.weight.view(shape) + self.bias.view(shape)
        if valid is not None:
            out = out * _column(valid, out)
        return out.to(x.dtype)

    def _by_size(self, x: Tensor, sizes: Sequence[int], valid: Tensor | None) -> Tensor:
        """Of clouds of equal size at once, of others one by one: sums in a fixed order, no table on the device."""
        if len(set(sizes)) == 1:
            shape = (len(sizes), sizes[0])
            mask = None if valid is None else valid.view(shape)
            return self._normalize(x.view(*shape, *x.shape[1:]), mask).flatten(0, 1)
        parts = x.split(list(sizes))
        masks = [None] * len(parts) if valid is None else [part[None] for part in valid.split(list(sizes))]
        return torch.cat([self._normalize(part[None], mask)[0] for part, mask in zip(parts, masks, strict=True)])

    def _normalize(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """(B, n, C, L) over n (and L); ``valid`` (B, n)."""
        axes = (1, *range(3, x.dim()))
        if valid is None:
            centred = x - x.mean(axes, keepdim=True)
            return centred * (centred.square().mean(axes, keepdim=True) + self.eps).rsqrt()
        mask = _column(valid, x)
        further = math.prod(x.shape[3:])
        count = (mask.sum(1, keepdim=True) * further).clamp(min=1)
        centred = (x - (x.masked_fill(~mask, 0).sum(axes, keepdim=True) / count)).masked_fill(~mask, 0)
        return centred * (centred.square().sum(axes, keepdim=True) / count + self.eps).rsqrt()

    def _of_parts(self, x: Tensor, sizes: Sequence[int], valid: Tensor | None) -> Tensor:
        """Of clouds of which this process has ``sizes`` rows each."""
        masks = _column(x.new_ones(len(x), dtype=torch.bool) if valid is None else valid, x).split(list(sizes))
        points = sum_over_parts(torch.stack([mask.sum(0) for mask in masks]).to(x.dtype))
        count = points.clamp(min=1) * math.prod(x.shape[2:])

        def mean(parts: Sequence[Tensor]) -> Sequence[Tensor]:
            axes = (0, *range(2, x.dim()))
            there = (part.masked_fill(~mask, 0) for part, mask in zip(parts, masks, strict=True))
            own = [part.sum(axes, keepdim=True)[0] for part in there]
            return (sum_over_parts(torch.stack(own)) / count).unbind()

        rows = x.split(list(sizes))
        centred = [part - m for part, m in zip(rows, mean(rows), strict=True)]
        squares = mean([part.square() for part in centred])
        return torch.cat([part * (m + self.eps).rsqrt() for part, m in zip(centred, squares, strict=True)])

    def _by_index(self, x: Tensor, batch: Tensor, clouds: int) -> Tensor:
        """``batch`` (N,): the cloud of each row, in any order."""
        rows = x.new_zeros(clouds).index_add(0, batch, x.new_ones(len(x))).clamp(min=1).unsqueeze(1)

        def mean(values: Tensor) -> Tensor:
            flat = values if values.dim() == 2 else values.flatten(2).mean(2)
            of_clouds = flat.new_zeros(clouds, flat.shape[1]).index_add(0, batch, flat) / rows
            return of_clouds[batch].view(len(flat), -1, *[1] * (x.dim() - 2))

        centred = x - mean(x)
        return centred * (mean(centred.square()) + self.eps).rsqrt()


def _column(valid: Tensor, x: Tensor) -> Tensor:
    return valid.view(*valid.shape, *[1] * (x.dim() - valid.dim()))


def normalize_rows(norm: nn.Module, x: Tensor, sizes: Callable[[], Sequence[int]]) -> Tensor:
    """``norm(x)``; a :class:`CloudNorm` is told the rows of each cloud, which only it asks for."""
    return norm(x, sizes()) if isinstance(norm, CloudNorm) else norm(x)


class CloudWatch:
    """Knows which row is of which cloud inside a network of others, from the structures its modules hand on.

    Such networks (Pointcept's PT-v3m1, SpUNet) hand on points with ``batch`` or ``offset``, or sparse tensors of spconv
    with ``indices`` (the cloud first) and ``batch_size``; a norm in them is given features alone. Whatever structure
    was handed in or out last is that of the features: hooks of all modules note it. Levels of equally many rows are
    told apart so, too.
    """

    def __init__(self) -> None:
        self.last: Any = None

    def follow(self, network: nn.Module) -> None:
        """Watch all modules of a network; nothing is kept between its forward passes."""
        for module in network.modules():
            module.register_forward_pre_hook(self._before, with_kwargs=True)
            module.register_forward_hook(self._after)
        network.register_forward_hook(self._forget)

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for value in (*args, *kwargs.values()):
            self._note(value)

    def _after(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self._note(output)

    def _forget(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self.last = None

    def _note(self, value: Any) -> None:
        is_points = isinstance(value, Mapping) and "feat" in value and ("batch" in value or "offset" in value)
        if is_points or (hasattr(value, "indices") and hasattr(value, "batch_size")):
            self.last = value

    def clouds_of(self, rows: int) -> tuple[Tensor, int]:
        """The cloud of each of ``rows`` rows (rows,), and the number of clouds.

        Raises:
            InputError: the last structure seen is of another number of rows.
        """
        batch, clouds = self._read()
        if batch is None or len(batch) != rows:
            seen = "no structure with clouds" if batch is None else f"a structure of {len(batch)} rows"
            raise InputError(f"norm='cloud': a norm was given {rows} rows behind {seen}, wanted norm='layer' there")
        return batch, clouds

    def _read(self) -> tuple[Tensor | None, int]:
        if self.last is None:
            return None, 0
        if not isinstance(self.last, Mapping):
            return self.last.indices[:, 0].long(), int(self.last.batch_size)
        if VALID in self.last:
            raise InputError("norm='cloud': got a padded batch in a network that does not say which slots hold points")
        batch, offset = self.last.get("batch"), self.last.get("offset")
        if offset is None:
            batch = self.last["batch"]
            return batch, int(batch.max()) + 1
        if batch is None:
            clouds = torch.arange(len(offset), device=offset.device)
            lengths = torch.diff(offset, prepend=offset.new_zeros(1))
            batch = torch.repeat_interleave(clouds, lengths, output_size=len(self.last["feat"]))
        return batch.long(), len(offset)


class _RowNorm(nn.Module):
    """A norm over the channels of each row; takes and returns what BatchNorm would: (N, C) or (N, C, L), same type.

    It computes in the type of its parameters, as BatchNorm does.
    """

    def forward(self, x: Tensor) -> Tensor:
        rows = x if x.dim() == 2 else x.movedim(1, -1).flatten(0, -2)
        weight = next(self.parameters(), rows)
        out = super().forward(rows.to(weight.dtype)).to(x.dtype)
        return out if x.dim() == 2 else out.view(x.movedim(1, -1).shape).movedim(-1, 1)


class _LayerNorm(_RowNorm, nn.LayerNorm):
    pass


class _RMSNorm(_RowNorm, nn.RMSNorm):
    pass


class _GroupNorm(_RowNorm, nn.GroupNorm):
    pass


GROUPS = 8  # of "group", or as many as divide the channels
NORMS = {
    "layer": lambda norm, watch: _LayerNorm(norm.num_features, elementwise_affine=norm.affine),
    "cloud": lambda norm, watch: CloudNorm(norm.num_features, norm.eps, norm.affine, watch),
    "rms": lambda norm, watch: _RMSNorm(norm.num_features, elementwise_affine=norm.affine),
    "group": lambda norm, watch: _GroupNorm(math.gcd(GROUPS, norm.num_features), norm.num_features, affine=norm.affine),
    "none": lambda norm, watch: nn.Identity(),
}
MARK = "norm_is_"


def refuse_batch_norms(network: nn.Module) -> None:
    """Raise InputError for norms over all rows of a batch, of which a process has a part, unless the network says that
    it adds up over the parts: ``batch_norms_of_parts``."""
    if getattr(network, "batch_norms_of_parts", False):
        return
    for norm in network.modules():
        if isinstance(norm, _BatchNorm):
            raise InputError("model.norm: got 'batch' with context_parallel, wanted 'cloud', 'layer', 'rms' or 'group'")


def replace_batch_norms(network: nn.Module, norm: str) -> int:
    """Put another norm in the place of each BatchNorm of a network, in place; returns how many there were.

    ``weight`` and ``bias`` keep their names. A network that was changed gets a buffer ``norm_is_<norm>``, so that its
    checkpoints say which norm they are of, and no other network takes them unasked.

    Args:
        network: of this package, or any that hands on structures as :class:`CloudWatch` knows them.
        norm: ``"batch"``: nothing is replaced. ``"layer"``: over the channels of each row. ``"cloud"``: over the rows
            of each cloud (:class:`CloudNorm`). ``"rms"``, ``"group"``: over the channels of a row, without mean; over 8
            groups of them. ``"none"``: no norm.

    Raises:
        InputError: a norm that is none of these.
    """
    if norm != "batch" and norm not in NORMS:
        known = ("batch", *NORMS)
        raise InputError(f"norm: got {norm!r}, wanted one of {', '.join(known)}{nearest(norm, known)}")
    found = [
        (parent, name, child)
        for parent in network.modules()
        for name, child in parent.named_children()
        if isinstance(child, _BatchNorm)
    ]
    if norm == "batch" or not found:
        return 0
    watch = CloudWatch() if norm == "cloud" and not getattr(network, "tells_clouds", False) else None
    made: dict[nn.Module, nn.Module] = {}
    for parent, name, child in found:
        if child not in made:
            made[child] = NORMS[norm](child, watch)
            made[child].train(child.training)
            _take_over(made[child], child)
        setattr(parent, name, made[child])
    if watch is not None:
        watch.follow(network)
    network.register_buffer(MARK + norm, torch.tensor(True))
    return len(found)


@torch.no_grad()
def _take_over(new: nn.Module, old: nn.Module) -> None:
    own = dict(old.named_parameters(recurse=False))
    for name, parameter in new.named_parameters(recurse=False):
        parameter.copy_(own[name])
        parameter.requires_grad_(own[name].requires_grad)
    new.to(next(iter(own.values()), torch.empty(0)).device)
