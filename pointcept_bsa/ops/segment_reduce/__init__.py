"""Reduce runs of consecutive rows: ``torch_scatter.segment_csr`` where installed, else torch's ``segment_reduce``.

``PCBSA_SEGMENT_REDUCE`` (``auto``, ``torch_scatter``, ``torch``) or the argument ``backend`` decides which runs.
"""

from __future__ import annotations

import functools
import importlib.util
import os

from torch import Tensor

from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.ops.segment_reduce.reference import segment_reduce_reference

REDUCTIONS = ("sum", "mean", "min", "max")
BACKENDS = ("auto", "torch_scatter", "torch")

__all__ = ["BACKENDS", "REDUCTIONS", "segment_reduce", "segment_reduce_reference"]


def segment_reduce(src: Tensor, indptr: Tensor, reduce: str = "max", backend: str | None = None) -> Tensor:
    """Row ``i`` of the result reduces rows ``indptr[i] .. indptr[i + 1]`` of ``src``; an empty run gives zeros.

    Args:
        src: ``(N, C)`` floating point.
        indptr: ``(S + 1,)`` int64, rising from 0 to N.
        reduce: "sum", "mean", "min" or "max". Where several rows of a run attain the extremum its gradient is shared
            equally among them (torch) or goes to one of them (torch_scatter).
        backend: overrides ``PCBSA_SEGMENT_REDUCE``.

    Returns:
        ``(S, C)`` in the dtype of ``src``.

    Raises:
        InputError: unknown ``reduce`` or ``backend``, or a backend asked for that is not installed.
    """
    if reduce not in REDUCTIONS:
        raise InputError(f"reduce: got {reduce!r}, wanted one of {', '.join(REDUCTIONS)}{nearest(reduce, REDUCTIONS)}")
    if _chosen_backend(backend) == "torch_scatter":
        from torch_scatter import segment_csr

        return segment_csr(src, indptr, reduce=reduce)
    return segment_reduce_reference(src, indptr, reduce)


def _chosen_backend(backend: str | None) -> str:
    backend = backend or os.environ.get("PCBSA_SEGMENT_REDUCE", "auto")
    if backend not in BACKENDS:
        raise InputError(
            f"PCBSA_SEGMENT_REDUCE: got {backend!r}, wanted one of {', '.join(BACKENDS)}{nearest(backend, BACKENDS)}"
        )
    if backend == "torch":
        return "torch"
    if backend == "torch_scatter" and not _installed():
        raise InputError("PCBSA_SEGMENT_REDUCE: got 'torch_scatter', which is not installed; wanted 'auto' or 'torch'")
    return "torch_scatter" if _installed() else "torch"


@functools.cache
def _installed() -> bool:
    return importlib.util.find_spec("torch_scatter") is not None
