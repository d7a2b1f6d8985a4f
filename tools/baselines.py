"""What is reached without a network: constant mean, linear least squares, nearest training sample and, where the data
allow it, the mean field by the index of the vertex and least squares on screened sums of charges:

python tools/baselines.py --config configs/airfrans/bsa.py

Each is judged on the test set of the config as a network is; results are written as tools/test.py writes its own, to
<folder>/<baseline>/test/metrics.json. The folder is "baselines" beside save_path unless --folder names another.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

if find_spec("pointcept_bsa") is None:  # run from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pointcept_bsa.arguments import DictAction, Parser
from pointcept_bsa.command import exit_code


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="config file; its data and features are used")
    parser.add_argument("--options", nargs="+", action=DictAction, default={}, help="key=value, as for the other tools")
    parser.add_argument(
        "--baselines", nargs="+", help="names as the results have them; default: all that the data allow"
    )
    parser.add_argument("--folder", help="where the results go")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0, or 2 for a mistake of the user."""

    def work() -> int:
        arguments = build_parser().parse_args(argv)
        from pointcept_bsa.analysis.baselines import run_baselines
        from pointcept_bsa.host import get_root_logger
        from pointcept_bsa.host.embedded.config import load_config

        cfg = load_config(arguments.config, arguments.options)
        folder = arguments.folder or Path(cfg.save_path).parent / "baselines"
        run_baselines(cfg, folder, get_root_logger(), arguments.baselines)
        return 0

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
