"""Choice of the blocks that each query group attends to."""

from .reference import select_blocks

__all__ = ["select_blocks"]
