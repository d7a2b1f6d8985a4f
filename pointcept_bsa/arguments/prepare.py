"""The command line of ``tools/prepare_data.py``."""

from __future__ import annotations

import argparse

from pointcept_bsa.arguments import Parser
from pointcept_bsa.arguments.car_sets import add_car_sets
from pointcept_bsa.arguments.custom import add_custom_arguments


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
