"""Optimizers by name, with groups of parameters chosen by a keyword in their names; the moving average of the weights.

Names are those of the classes: ours, torch's, then timm's. Left out are those whose step wants more than gradients:
a closure (LBFGS), sparse gradients (SparseAdam), second derivatives (Adahessian), another optimizer (Lookahead).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.host.embedded.registry import OPTIMIZERS
from pointcept_bsa.training.muon import Muon  # noqa: F401 - registers it, before torch's

_LEFT_OUT = ("Optimizer", "LBFGS", "SparseAdam", "Adahessian", "Lookahead")


def _optimizers_in(module: Any) -> dict[str, type]:
    """The optimizers of a module by name."""
    kinds = {name: kind for name, kind in vars(module).items() if isinstance(kind, type)}
    return {n: kind for n, kind in kinds.items() if issubclass(kind, torch.optim.Optimizer) and n not in _LEFT_OUT}


for _name, _kind in _optimizers_in(torch.optim).items():
    if _name not in OPTIMIZERS._module_dict:  # newer versions of torch have a Muon, too
        OPTIMIZERS.register_module(name=_name, module=_kind)

_FUSED = ("SGD", "Adam", "AdamW")


@OPTIMIZERS.register_module(name="Lion")
def lion(params: Any, lr: float = 1e-4, betas: Sequence[float] = (0.9, 0.99), weight_decay: float = 0.0) -> Any:
    """timm's Lion; usual settings are a tenth of AdamW's ``lr`` and ten times its ``weight_decay``."""
    try:
        from timm.optim.lion import Lion
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision of another torch
        raise InputError(f"Lion is timm's, which cannot be imported: {' '.join(str(error).split())}") from error
    first, second = betas
    return Lion(params, lr=lr, betas=(first, second), weight_decay=weight_decay)


def _with_timms(name: str) -> None:
    """Register the optimizers of timm, which takes long to import and may fail to: for a name that is not known yet."""
    try:
        import timm.optim
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision of another torch
        known = [kind for kind in OPTIMIZERS.module_dict if isinstance(kind, str)]
        raise InputError(
            f"optimizer.type={name!r} is none of ours and torch's{nearest(name, known)}; timm's cannot be looked up: "
            f"{' '.join(str(error).split())}"
        ) from error
    for key, kind in _optimizers_in(timm.optim).items():
        if key not in OPTIMIZERS:
            OPTIMIZERS.register_module(name=key, module=kind)


def build_optimizer(
    cfg: Mapping[str, Any], model: nn.Module, param_dicts: Sequence[Mapping[str, Any]] | None = None
) -> torch.optim.Optimizer:
    """Build ``cfg`` over the trainable parameters of ``model``.

    ``param_dicts=[dict(keyword="block", lr=1e-4 or lr_scale=0.1, weight_decay=...)]`` makes one group for each entry:
    the parameters whose name contains the keyword, the first match counting; group 0 has the rest. On CUDA torch's
    fused step is used unless ``cfg`` says ``fused`` or ``foreach``.
    """
    options = dict(cfg)
    kind = options.get("type")
    if isinstance(kind, str) and kind not in OPTIMIZERS and kind not in _LEFT_OUT:
        _with_timms(kind)
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not trainable:
        raise InputError("model: it has no trainable parameters")
    options["params"] = _make_groups(trainable, options.get("lr"), param_dicts or [])
    on_cuda = all(p.is_cuda for p in trainable.values())
    if on_cuda and options.get("type") in _FUSED and not {"fused", "foreach"} & options.keys():
        options["fused"] = True
    return OPTIMIZERS.build(options, path="optimizer")


def _make_groups(
    parameters: Mapping[str, nn.Parameter], lr: float | None, param_dicts: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = [{"params": []}]
    for index, entry in enumerate(param_dicts):
        options = dict(entry)
        if not isinstance(options.pop("keyword", None), str):
            raise InputError(f"param_dicts[{index}]: expected a key 'keyword' with a part of a parameter's name")
        if "lr_scale" in options:
            if lr is None:
                raise InputError(f"param_dicts[{index}].lr_scale: optimizer.lr is not set")
            options["lr"] = lr * options.pop("lr_scale")
        groups.append({"params": [], **options})
    for name, parameter in parameters.items():
        matches = (i + 1 for i, entry in enumerate(param_dicts) if entry["keyword"] in name)
        groups[next(matches, 0)]["params"].append(parameter)
    for index, entry in enumerate(param_dicts):
        if not groups[index + 1]["params"]:
            raise InputError(f"param_dicts[{index}].keyword={entry['keyword']!r}: in no trainable parameter's name")
    return groups if groups[0]["params"] else groups[1:]


class MovingAverage:
    """``average = decay average + (1 - decay) weight`` after every iteration; it begins as the first one's weights.

    Buffers are not averaged. Parameters that are not trained are left out. torch's ``AveragedModel`` waits for the
    device in every update; its averaging function, used here, does not.

    Args:
        model: whose parameters are averaged.
        decay: in [0, 1).
    """

    def __init__(self, model: nn.Module, decay: float = 0.999) -> None:
        if not isinstance(decay, int | float) or not 0 <= decay < 1:
            raise InputError(f"ema.decay={decay!r}: expected a number from 0 to below 1")
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.averages: dict[str, Tensor] = {}
        self._average = get_ema_multi_avg_fn(decay)

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now."""
        if not self.averages:
            self.averages = {name: p.detach().clone() for name, p in self.parameters.items()}
            return
        groups: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
        for name, average in self.averages.items():
            averages, weights = groups.setdefault(average.dtype, ([], []))
            averages.append(average)
            weights.append(self.parameters[name].detach())
        for averages, weights in groups.values():
            self._average(averages, weights, 0)

    @contextlib.contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Within, the model has the averages as its weights (the tensors change places, nothing is copied)."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, average in self.averages.items():
            parameter = self.parameters[name]
            self.averages[name], parameter.data = parameter.data, average

    def state_dict(self) -> dict[str, Tensor]:
        """The averages by the names of their parameters."""
        return dict(self.averages)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Undo ``state_dict``. Raises ``InputError`` for another model's."""
        if state.keys() - self.parameters.keys() or (state and self.parameters.keys() - state.keys()):
            raise InputError("ema: the checkpoint has averages of other parameters than this model's")
        self.averages = {name: value.to(self.parameters[name].device, copy=True) for name, value in state.items()}
