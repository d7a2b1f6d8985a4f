"""Seeds, device and the record of what a run ran on."""

from __future__ import annotations

import contextlib
import os
import platform
import random
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from pointcept_bsa.distributed import mesh
from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded import comm
from pointcept_bsa.host.embedded.config import Config


def default_setup(cfg: Config) -> Config:
    """Settle seed, device and per-process sizes of ``cfg``, in place; call once in every process.

    Sets ``seed`` (drawn and shared if it is None: ``seed_drawn``), ``num_worker_per_gpu``, ``batch_size_per_gpu``,
    ``batch_size_val_per_gpu``, ``batch_size_test_per_gpu`` and ``data.train.loop`` as Pointcept does. Processes that
    share their clouds (``context_parallel``) count as one of a batch.
    """
    mesh.create(cfg.context_parallel, get_device(cfg).type)
    groups = mesh.data_size()
    cfg.seed_drawn = cfg.seed is None
    if cfg.seed is None:
        cfg.seed = comm.broadcast(int.from_bytes(os.urandom(4), "little") >> 1)
    for key in ("batch_size", "batch_size_val", "batch_size_test"):
        size = cfg[key]
        if size is not None and size % groups:
            what = "processes" if cfg.context_parallel == 1 else f"groups of {cfg.context_parallel} processes"
            raise InputError(f"{key}={size}: it counts all {what}, expected a multiple of {groups}")
        cfg[f"{key}_per_gpu"] = 1 if size is None else size // groups
    cfg.num_worker_per_gpu = cfg.num_worker // comm.get_world_size()
    cfg.data.train.loop = 1 if cfg.max_iters is not None else cfg.epoch // cfg.eval_epoch
    set_deterministic(cfg.deterministic)
    set_matmul_precision(cfg.matmul_precision)
    set_seed(cfg.seed + comm.get_rank())
    return cfg


def get_device(cfg: Config) -> torch.device:
    """The device of this process: ``cfg.device``, where ``auto`` means CUDA if there is any."""
    if cfg.device == "cpu" or (cfg.device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise InputError("device='cuda': this machine has no CUDA device; use device='cpu' or 'auto'")
    return torch.device("cuda", comm.get_local_rank())


def set_seed(seed: int) -> None:
    """Seed Python, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within, random numbers on the host come from ``seed``; afterwards they go on as before."""
    host = torch.device("cpu")
    state = get_rng_state(host)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed the devices, too
    try:
        yield
    finally:
        set_rng_state(state, host)


def seed_stream(seed: int, rank: int, iteration: int) -> None:
    """Seed the stream of a process that has none to go on with: its own, not the one of the run's beginning."""
    mixed = np.random.SeedSequence([seed, rank, iteration]).generate_state(1)
    set_seed(int(mixed[0]))


def set_deterministic(wanted: bool) -> None:
    """Ask torch for the deterministic version of every operation (it raises where there is none)."""
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
    if wanted != torch.are_deterministic_algorithms_enabled():  # the call alone imports torch's compiler: seconds
        torch.use_deterministic_algorithms(wanted)


def set_matmul_precision(precision: str) -> None:
    """``"highest"``: float32 products in float32; ``"high"``: in TF32 (10 bits of mantissa) where the GPU has it."""
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.allow_tf32 = precision == "high"


def get_rng_state(device: torch.device) -> dict[str, Any]:
    """State of every random number generator of this process, of types that a safe ``torch.load`` accepts."""
    numpy_state: Any = np.random.get_state()
    name, keys, *rest = numpy_state
    version, numbers, gauss = random.getstate()
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def set_rng_state(state: dict[str, Any], device: torch.device) -> None:
    """Undo ``get_rng_state``."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)


def describe(cfg: Config, device: torch.device) -> dict[str, Any]:
    """What the run ran on: versions, device, seed, command."""
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "cuda": torch.version.cuda,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "world_size": comm.get_world_size(),
        "seed": cfg.seed,
        "command": sys.argv,
    }
