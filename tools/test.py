"""Test a trained model: ``python tools/test.py --config configs/ellipsoid_flow/bsa.py --options weight=PATH``."""

import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("pointcept_bsa") is None:  # run from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pointcept_bsa.host.embedded.cli import test_main

if __name__ == "__main__":
    sys.exit(test_main())
