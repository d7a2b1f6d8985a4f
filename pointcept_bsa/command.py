"""How every tool ends: :func:`exit_code`, without what a tool that is only asked for ``--help`` need not import."""

from __future__ import annotations

import sys
from collections.abc import Callable

INSTALL = "python -m pip install -c constraints.txt -e . (in the checkout, in the environment of this Python)"


def exit_code(run: Callable[[], int]) -> int:
    """Call ``run``; a user's mistake or an interrupt becomes one line on standard error and an exit code.

    See :mod:`pointcept_bsa.host.embedded.cli`. A package that is not installed is such a mistake.
    """
    try:
        return run()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if not package or package == "pointcept_bsa":
            raise
        where = f"{sys.executable}: the package {package!r} is not installed there"
        print(f"error: {where}; wanted {INSTALL}", file=sys.stderr, flush=True)
        return 2
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - raised again, where it is told
        from pointcept_bsa.host.embedded.cli import exit_code as told

        fault = error

    def again() -> int:
        raise fault

    return told(again)
