"""Floating-point operations of a model on a given batch, counted where they are executed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from pointcept_bsa.distributed import mesh
from pointcept_bsa.distributed.parts import part_of, sum_over_parts, whole_lengths
from pointcept_bsa.training.evaluation.anchored import AnchoredModel
from pointcept_bsa.training.evaluation.bounded import BoundedModel, cut_points, evaluation_mode

# Choices that are made by variables of the environment, for a while.


@contextlib.contextmanager
def environment_variable(name: str, value: str) -> Iterator[None]:
    """``name`` is ``value``, and afterwards what it was."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _sdpa_on_cpu(query: Any, key: Any, value: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return sdpa_flop_count(query, key, value)


CONVOLUTION = "PCBSA_SUBM_CONV"  # read by ops.submanifold_conv
# torch counts the GPU's attention kernels, but not the CPU's.
CPU_ATTENTION = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _sdpa_on_cpu}


@torch.no_grad()
def count_flops(model: nn.Module, batch: Mapping[str, Any], call: Callable[[Any], Any] | None = None) -> int:
    """FLOPs (2 a multiply-add) of one forward pass in evaluation mode: matrix products, attention, convolutions.

    Or of ``call(batch)``, which uses the model otherwise.

    Elementwise operations, sorting and distances are not counted, as is usual.
    """
    counter = FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION)
    with evaluation_mode(model), environment_variable(CONVOLUTION, "reference"), counter:  # pairs of voxels alone
        (call or model)(batch)
    return counter.get_total_flops()


def gflops_of(model: nn.Module, batch: Mapping[str, Any], predict: BoundedModel | AnchoredModel) -> dict[str, float]:
    """GFLOPs, ``value``, of a forward pass over a batch of one cloud as a test predicts it, and its ``points``.

    Of one piece where it goes in pieces; of all processes together that share the cloud.
    """
    if isinstance(predict, AnchoredModel):
        return {"points": len(batch["coord"]), "value": count_flops(model, batch, predict) / 1e9}
    split = predict.split(*whole_lengths(batch))
    if split is not None:
        own = part_of(split.size, mesh.context_rank(), mesh.context_size())
        batch = cut_points(batch, torch.arange(own.stop - own.start, device=batch["coord"].device))
    here = torch.tensor([len(batch["coord"]), count_flops(model, batch)], device=batch["coord"].device)
    points, flops = sum_over_parts(here).tolist()
    return {"points": points, "value": flops / 1e9}
