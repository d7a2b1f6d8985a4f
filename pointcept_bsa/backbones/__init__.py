"""Whole networks, one a file. Importing this package registers them."""

from . import (  # noqa: F401
    abupt,
    bsa,
    erwin,
    erwin_nsa,
    full_attention,
    mspt,
    point_transformer_v3,
    upt,
)
