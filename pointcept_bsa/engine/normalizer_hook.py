"""Target statistics from the training data into the model, and the range of the data into the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pointcept_bsa.engine.training_range import FILE, describe_training_data
from pointcept_bsa.errors import InputError
from pointcept_bsa.files.json_file import write_json
from pointcept_bsa.host import HOOKS, HookBase, comm


@HOOKS.register_module("FitTargetNormalizer")
class FitTargetNormalizer(HookBase):
    """Before training, set the model's target normaliser from the training split's statistics.

    Put it before ``CheckpointLoader``, so that a loaded checkpoint keeps its own. Statistics written in the config
    are left alone.

    Also leaves ``training_range.json`` in the run's folder, by which ``tools/predict.py`` knows the target's names and
    warns of inputs unlike the training data, see :mod:`.training_range`. Data sets that are not ``PointFieldDataset``
    have none.
    """

    only_watches = True  # a resumed run has the statistics of its checkpoint
    training_range: dict[str, Any] | None = None

    def before_train(self) -> None:
        model = getattr(self.trainer.model, "module", self.trainer.model)
        normalizer = getattr(model, "normalizer", None)
        if normalizer is None:
            raise InputError(f"FitTargetNormalizer: model {type(model).__name__} has none, wanted a DefaultRegressor")
        dataset = self.trainer.train_loader.dataset
        if comm.is_main_process() and hasattr(dataset, "input_scales"):  # a PointFieldDataset, maybe wrapped
            self.training_range = describe_training_data(dataset)
        if bool(normalizer.fitted):
            self.trainer.logger.info("Target statistics: from the config")
            return
        statistics = dataset.target_statistics()
        normalizer.set(statistics["mean"], statistics["std"])
        self.trainer.logger.info(
            f"Target statistics: mean {statistics['mean']}, std {statistics['std']} ({statistics['source']})"
        )

    def before_epoch(self) -> None:
        """The folder is there by now."""
        if self.training_range is not None:
            write_json(Path(self.trainer.cfg.save_path) / FILE, self.training_range)
            self.training_range = None
