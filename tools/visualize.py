"""Pictures of what a network does.

python tools/visualize.py receptive exp/shapenet_car/bsa --sample mini_car_0 --format png vtp
python tools/visualize.py influence exp/shapenet_car/erwin exp/shapenet_car/erwin_nsa --near 0 0.8 -2
python tools/visualize.py tree --config configs/periodic_hills/bsa.py
python tools/visualize.py scaling exp/benchmark
"""

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

if find_spec("pointcept_bsa") is None:  # run from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pointcept_bsa.arguments import DictAction, Parser
from pointcept_bsa.arguments.words import PICTURE_FORMATS, WHAT
from pointcept_bsa.command import exit_code


def build_parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:<10} {meaning}" for name, meaning in WHAT.items())
    parser = Parser(
        description=f"{__doc__}\nWHAT is one of\n{listed}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", metavar="WHAT", choices=WHAT, help="see above")
    parser.add_argument("runs", metavar="RUN", nargs="*", help="folder of a run, a checkpoint; a result for scaling")
    parser.add_argument("--config", nargs="+", default=[], metavar="FILE", help="networks as they begin, not trained")
    parser.add_argument("--split", default="test", help="part of the data (default %(default)s)")
    parser.add_argument("--sample", default="0", help="name or number of the sample (default %(default)s)")
    parser.add_argument("--point", type=int, help="number of the point asked about (default: one in the middle)")
    parser.add_argument("--near", type=float, nargs="+", metavar="X", help="or the point nearest to this place")
    parser.add_argument("--layer", type=int, default=-1, help="from 0, negative from the end (default: the last)")
    parser.add_argument("--view", type=float, nargs=2, default=(22.0, 130.0), metavar=("ELEVATION", "AZIMUTH"))
    parser.add_argument(
        "--format", nargs="+", default=["png"], choices=PICTURE_FORMATS, help="vtp: the cloud for ParaView"
    )
    parser.add_argument("--output", metavar="DIR", help="default: <RUN>/pictures, or exp/visualize")
    parser.add_argument(
        "--options", nargs="+", action=DictAction, default={}, metavar="KEY=VALUE", help="config values"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0, or 2 for a mistake of the user."""

    def work() -> int:
        args = build_parser().parse_args(argv)
        from pointcept_bsa.analysis.visualization.run import Settings, draw_scaling, visualize
        from pointcept_bsa.training.runs.opened_run import open_config, open_run

        output = Path(args.output) if args.output else None
        if args.what == "scaling":
            written = [draw_scaling(args.runs, (output or Path("exp/visualize")) / "scaling.png")]
        else:
            runs = [open_run(run, args.options) for run in args.runs]
            runs += [open_config(path, args.options) for path in args.config]
            view = (args.view[0], args.view[1])
            settings = Settings(
                args.what, args.split, args.sample, args.point, args.near, args.layer, args.format, view, output
            )
            written = visualize(settings, runs)
        print("\n".join(map(str, written)))
        return 0

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
