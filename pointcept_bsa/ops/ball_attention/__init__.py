"""Attention inside balls."""

from .reference import ball_attention

__all__ = ["ball_attention"]
