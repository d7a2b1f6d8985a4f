"""Train the model of a config file: ``python tools/train.py --config configs/ellipsoid_flow/bsa.py``.

With ``--seeds 3`` (or ``--seeds 0,1,2``) one training after the other, each tested, into save_path/seed_0, ...; then
save_path/seeds.{md,csv,tex,json} have mean and standard deviation over the seeds. The same command goes on after an
interruption.
"""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

if find_spec("pointcept_bsa") is None:  # run from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pointcept_bsa.arguments.train_and_test import train_parser
from pointcept_bsa.command import exit_code


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; see :mod:`pointcept_bsa.training.cli` for what it returns."""

    def work() -> int:
        arguments = train_parser().parse_args(argv)
        from functools import partial

        from pointcept_bsa.analysis.comparison.tables import summarize_seeds
        from pointcept_bsa.host.embedded.config import load_config
        from pointcept_bsa.training.cli import train

        return train(arguments, partial(summarize_seeds, load_config))

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
