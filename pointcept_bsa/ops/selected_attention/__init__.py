"""Attention of query groups to their selected blocks."""

from .reference import selected_attention

__all__ = ["selected_attention"]
