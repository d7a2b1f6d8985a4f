"""Target statistics from the training data into the model, and the range of the data into the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pointcept_bsa.datasets.transforms import fields_read
from pointcept_bsa.errors import InputError
from pointcept_bsa.files.json_file import write_json
from pointcept_bsa.host import HOOKS, HookBase, comm
from pointcept_bsa.training.evaluation.domains import check_domains
from pointcept_bsa.training.evaluation.training_range import FILE, describe_training_data, refuse_other_inputs


@HOOKS.register_module("DescribeTrainingData")
class DescribeTrainingData(HookBase):
    """Leaves ``training_range.json`` in the run's folder, see :mod:`.training_range`.

    By it ``tools/predict.py`` knows how samples are made and what the target is, and warns of inputs unlike the
    training data. Data sets that are not ``PointFieldDataset`` have none. Refuses validation samples that are made
    otherwise than those of the training, and tells of fields that are not used.
    """

    only_watches = True
    training_range: dict[str, Any] | None = None

    def before_train(self) -> None:
        dataset = self.trainer.train_loader.dataset
        check_domains(getattr(self.trainer.model, "module", self.trainer.model), dataset)
        validation = getattr(getattr(self.trainer, "val_loader", None), "dataset", None)
        if hasattr(dataset, "input_description") and hasattr(validation, "input_description"):
            refuse_other_inputs(validation, dataset.input_description, "data.train")
        if comm.is_main_process() and hasattr(dataset, "input_scales"):  # a PointFieldDataset, maybe wrapped
            self.training_range = describe_training_data(dataset)
            self._tell_unused(dataset)

    def _tell_unused(self, dataset: Any) -> None:
        """A line about fields of own data that no transform makes use of; to scale or to turn them is no use."""
        described = dataset.input_description
        transforms = [dict(each) for each in self.trainer.cfg.data.train.get("transform") or []]
        needed = fields_read([each | {"vector_keys": ()} for each in transforms if each["type"] != "ScaleField"])
        unused = [info.key for info in (described.fields or () if described.recipe else ()) if info.key not in needed]
        if unused:
            self.trainer.logger.warning(
                f"data.train: fields of the data that are NOT USED, no transform takes them: {', '.join(unused)} "
                "(feat_keys of CollectPoints makes them inputs; fields=(...) of the data set chooses)"
            )

    def before_epoch(self) -> None:
        """The folder is there by now."""
        if self.training_range is not None:
            write_json(Path(self.trainer.cfg.save_path) / FILE, self.training_range)
            self.training_range = None


@HOOKS.register_module("FitTargetNormalizer")
class FitTargetNormalizer(DescribeTrainingData):
    """Before training, set the model's target normaliser from the training split's statistics.

    Put it before ``CheckpointLoader``, so that a loaded checkpoint keeps its own (a resumed run has the statistics of
    its checkpoint). Statistics written in the config are left alone. Does what :class:`DescribeTrainingData` does, too.
    """

    def before_train(self) -> None:
        model = getattr(self.trainer.model, "module", self.trainer.model)
        normalizer = getattr(model, "normalizer", None)
        if normalizer is None:
            raise InputError(f"FitTargetNormalizer: model {type(model).__name__} has none, wanted a DefaultRegressor")
        super().before_train()
        dataset = self.trainer.train_loader.dataset
        self._fit_scalars(getattr(model, "scalars", None), dataset)
        if bool(normalizer.fitted) and hasattr(dataset, "target_offset") and dataset.target_offset().any():
            raise InputError(
                "model.normalizer: got mean and std, but the data give the target without the constant "
                f"{dataset.target_offset().tolist()}; wanted neither, so that they come from the data"
            )
        if bool(normalizer.fitted):
            self.trainer.logger.info("Target statistics: from the config")
            return
        statistics = dataset.target_statistics()
        targets, width = len(statistics["mean"]), getattr(getattr(model, "head", None), "out_channels", None)
        if width == len(normalizer.mean) != targets:
            raise InputError(
                f"target: got {targets} channels, the head has {width}; wanted head.out_channels equal to the targets "
                "of the data set"
            )
        normalizer.set(statistics["mean"], statistics["std"])
        self.trainer.logger.info(
            f"Target statistics: mean {statistics['mean']}, std {statistics['std']} ({statistics['source']})"
        )

    def _fit_scalars(self, branch: Any, dataset: Any) -> None:
        """The same of numbers of whole clouds, where the model predicts some."""
        if branch is None or bool(branch.normalizer.fitted):
            return
        if not getattr(dataset, "scalar_names", ()):
            raise InputError(
                f"model.scalars: got one, but {type(dataset).__name__} gives none, wanted its scalars=(...)"
            )
        statistics = dataset.scalar_statistics()
        branch.normalizer.set(statistics["mean"], statistics["std"])
        told = ", ".join(
            f"{name} {mean:.4g} +- {std:.3g}"
            for name, mean, std in zip(dataset.scalar_names, statistics["mean"], statistics["std"], strict=True)
        )
        self.trainer.logger.info(f"Scalar statistics: {told} ({statistics['source']})")
