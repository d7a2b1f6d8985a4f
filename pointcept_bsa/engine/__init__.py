"""What runs in both hosts: evaluation, testing, statistics. Importing this package registers its hooks and testers."""

from . import board, evaluator, molecular_dynamics_tester, normalizer_hook, tester  # noqa: F401
