"""Mean of the points of each block."""

from .reference import block_mean

__all__ = ["block_mean"]
