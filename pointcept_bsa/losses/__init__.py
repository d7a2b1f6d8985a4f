"""Losses, one class a loss. Importing this package registers them."""

from . import probabilistic, regression, segmentation  # noqa: F401
