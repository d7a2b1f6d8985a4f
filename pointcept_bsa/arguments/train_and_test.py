"""The command lines of ``tools/train.py`` and ``tools/test.py``."""

from __future__ import annotations

import argparse

from pointcept_bsa.arguments import DictAction, Parser


def run_parser(description: str, config_required: bool = True) -> argparse.ArgumentParser:
    """The arguments both tools take; Pointcept's, and ``--config`` for short."""
    parser = Parser(description=description)
    parser.add_argument(
        "--config", "--config-file", dest="config", required=config_required, metavar="FILE", help="config file"
    )
    parser.add_argument(
        "--options", nargs="+", action=DictAction, metavar="KEY=VALUE", help="config values: a.b=1 hooks.1.type=Z"
    )
    parser.add_argument(
        "--num-gpus", type=int, default=1, help="processes on this machine, a GPU each (device=cpu: none)"
    )
    parser.add_argument("--num-machines", type=int, default=1, help="number of machines")
    parser.add_argument("--machine-rank", type=int, default=0, help="which of them this is, from 0")
    parser.add_argument("--dist-url", default="auto", help="tcp://HOST:PORT of the first machine")
    return parser


def train_parser() -> argparse.ArgumentParser:
    """Of ``tools/train.py``."""
    parser = run_parser("Train the model of a config file.")
    parser.add_argument(
        "--seeds",
        metavar="N|A,B,...",
        help="one training after the other with seeds 0 to N - 1, or A, B, ...: into save_path/seed_A, ..., each "
        "tested; the same command goes on with what is not finished",
    )
    return parser


def test_parser() -> argparse.ArgumentParser:
    """Of ``tools/test.py``."""
    parser = run_parser("Test the model of a config file, or several finished runs as one.", config_required=False)
    parser.add_argument(
        "--export",
        metavar="F,G",
        help="files of every sample in test/export: vtp, vtu, vtk, ply, npz, csv; png: pictures of the best, the "
        "median and the worst sample",
    )
    parser.add_argument(
        "--ensemble",
        nargs="+",
        metavar="RUN",
        help="finished runs of the same data, in place of --config: their mean is tested, and their spread as the "
        "uncertainty of it; written to save_path, else to the folder 'ensemble' beside the first run",
    )
    return parser
