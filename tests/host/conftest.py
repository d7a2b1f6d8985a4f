"""The toy trainings of ``tests/training``."""

from ..training.conftest import config, run_dir, toys  # noqa: F401
