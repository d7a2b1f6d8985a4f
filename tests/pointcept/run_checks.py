"""``PCBSA_HOST=embedded|pointcept python run_checks.py REPORT.json [CHECKOUT]``: run ``host_checks`` in that host.

Under Pointcept, and in the processes that the checks spawn, everything is as Pointcept's tools have it when they read a
config: the checkout is on the path, stand-ins take the place of extensions, its engines are imported.
"""

import importlib
import json
import runpy
import sys
from pathlib import Path

STAND_INS = Path(__file__).resolve().parents[2] / "pointcept_bsa" / "host" / "pointcept" / "stand_ins.py"

if sys.argv[2:]:
    sys.path.insert(0, sys.argv[2])
    runpy.run_path(str(STAND_INS))["install"]("pointcept", announce=False)
    importlib.import_module("pointcept.engines.train")

if __name__ == "__main__":
    report = importlib.import_module("host_checks").run_all()
    Path(sys.argv[1]).write_text(json.dumps(report))
