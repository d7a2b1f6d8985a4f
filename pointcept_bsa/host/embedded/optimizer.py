"""Optimizers by name, with groups of parameters chosen by a keyword in their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded.registry import OPTIMIZERS
from pointcept_bsa.host.muon import Muon

for _name in ("SGD", "Adam", "AdamW"):
    OPTIMIZERS.register_module(name=_name, module=getattr(torch.optim, _name))

OPTIMIZERS.register_module(module=Muon)

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


def build_optimizer(
    cfg: Mapping[str, Any], model: nn.Module, param_dicts: Sequence[Mapping[str, Any]] | None = None
) -> torch.optim.Optimizer:
    """Build ``cfg`` over the trainable parameters of ``model``.

    ``param_dicts=[dict(keyword="block", lr=1e-4 or lr_scale=0.1, weight_decay=...)]`` makes one group for each entry:
    the parameters whose name contains the keyword, the first match counting; group 0 has the rest. On CUDA torch's
    fused step is used unless ``cfg`` says ``fused`` or ``foreach``.
    """
    options = dict(cfg)
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
