"""Predict on your own meshes and clouds with a trained network; the result opens in ParaView.

python tools/predict.py --weight exp/shapenet_car/bsa --input car.stl --output car.vtp
python tools/predict.py --weight exp/shapenet_car/bsa --input cars/*.vtk --output predicted/ --velocity 30 --density 1.2
python tools/predict.py --weight exp/cars_joint/bsa --input surface=car.vtp volume=air.vtu --output predicted/
python tools/predict.py --weight exp/periodic_hills/bsa --input hill.vtu --output out.vtu --field wall_distance=d

RUN is the folder of a run, one of its checkpoints, or a file of tools/export.py. Inputs are .vtk .vtu .vtp .ply .stl
.npz .npy .csv; of a network with domains the files of one sample, one of each. Every field of the input is kept;
predicted_<name> is added on its points and, as their mean, on its cells.
Under torchrun all processes share each cloud, a part of its points each.
Networks of surface pressure also give forces and moments of every mesh with faces, by pressure (and wall shear stress,
where they predict it).
"""

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

if find_spec("pointcept_bsa") is None:  # run from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pointcept_bsa.arguments import DictAction, Parser
from pointcept_bsa.arguments.numbers import number_or_numbers
from pointcept_bsa.arguments.words import FORMATS
from pointcept_bsa.command import exit_code
from pointcept_bsa.errors import InputError


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weight", required=True, metavar="RUN", help="see above")
    parser.add_argument("--input", nargs="+", required=True, metavar="FILE", help="meshes or clouds, or DOMAIN=FILE")
    parser.add_argument("--output", required=True, metavar="OUT", help="a file (for one input), or a folder")
    parser.add_argument("--format", choices=FORMATS, help="of the files in a folder (default vtp, of .vtu files vtu)")
    parser.add_argument(
        "--field",
        nargs="+",
        default=[],
        metavar="NAME=X",
        help="an input field: its name in the file, or numbers 1,2,3",
    )
    parser.add_argument("--max-points", type=int, metavar="N", help="larger clouds are predicted in random pieces")
    parser.add_argument(
        "--anchors",
        type=number_or_numbers,
        metavar="N|DOMAIN=N,...",
        help="encode N random points once (of each domain), predict all as queries of them",
    )
    parser.add_argument("--density", type=float, help="of the stream (default: that of training)")
    parser.add_argument("--velocity", type=float, help="of the stream (default: that of training)")
    parser.add_argument("--area", type=float, help="reference area (default: the silhouette along the stream)")
    parser.add_argument("--flow", type=float, nargs=3, metavar=("X", "Y", "Z"), help="direction of the stream")
    parser.add_argument("--up", type=float, nargs=3, metavar=("X", "Y", "Z"), help="direction of lift")
    parser.add_argument(
        "--about", type=float, nargs=3, metavar=("X", "Y", "Z"), help="the point that moments are about (default 0 0 0)"
    )
    parser.add_argument(
        "--options", nargs="+", action=DictAction, default={}, metavar="KEY=VALUE", help="config values"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0, or 2 for a mistake of the user."""

    def work() -> int:
        args = build_parser().parse_args(argv)
        fields = dict(pair.partition("=")[::2] for pair in args.field)
        if len(fields) != len(args.field):
            raise InputError(f"--field: got {' '.join(args.field)}, wanted every field once")
        for name, value in fields.items():
            if not name or not value:
                raise InputError(f"--field {name}: wanted NAME=X, a name in the file or numbers")
        from pointcept_bsa.analysis.prediction.run import Settings, predict_files
        from pointcept_bsa.training.processes.launch import sharing_clouds
        from pointcept_bsa.training.processes.parallel import check_shares_clouds
        from pointcept_bsa.training.runs.opened_run import open_run

        names = ("format", "max_points", "anchors", "density", "velocity", "area", "flow", "up", "about")
        settings = Settings(args.input, args.output, fields=fields, **{name: getattr(args, name) for name in names})

        def predict() -> int:
            run = open_run(args.weight, args.options)
            check_shares_clouds(run.model)
            predict_files(settings, run.cfg, run.model, run.folder, run.metadata)
            return 0

        return sharing_clouds(predict, args.options.get("device", "auto"))

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
