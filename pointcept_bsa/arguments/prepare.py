"""The command line of ``tools/prepare_data.py``."""

from __future__ import annotations

import argparse
from typing import Any

from pointcept_bsa.arguments import Parser

# The command line of ``tools/prepare_data.py custom``.

EXAMPLES = """examples
  what is there:   custom --src runs --dst data/mine --dry-run
  pressure:        custom --src runs --dst data/mine --target pressure --feature normal --unit pressure=Pa
  2-D velocity:    custom --src runs --dst data/mine --target "velocity[:2]" --feature wall_distance --wall-mask wall
  classes:         custom --src runs --dst data/mine --label material
  with parameters: custom --src runs --dst data/mine --target cp --feature mach alpha --parameters cases.csv

A sample is a .vtk .vtu .vtp .ply .stl .npz or .npy file below --src, a .vtm .pvtu or .pvtp with all the files it names,
or a folder of .npy arrays with coord.npy; where there are none, a .msh .inp .obj .off .vti .vtr .vts .cgns .case .foam
or .xdmf file (through pyvista); where these are missing, too, a .csv table of points. Its name is its path without the
suffix. Fields: see the dry run, which exits with 2 where a run would stop. STL files hold no fields: give .ply, .vtp or
.vtu. Constants that float32 would not survive (UTM
coordinates, 101325 Pa) are kept apart: see the card."""


def add_custom_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments of ``prepare_custom`` that other data sets do not have."""
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    command.epilog = EXAMPLES
    names: dict[str, Any] = {"nargs": "+", "default": (), "metavar": "FIELD", "action": _Names}
    add = command.add_argument
    add("--src", required=True, help="folder of your files")
    add("--target", help="point fields to predict; velocity[:2] takes columns", **names)
    add("--label", metavar="FIELD", help="instead of --target: integers, the class of each point (below 0: ignored)")
    add("--feature", help="fields given beside the coordinates; also normal, wall_distance, global parameters", **names)
    add("--unit", nargs="+", default=(), metavar="FIELD=UNIT", help="units, for the reports")
    add(
        "--surface-pressure",
        nargs="+",
        default=(),
        metavar="WORD",
        help="a target that is the pressure on a surface, for drag and lift of predictions: pressure density=1.2 "
        "velocity=30 flow=1,0,0 up=0,0,1 (of the stream; for a pressure coefficient: cp coefficient flow=.. up=..)",
    )
    add("--parameters", metavar="FILE", help=".csv or .json table of global parameters, a row a sample")
    add("--dimension", type=int, choices=(2, 3), help="of space (default: 2 if the first sample is flat in z)")
    add("--wall-mask", metavar="FIELD", help="point field above 0.5 on the wall: wall_distance is measured to there")
    add("--cells-to-points", action="store_true", help="average cell data to the points")
    add("--drop-loose-points", action="store_true", help="leave out points that belong to no cell")
    add("--columns", help="names of the columns of .npy tables: x y z pressure", **names)
    add("--split-file", metavar="FILE", help="JSON file of lists train, val, test of sample names")
    add("--fractions", nargs=2, type=float, metavar=("VAL", "TEST"), help="parts drawn for validation and test")
    add("--seed", type=int, default=0, help="of the draw (default 0)")
    add(
        "--whole-series",
        action="store_true",
        help="draw whole series, as the time steps of a simulation: samples of one folder, or of one name but for its "
        "last number",
    )
    add("--skip-bad", action="store_true", help="leave out samples that cannot be used, and say so in the card")


class _Names(argparse.Action):
    """Names separated by spaces or commas; those inside brackets are left alone."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        names = tuple(name for value in values for name in value.split(",") if name)
        setattr(namespace, self.dest, names)


# Arguments of the sets of simulated cars, for ``tools/prepare_data.py``.

SETS = {
    "drivaerml": "484 DrivAer notchbacks, surface and volume",
    "ahmedml": "500 Ahmed bodies, surface and volume",
    "windsorml": "355 Windsor bodies, surface and volume",
    "drivaernet": "DrivAerNet++: 8,000 DrivAer cars, surface and volume",
}


