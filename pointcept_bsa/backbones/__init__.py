"""Whole networks, one a file. Importing this package registers them."""

from . import (  # noqa: F401
    abupt,
    bsa,
    erwin,
    erwin_nsa,
    flare,
    full_attention,
    lrsa,
    mspt,
    point_transformer_v3,
    pointnet,
    transolver,
    upt,
)
