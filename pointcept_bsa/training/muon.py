"""Muon for the matrices of a network, AdamW for everything else, as one optimizer.

Own code beside torch's ``Muon`` because that orthogonalises one matrix after the other: the hundred small ones of a
network here are 1,500 launches a step, which take four times as long as the rest of the step. Together by shape they
are some two hundred, and one as a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from pointcept_bsa.errors import InputError
from pointcept_bsa.host import OPTIMIZERS
from pointcept_bsa.host.captured import Captured

EAGER_STEPS = 3  # alike, before one is captured: libraries settle
QUINTIC = (3.4445, -4.7750, 2.0315)  # coefficients of Jordan et al. 2024, kellerjordan.github.io/posts/muon


def orthogonalize(matrices: Tensor, steps: int = 5) -> Tensor:
    """The nearest (semi-)orthogonal matrix of each, nearly: singular values between 0.7 and 1.2 instead of 1.

    ``steps`` Newton-Schulz iterations X <- a X + (b A + c A^2) X with A = X X^T (Jordan et al. 2024), all matrices at
    once; in bfloat16 on CUDA, whose rounding the method bears, else in single precision.

    Args:
        matrices: (n, rows, columns).

    Returns:
        (n, rows, columns), of the dtype it was computed in.
    """
    a, b, c = QUINTIC
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).to(torch.bfloat16 if matrices.is_cuda else torch.float32)
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def _length(shape: torch.Size, adjust_lr_fn: str | None) -> float:
    """Factor of the learning rate for a matrix of that shape, as torch's ``Muon`` names them."""
    rows, columns = shape
    if adjust_lr_fn == "match_rms_adamw":
        return 0.2 * max(rows, columns) ** 0.5
    return max(1.0, rows / columns) ** 0.5


Same = tuple[tuple[Any, ...], ...]


class _MatrixMuon(torch.optim.Optimizer):
    """torch's ``Muon``: same options, groups, state and steps, matrices of one shape at a time.

    On CUDA a step whose parameters, gradients and momenta lie where they lay in the steps before is captured as a CUDA
    graph, in which only the learning rates change; others run eagerly.
    """

    def __init__(self, params: Iterable[Any], **defaults: Any) -> None:
        super().__init__(params, defaults)
        self._known: Same = ()
        self._times = 0
        self._graph: Captured | None = None
        self._rates = torch.empty(0)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        stacks = list(self._stacks())
        on_cuda = all(p.device.type == "cuda" and type(p.data) is Tensor for _, params in stacks for p in params)
        if not on_cuda or torch.cuda.is_current_stream_capturing():  # a graph holds no graph
            return self._update(stacks, [group["lr"] for group in self.param_groups])
        known = tuple(self._identity(number, params) for number, params in stacks)
        if known != self._known:
            self._known, self._times, self._graph = known, 0, None
        self._times += 1
        rates = torch.tensor([group["lr"] for group in self.param_groups], dtype=torch.float32)
        if self._graph is None and self._times > EAGER_STEPS and stacks:
            self._rates = torch.empty(len(rates), device=stacks[0][1][0].device)
            self._graph = Captured(lambda: self._update(stacks, list(self._rates.unbind())))
        if self._graph is None:
            return self._update(stacks, rates.tolist())
        self._rates.copy_(rates, non_blocking=True)
        self._graph.replay()
        return None

    def _stacks(self) -> Iterable[tuple[int, list[Tensor]]]:
        """Matrices of one group and shape that have gradients; the number of the group."""
        for number, group in enumerate(self.param_groups):
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    by_shape.setdefault(p.shape, []).append(p)
                    if "momentum_buffer" not in self.state[p]:
                        self.state[p]["momentum_buffer"] = torch.zeros_like(p)
            for params in by_shape.values():
                yield number, params

    def _identity(self, number: int, params: list[Tensor]) -> tuple[Any, ...]:
        """What a graph takes for granted."""
        group = self.param_groups[number]
        options = tuple(group[key] for key in ("momentum", "nesterov", "ns_steps", "weight_decay", "adjust_lr_fn"))
        tensors = (t for p in params for t in (p, p.grad, self.state[p]["momentum_buffer"]) if t is not None)
        return number, params[0].shape, options, tuple((t.data_ptr(), t.dtype, t.stride()) for t in tensors)

    def _update(self, stacks: list[tuple[int, list[Tensor]]], rates: Sequence[float | Tensor]) -> None:
        for number, params in stacks:
            self._step(params, self.param_groups[number], rates[number])

    def _step(self, params: list[Tensor], group: dict[str, Any], rate: float | Tensor) -> None:
        grads = [p.grad for p in params if p.grad is not None]
        momenta = [self.state[p]["momentum_buffer"] for p in params]
        momentum = group["momentum"]
        torch._foreach_lerp_(momenta, grads, 1 - momentum)
        updates = torch._foreach_lerp(grads, momenta, momentum) if group["nesterov"] else momenta
        steps = orthogonalize(torch.stack(list(updates)), group["ns_steps"]).to(params[0].dtype)
        steps = steps * (-rate * _length(params[0].shape, group["adjust_lr_fn"]))
        torch._foreach_mul_(params, 1 - rate * group["weight_decay"])
        torch._foreach_add_(params, list(steps.unbind()))


@OPTIMIZERS.register_module()
class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024), which takes matrices only, and torch's ``AdamW`` for the other parameters.

    Every group is split in two: its matrices, then the rest. Parameters whose name contains one of Muon's usual
    exceptions (embeddings, the output layer) can be kept from it by a group of ``param_dicts`` with ``adamw=True``.

    Args:
        params: groups of parameters.
        lr, weight_decay: of both. ``adjust_lr_fn="match_rms_adamw"`` makes steps of AdamW's size, so that a learning
            rate tuned for AdamW serves both.
        momentum, nesterov, ns_steps, adjust_lr_fn: of Muon.
        betas, eps, capturable: of AdamW; the last one for a step inside of a CUDA graph of others.
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
        capturable: bool = False,
    ) -> None:
        if adjust_lr_fn not in ("original", "match_rms_adamw"):
            raise InputError(f"Muon: got adjust_lr_fn {adjust_lr_fn!r}, wanted 'original' or 'match_rms_adamw'")
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
            self.parts["muon"] = _MatrixMuon(matrices, **shared, **own)
        if others:
            on_cuda = all(p.is_cuda and type(p.data) is Tensor for group in others for p in group["params"])
            self.parts["adamw"] = torch.optim.AdamW(
                others, **shared, betas=(betas[0], betas[1]), eps=eps, fused=on_cuda or None, capturable=capturable
            )
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
