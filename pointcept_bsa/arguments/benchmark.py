"""The command line of ``tools/benchmark.py``."""

from __future__ import annotations

import argparse

from pointcept_bsa.arguments import Parser
from pointcept_bsa.arguments.words import DTYPES, MODES

DESCRIPTION = """Time the networks of configs on synthetic clouds and compare them in one table.

A config is PATH, NAME=PATH, PATH:KEY=VALUE,... or NAME=PATH:KEY=VALUE,...; so
  --config configs/shapenet_car/bsa.py gc=configs/shapenet_car/bsa.py:model.backbone.group_compression=True
compares one config with a variant of itself.
  --backbones all --sizes 1024 4096
compares a network of each kind there is.

--tree N ... times ball trees, with or without --config; --losses STEPS trains instead of timing, with the
schedule of the config over so many steps; --seeds N says from how many starts; --queries N predicts so many points
from anchors, whose number --sizes gives."""


def benchmark_parser() -> argparse.ArgumentParser:
    """Its arguments are those of :class:`pointcept_bsa.analysis.benchmark.settings.Settings`."""
    parser = Parser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", nargs="+", default=[], metavar="CONFIG", help="what to compare, see above")
    parser.add_argument(
        "--backbones",
        nargs="+",
        default=[],
        metavar="NAME",
        help="backbones by their registered names, or all, each as its config for ShapeNet-Car has it",
    )
    parser.add_argument("--sizes", nargs="+", type=int, default=[], metavar="N", help="points a cloud")
    parser.add_argument("--baseline", metavar="CONFIG", help="what the ratios refer to: one of --config or another")
    parser.add_argument("--dtype", choices=DTYPES, default="fp32", help="bf16 is autocast (default %(default)s)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--repeats", type=int, default=20, help="timed calls a case (default %(default)s)")
    parser.add_argument("--warmup", type=int, default=5, help="calls before them (default %(default)s)")
    parser.add_argument("--batch-size", type=int, default=1, help="clouds a batch (default %(default)s)")
    parser.add_argument("--max-seconds", type=float, default=60.0, help="limit of a case (default %(default)s)")
    parser.add_argument("--skip-train", action="store_true", help="forward pass only")
    parser.add_argument(
        "--mode",
        dest="modes",
        type=lambda words: tuple(words.split(",")),
        default=MODES[0],
        metavar="MODE,...",
        help="of eager, graph (CUDA graphs of the forward and of the whole train step), compile (default %(default)s)",
    )
    parser.add_argument(
        "--reference", action="store_true", help="each config once more with its operators in plain torch"
    )
    parser.add_argument(
        "--static-geometry",
        action="store_true",
        help="trees of the points and neighbours are given, as data sets may cache them; not made in each call",
    )
    parser.add_argument("--erwin-checkout", metavar="DIR", help="the published code beside each Erwin-v1m1 config")
    parser.add_argument(
        "--extrapolate-depth",
        action="store_true",
        help="in place of a case that is too slow, its backbone with one block and with two, and a line through them",
    )
    parser.add_argument("--tree", nargs="+", type=int, default=[], metavar="N", help="time the ball trees of so many")
    parser.add_argument("--queries", type=int, metavar="N", help="predict N points from anchors, as many as --sizes")
    parser.add_argument("--chunk", type=int, default=32768, help="of them at a time (default %(default)s)")
    parser.add_argument(
        "--context-parallel",
        nargs="+",
        type=int,
        default=[],
        metavar="R",
        help="under torchrun: clouds shared by R of the processes, the bandwidth between them, and what 160 million "
        "points would take on 8, 64 and 512; with --losses train with each R and compare",
    )
    parser.add_argument(
        "--losses", type=int, metavar="STEPS", help="train with kernels and in plain torch, or each R; compare"
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="trainings of --losses (default %(default)s)")
    parser.add_argument(
        "--profile", action="store_true", help="also what one more call spends its time on, by kernel (profile.csv)"
    )
    parser.add_argument("--options", nargs="+", default=[], metavar="KEY=VALUE", help="config values of all configs")
    parser.add_argument("--output", default="exp/benchmark", metavar="DIR", help="default %(default)s")
    return parser
