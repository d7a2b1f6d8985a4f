"""Losses, one class a loss. Importing this package registers them."""

from . import regression, segmentation  # noqa: F401
