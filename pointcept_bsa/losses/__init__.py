"""Losses on normalised values, one class a loss. Importing this package registers them."""

from . import regression  # noqa: F401
