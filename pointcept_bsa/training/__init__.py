"""Trainings: the trainer and its loaders, hooks, checkpoints, evaluators and testers; see :mod:`.registered`."""

from pointcept_bsa.exports import lazy

_HOMES = {
    "AnchoredModel": "evaluation.anchored",
    "BoardWriter": "evaluation.board",
    "BoundedModel": "evaluation.bounded",
    "CheckpointLoader": "hooks.checkpoint",
    "CheckpointSaver": "hooks.checkpoint",
    "DefaultTrainer": "trainer",
    "DescribeTrainingData": "evaluation.training_range",
    "FitTargetNormalizer": "evaluation.training_range",
    "InformationWriter": "hooks.information",
    "IterationTimer": "hooks.information",
    "ModelHook": "hooks.information",
    "MolecularDynamicsTester": "evaluation.molecular_dynamics_tester",
    "Muon": "muon",
    "PreciseEvaluator": "hooks.checkpoint",
    "RegressionEvaluator": "evaluation.evaluator",
    "RegressionTester": "evaluation.tester",
    "Run": "runs.finished",
    "SemSegEvaluator": "semantic_segmentation",
    "SemSegTester": "semantic_segmentation",
    "build_optimizer": "optimizer",
    "build_scheduler": "scheduler",
    "count_flops": "evaluation.flops",
    "evaluated_weights": "checkpoints.checkpoint",
    "exit_code": "cli",
    "find_runs": "runs.finished",
    "load_checkpoint": "checkpoints.checkpoint",
    "load_safetensors": "checkpoints.export",
    "load_weights": "checkpoints.checkpoint",
    "open_run": "runs.opened_run",
    "outward_surface": "evaluation.surface",
    "pressure_forces": "evaluation.forces",
    "save_safetensors": "checkpoints.export",
    "test_main": "cli",
    "train_main": "cli",
}

__all__ = sorted(_HOMES)
__getattr__ = lazy(__name__, _HOMES)
