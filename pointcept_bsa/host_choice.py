"""Which host this process runs under, decided once, at import.

``PCBSA_HOST=auto|pointcept|embedded``. ``auto`` means Pointcept if ``pointcept.engines`` is already imported (its
tools import it before they read the config), else the embedded host. A broken Pointcept raises its own error.
"""

from __future__ import annotations

import os
import sys

from pointcept_bsa.errors import InputError, nearest

CHOICES = ("auto", "pointcept", "embedded")


def choose_host() -> str:
    """Return ``"pointcept"`` or ``"embedded"``."""
    wanted = os.environ.get("PCBSA_HOST", "auto")
    if wanted not in CHOICES:
        raise InputError(f"PCBSA_HOST={wanted!r}: expected one of {', '.join(CHOICES)}{nearest(wanted, CHOICES)}")
    if wanted == "auto":
        return "pointcept" if "pointcept.engines" in sys.modules else "embedded"
    return wanted


HOST = choose_host()
