"""Networks on clouds that several processes share, and those that want them whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from pointcept_bsa.distributed.mesh import context_size
from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.padding import VALID
from pointcept_bsa.host import MODELS


def check_parts(network: nn.Module, point: Mapping[str, Any]) -> None:
    """Raise InputError where processes share the clouds, and network or batch are not made for that.

    A network is, if it says so: ``shares_clouds``. One that is not with some of its arguments names them in
    ``wants_whole``.
    """
    if context_size() == 1:
        return
    if not getattr(network, "shares_clouds", False):
        able = [name for name, kind in MODELS.module_dict.items() if getattr(kind, "shares_clouds", False)]
        raise InputError(
            f"context_parallel: got {context_size()}, but {described(network)} wants whole clouds; wanted "
            f"context_parallel=1, or one of {', '.join(sorted(able))}"
        )
    if VALID in point:
        raise InputError(f"pad_clouds: got a padded batch with context_parallel={context_size()}, wanted None")


def described(network: nn.Module) -> str:
    """Its class, and the arguments with which it wants whole clouds."""
    arguments = getattr(network, "wants_whole", None)
    return type(network).__name__ + (f" with {arguments}" if arguments else "")
