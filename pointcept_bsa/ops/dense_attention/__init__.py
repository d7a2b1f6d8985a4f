"""Dense attention of every query to every key of its own cloud."""

from .reference import dense_attention

__all__ = ["dense_attention"]
