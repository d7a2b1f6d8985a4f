"""Why a training cannot go on: where a number that is not finite came from (the batch, the weights, or the first module
that made one), and what to lower where it does not fit the memory."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from pointcept_bsa.distributed import mesh
from pointcept_bsa.distributed.mesh import context_size
from pointcept_bsa.distributed.parts import sum_over_parts
from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded.config import Config
from pointcept_bsa.host.embedded.registry import MODELS
from pointcept_bsa.old_names import argument
from pointcept_bsa.samples import to_device
from pointcept_bsa.training.checkpoints.checkpoint import unwrap
from pointcept_bsa.training.env import get_rng_state, set_rng_state
from pointcept_bsa.training.guard import MAX_IN_A_ROW

if TYPE_CHECKING:
    from pointcept_bsa.training.trainer import DefaultTrainer

FINITE = "every module's output is finite when run again"
REMEDY = "lower optimizer.lr, set clip_grad, or check the data"


def check_numbers(trainer: DefaultTrainer) -> None:
    """Read the trainer's guard: ``InputError`` if the run is to stop, a warning for steps newly left out.

    Called where the host waits for the device anyway: at a reading of the losses, before a checkpoint.
    """
    guard = trainer.guard
    if guard is None:
        return
    skipped, first, row = guard.read(trainer.global_iter)
    if guard.mode == "stop" and skipped:
        where = explain(trainer, first)
        raise InputError(f"the loss or its gradient is not finite in iteration {first}: {where}; {REMEDY}")
    if row >= MAX_IN_A_ROW:
        raise InputError(
            f"nan_guard='skip': {row} iterations in a row, to {trainer.global_iter}, had a loss or gradient that is "
            f"not finite: {explain(trainer, trainer.global_iter)}; {REMEDY}"
        )
    if skipped > guard.told:
        where = "" if guard.told else f"; the first in iteration {first}: {explain(trainer, first)}"
        trainer.logger.warning(f"NOT FINITE: {skipped} steps left out up to iteration {trainer.global_iter}{where}")
        guard.told = skipped


def explain(trainer: DefaultTrainer, iteration: int) -> str:
    """What was not finite in an iteration (counted from 1), whose batches are built again, with the present weights."""
    accumulate = trainer.plan.accumulate
    model = unwrap(trainer.model)
    text = ""
    for position in range((iteration - 1) * accumulate, iteration * accumulate):
        batch = to_device(trainer.train_loader.batch_at(position), trainer.device)
        text = diagnose(model, batch, lambda batch: trainer.forward(model, batch))
        if not text.startswith(FINITE):
            break
    return text


@torch.no_grad()
def diagnose(model: nn.Module, batch: Mapping[str, Any], forward: Callable[[Any], Any]) -> str:
    """Name the first thing that is not finite, in the order in which a step meets them.

    ``forward`` runs the model once more, watched by a forward hook that is there for this one call. Random numbers
    and buffers are as before afterwards.
    """
    bad = next((name for name, value in batch.items() if isinstance(value, Tensor) and not _is_finite(value)), None)
    if bad is not None or context_size() > 1:  # no process may run the model without those that share its clouds
        number = torch.tensor(float(bad is not None), device=next(model.parameters()).device)
        if float(sum_over_parts(number)):
            of = f"{bad!r} is" if bad is not None else "part in another process is"
            return f"the batch's {of} not finite (samples {_names(batch)})"
    for kind, tensors in (("weight", model.named_parameters()), ("buffer", model.named_buffers())):
        for name, tensor in tensors:
            if not _is_finite(tensor):
                return f"the model's {kind} {name!r} is not finite already"
    found = _first_module(model, batch, forward)
    if found is not None:
        return f"first module whose output is not finite: {found} (samples {_names(batch)}){_zero_targets(batch)}"
    return f"{FINITE}, so what was not came from the backward pass (samples {_names(batch)})"


def _zero_targets(batch: Mapping[str, Any]) -> str:
    """The samples of a batch whose target is 0 at all points, or whose squares are 0 or infinite; nothing without."""
    target, offset = batch.get("target"), batch.get("offset")
    if not isinstance(target, Tensor) or not isinstance(offset, Tensor) or context_size() > 1:
        return ""
    clouds = target.float().tensor_split(offset[:-1].cpu())
    squares = [float(cloud.square().mean()) for cloud in clouds]
    names = [str(n) for n, s in zip(batch.get("name", ()), squares, strict=False) if not 0 < s < float("inf")]
    if not names:
        return ""
    return (
        f"; the squared target is 0 or too large for float32 in {', '.join(names[:3])}, which has no relative error: "
        "RelativeL2Loss takes physical=False"
    )


def _first_module(model: nn.Module, batch: Any, forward: Callable[[Any], Any]) -> str | None:
    names = {module: name for name, module in model.named_modules()}
    found: list[str] = []

    def watch(module: nn.Module, _: Any, output: Any) -> None:
        if not found and module in names and not all(map(_is_finite, _tensors(output))):
            found.append(f"{names[module] or 'model'} ({type(module).__name__})")

    device = next(model.parameters()).device
    state = get_rng_state(device)
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    handle = register_module_forward_hook(watch)
    try:
        forward(batch)
    finally:
        handle.remove()
        set_rng_state(state, device)
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
    return found[0] if found else None


def _tensors(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, Mapping):
        output = list(output.values())
    if isinstance(output, list | tuple):
        return [tensor for item in output for tensor in _tensors(item)]
    return []


def _is_finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


def _names(batch: Mapping[str, Any]) -> str:
    names = batch.get("name", ())
    return ", ".join(map(str, names[:8])) + (", ..." if len(names) > 8 else "") or "?"


SIZES = ("ball_size", "ball_sizes", "local_ball_size", "patch_size", "enc_patch_size")


def training_advice(cfg: Config) -> str:
    """Remedies for ``cfg``, each with its present value, the harmless ones first."""
    backbone: dict[str, Any] = cfg.model.get("backbone", cfg.model)
    advice = []
    if cfg.batch_size > mesh.data_size():
        steps = f"gradient_accumulation_steps (now {cfg.gradient_accumulation_steps}) can make up for it"
        advice.append(f"batch_size (now {cfg.batch_size}; {steps})")
    advice.append("the points of a cloud (SamplePoints in data.train.transform)")
    advice += [f"model.backbone.{key} (now {backbone[key]})" for key in SIZES if key in backbone]
    text = f"lower {', '.join(advice)}"
    present = argument(backbone, "recompute", False)
    if _can_recompute(backbone) and present is not True:
        values = "True" if present else "selective or, for less, True"
        text += f"; or trade time for memory with model.backbone.recompute={values}"
    if not cfg.enable_amp:
        text += "; or enable_amp=True"
    return f"{text}; earlier checkpoints are intact"


def _can_recompute(backbone: dict[str, Any]) -> bool:
    built = MODELS.get(str(backbone.get("type")))
    return built is not None and "recompute" in inspect.signature(built).parameters
