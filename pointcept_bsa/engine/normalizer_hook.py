"""Target statistics from the training data into the model."""

from __future__ import annotations

from pointcept_bsa.errors import InputError
from pointcept_bsa.host import HOOKS, HookBase


@HOOKS.register_module("FitTargetNormalizer")
class FitTargetNormalizer(HookBase):
    """Before training, set the model's target normaliser from the training split's statistics.

    Put it before ``CheckpointLoader``, so that a loaded checkpoint keeps its own. Statistics written in the config
    are left alone.
    """

    def before_train(self) -> None:
        model = getattr(self.trainer.model, "module", self.trainer.model)
        normalizer = getattr(model, "normalizer", None)
        if normalizer is None:
            raise InputError(f"FitTargetNormalizer: model {type(model).__name__} has none, wanted a DefaultRegressor")
        if bool(normalizer.fitted):
            self.trainer.logger.info("Target statistics: from the config")
            return
        statistics = self.trainer.train_loader.dataset.target_statistics()
        normalizer.set(statistics["mean"], statistics["std"])
        self.trainer.logger.info(
            f"Target statistics: mean {statistics['mean']}, std {statistics['std']} ({statistics['source']})"
        )
