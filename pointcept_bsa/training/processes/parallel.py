"""How several processes train one model."""

from __future__ import annotations

import warnings

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pointcept_bsa.distributed import mesh
from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded import comm
from pointcept_bsa.host.embedded.config import Config
from pointcept_bsa.training.processes.sharding import shard

SHARDED_OPTIMIZERS = ("AdamW", "Adam", "SGD")


def share_buffers(model: nn.Module) -> None:
    """Give every process the main one's buffers: running statistics of BatchNorm are each process's own in training.

    So all evaluate what the checkpoint holds.
    """
    if comm.get_world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def check_parallel(cfg: Config, device: torch.device) -> None:
    """Raise ``InputError`` for what cannot be had together."""
    several = comm.get_world_size() > 1
    captured = graphed(cfg, device)
    if captured and (cfg.gradient_accumulation_steps > 1 or needs_scaler(cfg, device)):
        raise InputError(
            "cuda_graph=True: got gradient accumulation or float16, wanted gradient_accumulation_steps=1 and float32 "
            "or bfloat16"
        )
    if several and cfg.parallel == "fsdp2":
        _check_sharded(cfg, device)
    if captured and several and (cfg.sync_bn or cfg.parallel == "fsdp2"):
        raise InputError("cuda_graph=True: with several processes wanted sync_bn=False and parallel='ddp' or 'flat'")


def check_context(cfg: Config, device: torch.device, model: nn.Module) -> None:
    """Raise ``InputError`` for what does not go with parts of clouds."""
    if mesh.context_size() == 1:
        return
    for key, off in (("cuda_graph", False), ("pad_clouds", None), ("compile", False)):
        if cfg[key] != off and (key != "cuda_graph" or device.type == "cuda"):
            raise InputError(f"{key}={cfg[key]}: with context_parallel={cfg.context_parallel} wanted {key}={off}")
    check_shares_clouds(model)


def check_shares_clouds(model: nn.Module) -> None:
    """Raise ``InputError`` for a model that takes whole clouds alone, where processes share them."""
    if mesh.context_size() == 1:
        return
    check = getattr(model, "check_shares_clouds", None)
    if check is None:
        raise InputError(f"context_parallel: {type(model).__name__} takes whole clouds, wanted context_parallel=1")
    check()


def _check_sharded(cfg: Config, device: torch.device) -> None:
    if cfg.ema is not None or needs_scaler(cfg, device) or cfg.optimizer.type not in SHARDED_OPTIMIZERS:
        raise InputError(
            f"parallel='fsdp2': got ema={cfg.ema}, optimizer {cfg.optimizer.type!r}, or float16, wanted ema=None, one "
            f"of {SHARDED_OPTIMIZERS}, float32 or bfloat16"
        )


def needs_scaler(cfg: Config, device: torch.device) -> bool:
    """float16 on CUDA needs a gradient scaler; bfloat16 and float32 need none."""
    return cfg.enable_amp and cfg.amp_dtype == "float16" and device.type == "cuda"


def graphed(cfg: Config, device: torch.device) -> bool:
    """Whether steps are CUDA graphs; on the CPU there are none."""
    return bool(cfg.cuda_graph) and device.type == "cuda"


def flat_steps(cfg: Config, device: torch.device) -> bool:
    """Whether all weights are cast, and all gradients collected, at once: in CUDA graphs, and with bfloat16 on parts of
    clouds, where small kernels would have the device wait for the host."""
    parts = mesh.context_size() > 1 and cfg.enable_amp and cfg.parallel != "fsdp2"
    return graphed(cfg, device) or (parts and cfg.gradient_accumulation_steps == 1 and not needs_scaler(cfg, device))


def mode_of(cfg: Config, device: torch.device) -> str | None:
    """``cfg.parallel``; None for one process; ``"flat"`` where gradients are collected at once."""
    if comm.get_world_size() == 1:
        return None
    return "flat" if flat_steps(cfg, device) else cfg.parallel


def distribute(model: nn.Module, cfg: Config, device: torch.device) -> nn.Module:
    """The model, with the main process's weights everywhere, so wrapped that its processes train together."""
    mode = mode_of(cfg, device)
    if mode == "ddp":
        with warnings.catch_warnings():  # newer torch has another name for broadcast_buffers, older has only this
            warnings.simplefilter("ignore", FutureWarning)
            return DistributedDataParallel(
                model,
                device_ids=[device.index] if device.type == "cuda" else None,
                broadcast_buffers=False,
                find_unused_parameters=cfg.find_unused_parameters,
            )
    if mode is not None:
        for tensor in (*model.parameters(), *model.buffers()):
            dist.broadcast(tensor.detach(), src=0)
    return shard(model, device) if mode == "fsdp2" else model
