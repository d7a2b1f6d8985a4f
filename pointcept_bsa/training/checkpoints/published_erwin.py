"""Weights of the published Erwin code (github.com/maxxxzdn/erwin) for :class:`.ErwinTransformer`.

Its checkpoints are a state dict, bare or under ``model_state_dict``, whose keys may begin with ``module.`` (data
parallel), ``_orig_mod.`` (compiled) and ``main_model.`` or ``dynamics_model.`` (the network inside the task's
wrapper, whose own embedding and head are left out).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from pointcept_bsa.errors import InputError
from pointcept_bsa.files.checkpoint_file import read_checkpoint
from pointcept_bsa.layers.cloud_norm import MARK

STATISTICS = ("norm.running_mean", "norm.running_var", "norm.num_batches_tracked")

_WRAPPERS = ("module.", "_orig_mod.")
_NETWORK = ("main_model.", "dynamics_model.")

# Names there, names here. The blocks of encoder, bottleneck and decoder are alike.
_RULES = [
    (r"embed\.embed_fn\.(weight|bias)", r"embedding.linear.\1"),
    (r"embed\.mpnn\.message_fns\.(\d+)\.0\.(weight|bias)", r"embedding.steps.\1.message.\2"),
    (r"embed\.mpnn\.message_fns\.(\d+)\.2\.(weight|bias)", r"embedding.steps.\1.message_norm.\2"),
    (r"embed\.mpnn\.update_fns\.(\d+)\.0\.(weight|bias)", r"embedding.steps.\1.update.\2"),
    (r"embed\.mpnn\.update_fns\.(\d+)\.1\.(weight|bias)", r"embedding.steps.\1.update_norm.\2"),
    (r"encoder\.(\d+)\.pool\.proj\.(.+)", r"pooling.\1.projection.\2"),
    (r"encoder\.(\d+)\.pool\.norm\.(.+)", r"pooling.\1.norm.\2"),
    (r"decoder\.(\d+)\.unpool\.proj\.(.+)", r"unpooling.\1.projection.\2"),
    (r"decoder\.(\d+)\.unpool\.norm\.(.+)", r"unpooling.\1.norm.\2"),
    (r"(STACK)\.blocks\.(\d+)\.(norm[12]\.weight|swiglu\.w[123]\.(?:weight|bias))", r"\1.\2.\3"),
    (r"(STACK)\.blocks\.(\d+)\.BMSA\.sigma_att", r"\1.\2.attention.sigma"),
    (r"(STACK)\.blocks\.(\d+)\.BMSA\.qkv\.(weight|bias)", r"\1.\2.attention.qkv.\3"),
    (r"(STACK)\.blocks\.(\d+)\.BMSA\.proj\.(weight|bias)", r"\1.\2.attention.projection.\3"),
    (r"(STACK)\.blocks\.(\d+)\.BMSA\.pe_proj\.(weight|bias)", r"\1.\2.attention.position.\3"),
]
_STACK = r"encoder\.\d+|bottleneck|decoder\.\d+"
_COMPILED = [(re.compile(there.replace("STACK", _STACK)), here) for there, here in _RULES]


def convert_erwin_state_dict(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename and reorder the weights of the published Erwin for ``Erwin-v1m1``.

    The rows of its qkv maps are ordered (head, channel, {q, k, v}), ours ({q, k, v}, head, channel). Its pooling of
    stride 1 (told by the width of its map) is never used there and left out here.

    Args:
        state: state dict with the published names.

    Raises:
        InputError: a key that the published Erwin does not have (all are named), or an attention without its sigma.
    """
    own = _network(state)
    converted, unknown = {}, []
    for key, value in own.items():
        if _is_unused_pooling(key, own):
            continue
        name = _rename(key)
        if name is None:
            unknown.append(key)
        elif ".BMSA.qkv." in key:
            converted[name] = _reorder_qkv(value, _num_heads(key, own))
        else:
            converted[name] = value.flatten() if key.endswith("sigma_att") else value
    if unknown:
        raise InputError(f"state: got keys that are not Erwin's: {', '.join(sorted(unknown))}")
    if not converted:
        raise InputError("state: got no weights, wanted those of the published Erwin")
    return converted


def load_erwin_weights(model: nn.Module, path: str | Path) -> None:
    """Load a checkpoint of the published code into an ``Erwin-v1m1`` of the same shape.

    Args:
        model: :class:`.ErwinTransformer`; the published outputs take ``pad="power_of_two", tree="balltree"``, and its
            BatchNorms. With another norm in their place (``norm`` of a model, which has this as its backbone) weight
            and bias are loaded and the running statistics left out: a start for a training.
        path: file written by ``torch.save``: a state dict, or a dict with one under ``model_state_dict``.

    Raises:
        InputError: no such file, keys that are not Erwin's, or weights that do not fit ``model``.
    """
    saved = read_checkpoint(path, "path")
    if not isinstance(saved, Mapping):
        raise InputError(f"path: {str(path)!r} holds a {type(saved).__name__}, wanted a state dict")
    state = convert_erwin_state_dict(saved.get("model_state_dict", saved))
    wanted = model.state_dict()
    if any(key.startswith(MARK) for key in wanted):  # other norms than the published ones
        wanted = {key: value for key, value in wanted.items() if not key.startswith(MARK)}
        state = {key: value for key, value in state.items() if not key.endswith(STATISTICS)}
    odd = sorted(
        key
        for key in wanted.keys() | state.keys()
        if key not in wanted or key not in state or wanted[key].shape != state[key].shape
    )
    if odd:
        raise InputError(f"path: {str(path)!r} does not fit the model; missing, left over or of another shape: {odd}")
    model.load_state_dict(state, strict=False)  # all keys have been compared


def _network(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The network's own weights, without the prefixes of what is wrapped around it."""
    bare = {}
    for key, value in state.items():
        while key.startswith(_WRAPPERS):
            key = key.partition(".")[2]
        bare[key] = value
    inside = {k.partition(".")[2]: v for k, v in bare.items() if k.startswith(_NETWORK)}
    return inside or bare


def _rename(key: str) -> str | None:
    for pattern, name in _COMPILED:
        match = pattern.fullmatch(key)
        if match:
            return match.expand(name)
    return None


def _is_unused_pooling(key: str, state: Mapping[str, Tensor]) -> bool:
    """Whether the key belongs to a pooling of stride 1: in_features = stride (channels + dimensions)."""
    level, found, _ = key.partition(".pool.")
    if not found:
        return False
    projection = state.get(f"{level}.pool.proj.weight")
    position = state.get(f"{level}.blocks.0.BMSA.pe_proj.weight")
    return projection is not None and position is not None and projection.shape[1] == sum(position.shape)


def _num_heads(key: str, state: Mapping[str, Tensor]) -> int:
    name = f"{key.partition('.qkv.')[0]}.sigma_att"
    if name not in state:
        raise InputError(f"state: lacks {name}, which tells the number of heads of {key}")
    return state[name].numel()


def _reorder_qkv(x: Tensor, num_heads: int) -> Tensor:
    """Rows (head, channel, {q, k, v}) -> ({q, k, v}, head, channel)."""
    return x.unflatten(0, (num_heads, -1, 3)).movedim(2, 0).flatten(0, 2).contiguous()
