"""Write a trained model as one ``.safetensors`` file: weights, config as data, target statistics and version.

No code: what of the config builds the model and its inputs stands there as JSON (see docs/config.md).

python tools/export.py exp/shapenet_car/bsa --output model.safetensors
python tools/test.py --config exp/shapenet_car/bsa/config.py --options weight=model.safetensors
"""

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

if find_spec("pointcept_bsa") is None:  # run from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pointcept_bsa import __version__
from pointcept_bsa.arguments import Parser
from pointcept_bsa.command import exit_code
from pointcept_bsa.errors import InputError


def find_checkpoint(run: str) -> Path:
    """The checkpoint that ``run`` names, or the best, else the last of the run in that folder."""
    from pointcept_bsa.host.weight import resolve_weight

    found = run if Path(run).is_file() else resolve_weight(None, run)
    if found is None:
        raise InputError(f"RUN {run!r}: neither a checkpoint nor a folder with model/model_best.pth or model_last.pth")
    return Path(found)


def export(run: str, output: str) -> None:
    """Write the evaluated weights of ``run`` (their moving average, where one was kept) to ``output``."""
    from pointcept_bsa.engine.constant import WARNING, warning_of_folder
    from pointcept_bsa.engine.prediction.network import POINTS
    from pointcept_bsa.engine.training_points import training_points
    from pointcept_bsa.engine.training_range import FILE as TRAINING_RANGE
    from pointcept_bsa.host.embedded.checkpoint import evaluated_weights, load_checkpoint
    from pointcept_bsa.host.embedded.config import load_config
    from pointcept_bsa.host.embedded.export import metadata_of, save_safetensors
    from pointcept_bsa.host.embedded.opened_run import run_folder
    from pointcept_bsa.host.embedded.portable_config import portable_config

    source = find_checkpoint(run)
    folder = run_folder(source)
    if folder is None:
        raise InputError(f"RUN {run!r}: not in the folder of a run, <run>/model beside <run>/config.py")
    config = portable_config(load_config(str(folder / "config.py")))
    checkpoint = load_checkpoint(source)
    weights = evaluated_weights(checkpoint)
    metadata = metadata_of(checkpoint, source, config, __version__)
    training_range = folder / TRAINING_RANGE
    if training_range.is_file():
        metadata[TRAINING_RANGE] = training_range.read_text(encoding="utf-8")
    points = training_points(folder, {})
    if points is not None:
        metadata[POINTS] = points.to_json()
    if (warning := warning_of_folder(folder)) is not None:
        metadata[WARNING] = warning
        print(f"WARNING: {warning}")
    save_safetensors(output, weights, metadata)
    count = sum(weight.numel() for weight in weights.values())
    print(f"{output}: {len(weights)} tensors, {count:,} numbers, from {source}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0, or 2 for a mistake of the user."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", help="folder of a run, or one of its checkpoints")
    parser.add_argument("--output", required=True, metavar="FILE", help="file to write, model.safetensors")

    def work() -> int:
        args = parser.parse_args(argv)
        if not args.output.endswith(".safetensors"):
            raise InputError(f"--output {args.output!r}: expected a name that ends in .safetensors")
        export(args.run, args.output)
        return 0

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