def add_car_sets(commands: argparse._SubParsersAction) -> list[argparse.ArgumentParser]:
    """A sub-command for each set."""
    parsers = []
    for name, about in SETS.items():
        parser = commands.add_parser(name, help=about)
        parser.add_argument("--src", required=True, help="folder of the published files")
        parser.add_argument(
            "--domains", nargs="+", default=["surface", "volume"], help="surface, volume (default both)"
        )
        parser.add_argument("--splits", help="published lists: a manifest.json, or a folder of {train,val,test}*.txt")
        parser.add_argument("--split", help="the protocol of the lists that is the default (else the first)")
        parser.add_argument("--coefficients", help="table of coefficients, where it is in another place")
        parser.add_argument("--without", dest="leave_out", nargs="+", default=[], help="cases to leave out")
        parser.add_argument("--rows", dest="keep", type=int, help="keep about so many random rows a domain (else all)")
        parser.add_argument(
            "--allow-partial", action="store_true", help="prepare the cases that are there (protocols '... partial')"
        )
        parsers.append(parser)
    return parsers


def prepare_parser(description: str) -> argparse.ArgumentParser:
    """A sub-command for each data set."""
    parser = Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="dataset", required=True)
    car = commands.add_parser("shapenet_car", help="889 car surfaces, pressure")
    hills = commands.add_parser("periodic_hills", help="29 periodic hills, mean velocity")
    elasticity = commands.add_parser("elasticity", help="2000 unit cells with a void, stress")
    cosmology = commands.add_parser("cosmology", help="halos of the Quijote simulations, velocity")
    md = commands.add_parser("md", help="trajectories of polymer chains, acceleration")
    airfoil = commands.add_parser("airfoil", help="1200 flows around airfoils, Mach number")
    pipe = commands.add_parser("pipe", help="1200 flows through pipes, velocity")
    plasticity = commands.add_parser("plasticity", help="980 blocks under a die, deformation at 20 times")
    eagle = commands.add_parser("eagle", help="1183 simulations of unsteady flow, velocity and pressure")
    plain = {
        hills: "periodic_hills_29.npz",
        elasticity: "folder of Random_UnitCell_{XY,sigma}_10.npy",
        cosmology: "folder of halos*{train,val,test}*.tfrecord",
        md: "folder of polymer_train, polymer_test and splits (lists of trajectories)",
        airfoil: "folder of NACA_Cylinder_{X,Y,Q}.npy",
        pipe: "folder of Pipe_{X,Y,Q}.npy",
        plasticity: "plas_N987_T20.mat",
        eagle: "folder of Cre, Spl, Tri and splits (lists of simulations)",
        commands.add_parser(
            "airfrans", help="200 airfoil surfaces, pressure coefficient"
        ): "airfrans_surface_cp_200.npz",
        commands.add_parser("beams", help="three soft beams, displacement"): "soft_tissue_beams_fem.npz",
        commands.add_parser("ventricle", help="one left ventricle, displacement"): "lv_passive_fem_15.npz",
        commands.add_parser("proteins", help="59 protein surfaces, potential"): "masif_pb_surface_59.npz",
        commands.add_parser("nbody", help="sub-boxes of dark matter, velocity"): "abacus_mini_n64_l32.npz",
    }
    custom = commands.add_parser("custom", help="your own mesh or array files")
    add_custom_arguments(custom)
    for command in (car, custom, *plain, *add_car_sets(commands)):
        command.add_argument("--dst", required=True, help="folder to write")
        command.add_argument("--dry-run", action="store_true", help="report what would be written, write nothing")
        command.add_argument("--overwrite", action="store_true", help="redo finished samples, replace other data")
    for command, source in plain.items():
        command.add_argument("--src", required=True, help=source)
    for command in (elasticity, cosmology, md, airfoil, pipe, plasticity, eagle):
        command.add_argument(
            "--allow-partial", action="store_true", help="accept other numbers of samples (protocol 'partial')"
        )
    car.add_argument(
        "--src", nargs="+", help="raw folder or shapenet_car_{mini,plaid_20}.npz; with --download: where to unpack"
    )
    car.add_argument("--download", dest="fetch", action="store_true", help="fetch the raw data first")
    car.add_argument("--url", default=argparse.SUPPRESS, help="another place of the archive (a mirror)")
    car.add_argument("--workers", type=int, default=1, help="threads (default 1)")
    car.add_argument(
        "--allow-partial", action="store_true", help="accept another number of cars than 889 (protocol 'partial')"
    )
    return parser
