"""Whole networks, one a file. Importing this package registers them."""

from . import bsa, erwin, erwin_nsa, full_attention, point_transformer_v3  # noqa: F401
