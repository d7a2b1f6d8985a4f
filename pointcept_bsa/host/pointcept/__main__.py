"""Start Pointcept's ``tools/train.py`` or ``tools/test.py``, unmodified, from its checkout.

Every argument that is not named here, and all after ``--``, goes to Pointcept's tool (``--options``, ``--num-gpus``).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pointcept_bsa.arguments import Parser
from pointcept_bsa.arguments.carried import config_path
from pointcept_bsa.errors import InputError

INSIDE = Path(__file__).with_name("inside.py")


def main(argv: Sequence[str] | None = None) -> int:
    """Check the arguments and become the tool's process; returns (2) only for a user's mistake."""
    try:
        arguments, environment = prepare(sys.argv[1:] if argv is None else argv)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, str(INSIDE), *arguments], {**os.environ, **environment})


def prepare(argv: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The tool's arguments, and the environment that tells ``inside`` (also in spawned processes) what to do."""
    args, passed_on = parse(argv)
    tool = Path(args.pointcept, "tools", f"{args.tool}.py")
    if not tool.is_file() or not Path(args.pointcept, "pointcept").is_dir():
        raise InputError(f"--pointcept {args.pointcept!r}: wanted a checkout of Pointcept, with tools/{args.tool}.py")
    config = config_path(args.config)
    if not os.path.isfile(config):
        raise InputError(f"--config {args.config!r}: no such file")
    check_passed_on(passed_on)
    environment = {
        "PCBSA_HOST": "pointcept",
        "PCBSA_POINTCEPT_TOOL": str(tool.resolve()),
        "PCBSA_STUB_MISSING": "1" if args.stub_missing else "",
        "PCBSA_ON_CPU": "1" if args.cpu else "",
    }
    if args.cpu:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    return ["--config-file", os.path.abspath(config), *passed_on], environment


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Our arguments, and those to pass on."""
    parser = Parser(prog="python -m pointcept_bsa.host.pointcept", description=__doc__, allow_abbrev=False)
    parser.add_argument("tool", choices=("train", "test"), help="which of Pointcept's tools")
    parser.add_argument("--pointcept", required=True, metavar="DIR", help="Pointcept's checkout")
    parser.add_argument("--config", "--config-file", dest="config", required=True, metavar="FILE", help="config file")
    parser.add_argument(
        "--stub-missing",
        action="store_true",
        help="stand in for packages that Pointcept imports and that are not installed; using one is an error",
    )
    parser.add_argument("--cpu", action="store_true", help="run on the CPU: every .cuda() of Pointcept leaves it there")
    argv = list(argv)
    end = argv.index("--") if "--" in argv else len(argv)
    args, passed_on = parser.parse_known_args(argv[:end])
    return args, passed_on + argv[end + 1 :]


def check_passed_on(passed_on: Sequence[str]) -> None:
    """Refuse what Pointcept would take for something else."""
    if any(word.startswith("resume=") and "weights" in word for word in passed_on):
        raise InputError("resume=weights: Pointcept takes it for resume=True, wanted weight=PATH alone")
    if "resume=True" in passed_on and not any(word.startswith("weight=") for word in passed_on):
        raise InputError("resume=True: Pointcept starts anew without a checkpoint, wanted weight=PATH as well")


if __name__ == "__main__":
    sys.exit(main())
