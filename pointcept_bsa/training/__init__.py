"""Trainings: the trainer and its loaders, hooks, checkpoints, evaluators and testers; see :mod:`.registered`."""
