"""The program that stands in the place of Pointcept's tool: prepares the process, then runs the tool's source as it is.

Run as a script (by ``__main__``), so that nothing of ``pointcept_bsa`` is imported before the stand-ins are there and
before Pointcept is: the plugin would choose the embedded host. A process that ``torch.multiprocessing`` spawns runs
this file again as ``__mp_main__``, which prepares it alike, before it unpickles what it has to do. For that the tool
must live in this very module, which is why its source is executed here.

Environment: ``PCBSA_POINTCEPT_TOOL``, the tool's file; ``PCBSA_STUB_MISSING``, ``PCBSA_ON_CPU``: do so if not empty.
"""

import importlib.util
import os
import runpy
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_TOOL = Path(os.environ["PCBSA_POINTCEPT_TOOL"])


def _prepare() -> None:
    pointcept = str(_TOOL.parents[1])
    sys.path[:] = [pointcept, *(path for path in sys.path if path not in (str(_HERE), pointcept))]
    if importlib.util.find_spec("pointcept_bsa") is None:  # a checkout that is not installed
        sys.path.append(str(_HERE.parents[2]))
    first = __name__ == "__main__"  # the others need not say it again
    if os.environ.get("PCBSA_STUB_MISSING"):
        runpy.run_path(str(_HERE / "stand_ins.py"))["install"](importers="pointcept", announce=first)
    if os.environ.get("PCBSA_ON_CPU"):
        runpy.run_path(str(_HERE / "on_cpu.py"))["stay_on_cpu"](announce=first)


def _report(error: BaseException) -> None:
    """Say a user's mistake in one line and leave with 2; add a hint to a missing package."""
    errors = sys.modules.get("pointcept_bsa.errors")
    if errors is not None and isinstance(error, errors.InputError) and not os.environ.get("PCBSA_TRACEBACK"):
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    if isinstance(error, ModuleNotFoundError):
        print(f"hint: Pointcept imports {error.name!r}; install it, or try --stub-missing", file=sys.stderr)


_prepare()
try:
    exec(compile(_TOOL.read_bytes(), str(_TOOL), "exec", dont_inherit=True), globals())
except (ValueError, ImportError) as _error:
    _report(_error)
    raise
