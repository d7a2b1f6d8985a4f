"""Test a trained model: ``python tools/test.py --config configs/ellipsoid_flow/bsa.py --options weight=PATH``.

Several as one, with their spread: ``python tools/test.py --ensemble exp/hills/bsa/seed_0 exp/hills/bsa/seed_1``.
"""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

if find_spec("pointcept_bsa") is None:  # run from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pointcept_bsa.arguments.train_and_test import test_parser
from pointcept_bsa.command import exit_code


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; see :mod:`pointcept_bsa.training.cli` for what it returns."""

    def work() -> int:
        arguments = test_parser().parse_args(argv)
        if arguments.ensemble is not None:
            from pointcept_bsa.training.evaluation.ensemble import test_ensemble
            from pointcept_bsa.training.runs.opened_run import open_members

            test_ensemble(*open_members(arguments))
            return 0
        from pointcept_bsa.training.cli import test

        return test(arguments)

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
