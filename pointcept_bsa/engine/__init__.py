"""What runs in both hosts: evaluation, testing, statistics. Importing this package registers its hooks and testers."""

from . import evaluator, normalizer_hook, tester  # noqa: F401
