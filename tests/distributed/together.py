"""The same function in several processes that talk through gloo, and what each of them returns."""

from __future__ import annotations

import importlib.util
import multiprocessing
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from patience import PATIENCE, exit_codes

from pointcept_bsa.distributed import mesh

PRELOADED = ["pointcept_bsa.catalogue", "pointcept_bsa.training.cli", "torch.distributed.device_mesh"]


def together(count: int, function: Callable[..., Any], *arguments: Any, context_parallel: int | None = None) -> list:
    """``function(rank, *arguments)`` of a test module in ``count`` processes; the results, process by process.

    All of them share their clouds, or ``context_parallel`` of them.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    where = function.__code__.co_filename, function.__name__
    with tempfile.TemporaryDirectory() as folder:
        shared = context_parallel or count
        running = [
            context.Process(target=_one, args=(rank, count, shared, folder, *where, arguments)) for rank in range(count)
        ]
        for process in running:
            process.start()
        assert exit_codes(running) == [0] * count
        return [torch.load(Path(folder) / f"{rank}.pth", weights_only=False) for rank in range(count)]


def _one(rank: int, count: int, shared: int, folder: str, file: str, function: str, arguments: Any) -> None:
    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meet",
        rank=rank,
        world_size=count,
        timeout=timedelta(seconds=PATIENCE / 2),
    )
    mesh.create(shared, "cpu")
    result = getattr(module, function)(rank, *arguments)
    torch.save(result, Path(folder) / f"{rank}.pth")
    dist.destroy_process_group()
