"""Put finished runs side by side: mean and standard deviation over seeds, costs, published results.

python tools/compare.py exp/ellipsoid_flow/bsa exp/ellipsoid_flow/erwin --output exp/comparison

RUN is the folder of a run, one that tools/train.py --seeds filled with seed_0, seed_1, ..., or any folder with such
below it; of a run its test/metrics.json is enough. Runs of equal config make a row. "better" and "worse" than the
reference (the first row) is what a paired test over samples and seeds says. Runs of other data, samples or length of
training are refused; --force compares them and says so in the table. --losses prints the training losses of runs,
finished or not, iteration by iteration.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

if find_spec("pointcept_bsa") is None:  # run from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pointcept_bsa.arguments import Parser
from pointcept_bsa.arguments.words import DENSITIES, UNITS
from pointcept_bsa.command import exit_code


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a run or of several, or a metrics.json")
    parser.add_argument(
        "--output", metavar="DIR", help="write compare.md, compare.csv, compare.tex, compare.json there"
    )
    parser.add_argument("--metrics", nargs="+", metavar="METRIC", help="columns; all that every run has, if left out")
    parser.add_argument("--units", choices=list(UNITS), default="physical", help="of the metrics")
    parser.add_argument(
        "--density",
        choices=list(DENSITIES),
        default="tested",
        help="of clouds with more points than those of training: whole, in pieces of as many, or as tested (default)",
    )
    parser.add_argument(
        "--reference",
        metavar="CONFIG",
        help="what the others are tested against: label or path (default: the first)",
    )
    parser.add_argument("--force", action="store_true", help="compare what cannot be compared, and say so")
    parser.add_argument("--losses", action="store_true", help="training losses side by side, and nothing else")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0, or 2 for a mistake of the user."""

    def work() -> int:
        arguments = build_parser().parse_args(argv)
        if arguments.losses:
            from pointcept_bsa.analysis.comparison.tables import loss_table

            print(loss_table(arguments.runs))
            return 0
        from pointcept_bsa.analysis.comparison.comparison import compare
        from pointcept_bsa.analysis.comparison.group import at_density
        from pointcept_bsa.analysis.comparison.tables import markdown, write_tables
        from pointcept_bsa.host.embedded.config import load_config
        from pointcept_bsa.training.runs.finished import find_runs

        runs = at_density(find_runs(arguments.runs, load_config), arguments.density)
        found = compare(runs, arguments.metrics, arguments.units, arguments.force, arguments.reference)
        if arguments.output:
            for path in write_tables(found, arguments.output):
                print(f"Written: {path}")
        print(markdown(found), end="")
        return 0

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
