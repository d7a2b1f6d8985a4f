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

from pointcept_bsa.arguments import Parser
from pointcept_bsa.command import exit_code
from pointcept_bsa.errors import InputError


def export(run: str, output: str) -> None:
    """Write the evaluated weights of ``run`` to ``output``."""
    from pointcept_bsa.pretrained import WARNING, find_checkpoint
    from pointcept_bsa.pretrained import export as exported
    from pointcept_bsa.training.checkpoints.export import save_safetensors

    source = find_checkpoint(run)
    weights, metadata = exported(source)
    if WARNING in metadata:
        print(f"WARNING: {metadata[WARNING]}")
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
