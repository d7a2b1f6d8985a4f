"""Write finished runs as one HTML page that opens without a network: results, curves, pictures, configs, environment.

python tools/report.py exp/ellipsoid_flow/bsa exp/ellipsoid_flow/erwin --output report.html

RUN is the folder of a run, or one that tools/train.py --seeds filled with seed_0, seed_1, ... As for tools/compare.py,
runs of other data, samples or length of training are refused unless --force is given; the page then begins with that.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

if find_spec("pointcept_bsa") is None:  # run from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pointcept_bsa.arguments import Parser
from pointcept_bsa.arguments.words import UNITS
from pointcept_bsa.command import exit_code


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a run or of several, or a metrics.json")
    parser.add_argument("--output", default="report.html", metavar="FILE", help="file to write (default report.html)")
    parser.add_argument("--title", help="heading of the page")
    parser.add_argument("--metrics", nargs="+", metavar="METRIC", help="columns; all that every run has, if left out")
    parser.add_argument("--units", choices=list(UNITS), default="physical", help="of the first table")
    parser.add_argument(
        "--reference",
        metavar="CONFIG",
        help="what the others are tested against: label or path (default: the first)",
    )
    parser.add_argument("--force", action="store_true", help="show together what cannot be compared, and say so")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0, or 2 for a mistake of the user."""

    def work() -> int:
        args = build_parser().parse_args(argv)
        from pointcept_bsa.analysis.report.page import write_report
        from pointcept_bsa.host.embedded.config import load_config
        from pointcept_bsa.training.runs.finished import find_runs

        runs = find_runs(args.runs, load_config)
        path = write_report(runs, args.output, args.title, args.metrics, args.units, args.force, args.reference)
        print(f"Written: {path} ({path.stat().st_size / 1e6:.1f} MB, {len(runs)} runs)")
        return 0

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
