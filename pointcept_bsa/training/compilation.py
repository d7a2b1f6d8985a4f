"""torch.compile for the blocks of a network."""

from __future__ import annotations

from torch import nn

from pointcept_bsa.errors import InputError, nearest


def compile_blocks(model: nn.Module, backend: bool | str) -> int:
    """Compile each transformer block in place (names and checkpoints stay as they are); return how many there are.

    All blocks of a kind share their code, so that one of them is compiled for each shape of a batch. After 8 shapes
    torch runs others eagerly and says so.

    Args:
        backend: True for torch's default, or the name of a backend.

    Raises:
        InputError: a backend that torch does not know, or a model without blocks.
    """
    import torch._dynamo  # slow to import: only where it is wanted

    name = "inductor" if backend is True else str(backend)
    known = torch._dynamo.list_backends(exclude_tags=())
    if name not in known:
        wanted = f"wanted True or one of {', '.join(known)}"
        raise InputError(f"compile: got backend {name!r}, {wanted}{nearest(name, known)}")
    blocks = [module for module in model.modules() if getattr(module, "shard_unit", False)]
    if not blocks:
        raise InputError("compile: the model has no transformer blocks, wanted compile=False")
    for block in blocks:
        block.compile(backend=name, dynamic=False)
    return len(blocks)
