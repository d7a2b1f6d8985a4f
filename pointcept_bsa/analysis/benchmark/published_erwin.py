"""The published Erwin code (github.com/maxxxzdn/erwin) as one more network of the comparison.

It is imported from a checkout and left as it is. What it builds for each sample on the CPU or with ``torch_cluster``,
the ball tree and the edges, it is handed ready-made, as its training scripts may do in their data loaders; so its
times leave both out, and those of ``Erwin-v1m1`` beside it contain both.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.ball_tree import cloud_lengths
from pointcept_bsa.geometry.neighbors import find_neighbors
from pointcept_bsa.host import MODELS
from pointcept_bsa.samples import host_ends

SOURCE = Path("models", "erwin.py")
NEVER_CALLED = {"torch_cluster": (), "balltree": ("build_balltree_with_rotations",)}  # the tree and edges are given
SAME_NAMES = (
    *("ball_sizes", "enc_num_heads", "enc_depths", "dec_num_heads", "dec_depths", "strides"),
    *("rotate", "mlp_ratio", "dimensionality", "mp_steps"),
)
MODULE = "published_erwin_checkout"


class PublishedErwin(nn.Module):
    """The published network with the arguments of an ``Erwin-v1m1`` config, as a backbone.

    ``forward`` takes a sample that :meth:`prepare` completed.

    Args:
        backbone: config of the ``Erwin-v1m1``; its tree (with ``pad="power_of_two"``, the published one) and its
            neighbours are those that the published network is handed.
        checkout: folder of the published code.

    Raises:
        InputError: no such checkout, a package of it is missing, or an option that it does not have.
    """

    def __init__(self, backbone: Mapping[str, Any], checkout: str):
        super().__init__()
        ours = MODELS.build({**backbone, "pad": "power_of_two"})
        if not ours.decode or any(block.sigma is None for block in ours.modules() if hasattr(block, "sigma")):
            raise InputError("--erwin-checkout: got decode=False or distance_bias=False, wanted the published network")
        self.in_channels, self.dimensionality = ours.in_channels, ours.dimensionality
        self.tree_builder = [ours]  # in a list: not a part of the network
        defaults = inspect.signature(type(ours).__init__).parameters
        values = {name: _plain(backbone.get(name, defaults[name].default)) for name in ("channels", *SAME_NAMES)}
        self.network = load_published(checkout).ErwinTransformer(
            c_in=ours.in_channels, c_hidden=values.pop("channels"), decode=True, **values
        )

    @torch.no_grad()
    def prepare(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The batch with tree and edges in the published format, computed by this package."""
        ours, coord = self.tree_builder[0], batch["coord"]
        lengths = cloud_lengths(host_ends(batch), len(coord))
        levels = ours.build_levels(coord, lengths)
        mask = torch.zeros(len(levels[0].index), dtype=torch.bool, device=coord.device)
        mask[levels[0].inverse] = True
        cloud = torch.arange(len(lengths), device=coord.device)
        out = dict(batch)
        out |= {
            "published_batch": cloud.repeat_interleave(torch.tensor(lengths, device=coord.device)),
            "published_tree": levels[0].index.clone(),
            "published_mask": mask,
        }
        out |= {f"published_rotation_{i}": t.rotation for i, t in enumerate(levels) if t.rotation is not None}
        if ours.embedding.steps:
            near = find_neighbors(coord, lengths, **ours.embedding.neighborhood.arguments)
            there = near >= 0
            receiver = torch.arange(len(coord), device=coord.device).unsqueeze(1).expand_as(near)
            out["published_edges"] = torch.stack([near[there], receiver[there]])
        return out

    def forward(self, point: Mapping[str, Tensor]) -> Tensor:
        """(N, C) features in input order."""
        rotations = [point.get(f"published_rotation_{i}") for i in range(len(self.network.ball_sizes))]
        return self.network(
            point["feat"],
            point["coord"],
            point["published_batch"],
            edge_index=point.get("published_edges"),
            tree_idx=point["published_tree"],
            tree_idx_rot=rotations,
            tree_mask=point["published_mask"],
        )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


def load_published(checkout: str) -> ModuleType:
    """The module of the published network, with stand-ins for packages that it imports and is not made to call."""
    path = Path(checkout, SOURCE)
    if not path.is_file():
        raise InputError(f"--erwin-checkout {checkout!r}: wanted a checkout of maxxxzdn/erwin, with {SOURCE}")
    known = sys.modules.get(MODULE)
    if known is not None and known.__file__ == str(path):
        return known
    spec = importlib.util.spec_from_file_location(MODULE, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    added = []
    for name, functions in NEVER_CALLED.items():
        if name not in sys.modules and importlib.util.find_spec(name) is None:
            sys.modules[name] = _stand_in(name, functions)
            added.append(name)
    sys.modules[MODULE] = module  # its dataclasses look themselves up there
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        del sys.modules[MODULE]
        raise InputError(
            f"--erwin-checkout {checkout!r}: it needs the package {error.name!r}, not installed"
        ) from error
    finally:
        for name in added:
            del sys.modules[name]
    return module


def _stand_in(name: str, functions: tuple[str, ...]) -> ModuleType:
    module = ModuleType(name)

    def never(*_: Any, **__: Any) -> None:
        raise RuntimeError(f"{name} is not installed, and the published Erwin was to be handed what it computes")

    for function in functions:
        setattr(module, function, never)
    return module
