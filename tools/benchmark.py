"""Compare networks in time, memory and operations, over sizes:

python tools/benchmark.py --config configs/shapenet_car/bsa.py configs/shapenet_car/full_attention.py \\
    --baseline configs/shapenet_car/full_attention.py --sizes 1024 4096 16384 65536 --dtype bf16
"""

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

if find_spec("pointcept_bsa") is None:  # run from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pointcept_bsa.arguments import parse_options
from pointcept_bsa.arguments.benchmark import benchmark_parser
from pointcept_bsa.command import exit_code


def load(path: str, options: Sequence[str]) -> Any:
    """The config, with ``options`` read as the other tools read theirs."""
    from pointcept_bsa.host.embedded.config import load_config

    return load_config(path, parse_options(options))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0, or 2 for a mistake of the user."""

    def work() -> int:
        arguments = benchmark_parser().parse_args(argv)
        from pointcept_bsa.training.processes.launch import launch

        return launch(measure, device=arguments.device, args=(arguments,))

    def measure(arguments: Any) -> int:
        from pointcept_bsa.analysis.benchmark.run import run
        from pointcept_bsa.analysis.benchmark.settings import Settings
        from pointcept_bsa.training.optimizer import build_optimizer
        from pointcept_bsa.training.scheduler import build_scheduler

        run(Settings(**vars(arguments)), load, build_optimizer, build_scheduler=build_scheduler)
        return 0

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
