"""The command line of ``tools/prepare_data.py custom``."""

from __future__ import annotations

import argparse
from typing import Any

EXAMPLES = """examples
  what is there:   custom --src runs --dst data/mine --dry-run
  pressure:        custom --src runs --dst data/mine --target pressure --feature normal --unit pressure=Pa
  2-D velocity:    custom --src runs --dst data/mine --target "velocity[:2]" --feature wall_distance --wall-mask wall
  classes:         custom --src runs --dst data/mine --label material
  with parameters: custom --src runs --dst data/mine --target cp --feature mach alpha --parameters cases.csv

A sample is a .vtk .vtu .vtp .ply .stl .npz or .npy file below --src, a .vtm .pvtu or .pvtp with all the files it names,
or a folder of .npy arrays with coord.npy; where there are none, a .msh .inp .obj .off .vti .vtr .vts .cgns .case .foam
or .xdmf file (through pyvista). Its name is its path without the suffix. Fields: see the dry run, which exits with 2
where a run would stop. STL files hold no fields: give .ply, .vtp or .vtu. Constants that float32 would not survive (UTM
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
    add("--skip-bad", action="store_true", help="leave out samples that cannot be used, and say so in the card")


class _Names(argparse.Action):
    """Names separated by spaces or commas; those inside brackets are left alone."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        names = tuple(name for value in values for name in value.split(",") if name)
        setattr(namespace, self.dest, names)
