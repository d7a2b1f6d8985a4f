"""FSDP2: every process keeps a shard of the parameters, gradients and optimizer state, and gathers a block as it comes.

A *unit* is a module whose class says ``shard_unit = True`` (the transformer blocks); what is in none is a unit of its
own. Checkpoints hold whole tensors, as those of other runs do: either kind of run goes on from the other's.

What torch needs for it takes a second or more to import, so only a run that shards does so; a sharded module and a
sharded tensor are known by the methods they have.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pointcept_bsa.host.embedded import comm

# Settings of torch's optimizers that say how a step is computed on this machine, not what it is.
STEP_SETTINGS = ("foreach", "capturable", "differentiable", "fused")


def shard(model: nn.Module, device: torch.device) -> nn.Module:
    """Shard the model, which is the same in all processes, over them; in place."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (comm.get_world_size(),))
    for module in model.modules():
        if getattr(module, "shard_unit", False):
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def is_sharded(model: nn.Module) -> bool:
    """Whether ``shard`` has been here."""
    return hasattr(model, "set_reshard_after_forward")


def is_spread(value: Any) -> bool:
    """Whether a tensor is one of which each process has a shard."""
    return hasattr(value, "full_tensor")


@contextlib.contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """Within, a sharded model is whole in every process: each may call it as often as it likes, without the others."""
    units: list[Any] = [module for module in model.modules() if is_sharded(module)]
    for unit in units:
        unit.set_reshard_after_forward(False, recurse=False)
        unit.unshard()
    try:
        yield
    finally:
        for unit in units:
            unit.reshard()
            unit.set_reshard_after_forward(unit is not model, recurse=False)


def model_state(model: nn.Module) -> dict[str, Any]:
    """The model's state dict of whole tensors. Called in every process; complete in the main one."""
    if not is_sharded(model):
        return model.state_dict()
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    return get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))


def load_model_state(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load whole tensors, those there are."""
    if not is_sharded(model):
        model.load_state_dict(weights, strict=False)
        return
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

    options = StateDictOptions(full_state_dict=True, strict=False)
    set_model_state_dict(model, dict(weights), options=options)


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimizer's state dict of whole tensors, in the main process. Called in every process."""
    state = optimizer.state_dict()
    if not _spread_parameters(optimizer):
        return state
    whole = {index: {name: _whole(value) for name, value in of.items()} for index, of in state["state"].items()}
    return {**state, "state": whole}


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Undo ``optimizer_state``. How a step is done (fused, captured, ...) stays as this run's machine has it."""
    state = _stepped_as(optimizer, state)
    if not _spread_parameters(optimizer):
        optimizer.load_state_dict(dict(state))
        return
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    shards = {
        index: {name: _shard_like(value, parameters[index]) for name, value in of.items()}
        for index, of in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": shards})


def _stepped_as(optimizer: Any, state: Mapping[str, Any]) -> dict[str, Any]:
    """``state`` with the ``STEP_SETTINGS`` of ``optimizer``."""
    if "parts" in state:  # several optimizers in one: Muon
        parts = getattr(optimizer, "parts", {})
        found = {name: _stepped_as(parts[name], of) if name in parts else of for name, of in state["parts"].items()}
        return {**state, "parts": found}
    groups = [
        {**group, **{key: own[key] for key in STEP_SETTINGS if key in own}}
        for group, own in zip(state["param_groups"], optimizer.param_groups, strict=True)
    ]
    return {**state, "param_groups": groups}


def _spread_parameters(optimizer: torch.optim.Optimizer) -> bool:
    return any(is_spread(parameter) for group in optimizer.param_groups for parameter in group["params"])


def _whole(value: Any) -> Any:
    return value.full_tensor().cpu() if is_spread(value) else value


def _shard_like(value: Any, parameter: Any) -> Any:
    if not (is_spread(parameter) and isinstance(value, Tensor) and value.shape == parameter.shape):
        return value
    from torch.distributed.tensor import distribute_tensor

    value = value.to(parameter.device)
    return distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)


def plain(number: Any) -> Tensor:
    """A number that may be spread over the processes, as an ordinary tensor."""
    return number.full_tensor() if is_spread(number) else number
