"""Train the model of a config file: ``python tools/train.py --config configs/ellipsoid_flow/bsa.py``.

With ``--seeds 3`` (or ``--seeds 0,1,2``) one training after the other, each tested, into save_path/seed_0, ...; then
save_path/seeds.{md,csv,tex,json} have mean and standard deviation over the seeds. The same command goes on after an
interruption.
"""

import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path

if find_spec("pointcept_bsa") is None:  # run from a checkout that is not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pointcept_bsa.engine.comparison_tables import summarize_seeds
from pointcept_bsa.host.embedded.cli import train_main
from pointcept_bsa.host.embedded.config import load_config

if __name__ == "__main__":
    sys.exit(train_main(summarize=partial(summarize_seeds, load_config)))
