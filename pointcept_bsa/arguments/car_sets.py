"""Arguments of the sets of simulated cars, for ``tools/prepare_data.py``."""

from __future__ import annotations

import argparse

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
