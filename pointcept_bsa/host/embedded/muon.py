"""Muon for the matrices of a network, AdamW for everything else, as one optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from pointcept_bsa.errors import InputError


class Muon(torch.optim.Optimizer):
    """torch's ``Muon`` (version 2.9 on), which takes matrices only, and its ``AdamW`` for the other parameters.

    Every group is split in two: its matrices, then the rest. Parameters whose name contains one of Muon's usual
    exceptions (embeddings, the output layer) can be kept from it by a group of ``param_dicts`` with ``adamw=True``.

    Args:
        params: groups of parameters.
        lr, weight_decay: of both. ``adjust_lr_fn="match_rms_adamw"`` makes steps of AdamW's size, so that a learning
            rate tuned for AdamW serves both.
        momentum, nesterov, ns_steps, adjust_lr_fn: of Muon.
        betas, eps: of AdamW.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
        adjust_lr_fn: str = "match_rms_adamw",
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
    ) -> None:
        if not hasattr(torch.optim, "Muon"):
            raise InputError(f"torch {torch.__version__} has no Muon; it came with 2.9")
        matrices, others = _split(list(params))
        shared: dict[str, Any] = {"lr": lr, "weight_decay": weight_decay}
        own: dict[str, Any] = {
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }
        self.parts: dict[str, torch.optim.Optimizer] = {}
        if matrices:
            self.parts["muon"] = torch.optim.Muon(matrices, **shared, **own)
        if others:
            self.parts["adamw"] = torch.optim.AdamW(others, **shared, betas=(betas[0], betas[1]), eps=eps)
        super().__init__([group for part in self.parts.values() for group in part.param_groups], {})
        self._share_groups()

    def _share_groups(self) -> None:
        """A schedule that changes our groups changes the parts'."""
        self.param_groups = [group for part in self.parts.values() for group in part.param_groups]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of both."""
        if closure is not None:
            raise TypeError("Muon: a closure is not supported")
        for part in self.parts.values():
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """Both states by name, and the groups of both."""
        states: dict[str, Any] = {name: part.state_dict() for name, part in self.parts.items()}
        groups = [group for state in states.values() for group in state["param_groups"]]
        return {"parts": states, "param_groups": groups}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Undo ``state_dict``."""
        if state.get("parts", {}).keys() != self.parts.keys():
            raise InputError("optimizer: the checkpoint was not written by Muon over these parameters")
        for name, part in self.parts.items():
            part.load_state_dict(state["parts"][name])
        self._share_groups()


def _split(groups: list[Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Groups of the matrices and groups of the rest."""
    matrices, others = [], []
    for group in groups if groups and isinstance(groups[0], dict) else [{"params": groups}]:
        options = {key: value for key, value in group.items() if key not in ("params", "adamw")}
        own = [p for p in group["params"] if p.ndim == 2 and not group.get("adamw", False)]
        rest = [p for p in group["params"] if p.ndim != 2 or group.get("adamw", False)]
        if own:
            matrices.append({"params": own, **options})
        if rest:
            others.append({"params": rest, **options})
    return matrices, others
