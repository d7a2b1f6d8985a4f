"""How every tool ends: :func:`exit_code`, without what a tool that is only asked for ``--help`` need not import."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")  # by which a user says how threads of OpenMP wait
SPINS = "10000"  # about half a millisecond
INSTALL = "python -m pip install -c constraints.txt -e . (in the checkout, in the environment of this Python)"


def exit_code(run: Callable[[], int]) -> int:
    """Call ``run``; a user's mistake or an interrupt becomes one line on standard error and an exit code.

    See :mod:`pointcept_bsa.training.cli`. A package that is not installed is such a mistake.
    """
    let_threads_sleep()
    try:
        code = run()
        sys.stdout.flush()
        return code
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if not package or package == "pointcept_bsa":
            raise
        where = f"{sys.executable}: the package {package!r} is not installed there"
        print(f"error: {where}; wanted {INSTALL}", file=sys.stderr, flush=True)
        return 2
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - raised again, where it is told
        from pointcept_bsa.training.cli import exit_code as told

        fault = error

    def again() -> int:
        raise fault

    code = told(again)
    _give_up_stdout()
    return code


def let_threads_sleep() -> None:
    """Have torch's threads sleep soon while they wait for one another, unless the environment says how they wait.

    By themselves those of GNU's OpenMP spin 300,000 times. With more threads than free cores (two trainings, other
    users) they hold the cores that the others need, and an iteration takes several times as long; where cores are free,
    sleeping at once would cost a quarter. OpenMP reads this when torch is imported; processes that are started inherit
    it.
    """
    if "torch" not in sys.modules and not any(name in os.environ for name in WAITING):
        os.environ["GOMP_SPINCOUNT"] = SPINS


def _give_up_stdout() -> None:
    """What standard output cannot take (a full disk, no reader) is dropped; else the interpreter fails when it ends."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
