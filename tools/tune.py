"""Search for the settings with which a config is at its best, on validation alone.

python tools/tune.py --config configs/periodic_hills/erwin.py --trials 20 --budget 1000 --processes 4

The config's key `search` says what is searched (configs/_base_/search.py). The first trial is the config as it stands.
Trials are trained for --budget iterations and stopped early where the validation says that they are behind; the test
set is never read. The study is on the disk: the same command goes on after an interruption, more --trials add to it.
In the end there are, in --output: best.py (a config that inherits from the one given), trials.md, trials.csv,
importance.png. With --lr-range there is no search but a learning-rate range test: lr_range.png, lr_range.csv.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

if find_spec("pointcept_bsa") is None:  # run from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pointcept_bsa.arguments import DictAction, Parser
from pointcept_bsa.arguments.words import PRUNERS
from pointcept_bsa.command import exit_code


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", "--config-file", dest="config", required=True, metavar="FILE", help="config file")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--trials", type=int, metavar="N", help="in all, with those already made")
    what.add_argument(
        "--lr-range",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="no search: one training while the learning rate rises from LOW to HIGH; says which to take",
    )
    parser.add_argument("--budget", type=int, required=True, metavar="ITERATIONS", help="length of a trial")
    parser.add_argument("--processes", type=int, default=1, metavar="P", help="trials at a time, spread over the GPUs")
    parser.add_argument("--output", metavar="DIR", help="folder of the study (default: save_path/tune)")
    parser.add_argument(
        "--evaluations", type=int, metavar="N", help="of a trial (default: as many as of the config's run, at most 10)"
    )
    parser.add_argument("--pruner", choices=PRUNERS, default="median", help="what stops trials early (default median)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws, and of the trainings unless the config's")
    parser.add_argument(
        "--options", nargs="+", action=DictAction, metavar="KEY=VALUE", help="config values: a.b=1 hooks.1.type=Z"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0, or 2 for a mistake of the user, 130 or 143 for an interruption."""

    def work() -> int:
        arguments = vars(build_parser().parse_args(argv))
        from pointcept_bsa.analysis.tune.run import StudyInterrupted, Wanted, find_learning_rate, tune
        from pointcept_bsa.analysis.tune.worker import Engine
        from pointcept_bsa.host.embedded import config
        from pointcept_bsa.training import trial

        engine = Engine(
            load=config.load_config,
            check=config.check_config,
            hash=config.config_hash,
            shorten=trial.shorten,
            train=trial.train_trial,
            stopped=trial.TrialStopped,
            release=trial.release_device,
            sweep=trial.sweep_learning_rate,
        )
        rates = arguments.pop("lr_range")
        wanted = Wanted(**{**arguments, "options": arguments["options"] or {}})
        try:
            if rates is not None:
                find_learning_rate(wanted, rates, engine)
            else:
                tune(wanted, engine)
        except StudyInterrupted as interrupted:
            print(interrupted, file=sys.stderr, flush=True)
            return 128 + interrupted.number
        return 0

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
