"""A look at all data of a run before anything that takes long: mistakes in what comes last are told first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pointcept_bsa.datasets.statistics import put_off
from pointcept_bsa.distributed import mesh
from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded.config import Config
from pointcept_bsa.host.embedded.registry import MODELS, build_dataset
from pointcept_bsa.training.env import seeded
from pointcept_bsa.training.evaluation.training_range import other_part
from pointcept_bsa.training.loader import SharedSamples, refuse_empty
from pointcept_bsa.training.processes.faults import guarded


def parts_of_training(cfg: Config) -> list[str]:
    """The data sets that a training reads: a test's only where a hook tests."""
    tests = any(hook.get("type") == "PreciseEvaluator" for hook in cfg.hooks)
    return ["train", *(["val"] if cfg.evaluate else []), *(["test"] if tests else [])]


def look_at_data(cfg: Config, parts: Iterable[str], for_network: bool = False) -> None:
    """Make each data set and its first sample as in the run, which is bounded work: statistics wait.

    Random states are as before afterwards.

    Args:
        parts: of "train", "val" and "test".
        for_network: whether the network of ``cfg`` is to take the samples.

    Raises:
        InputError: a data set that cannot be made, one whose samples are made otherwise than those of "train", one
            without samples (but for "val"), a first sample that cannot be read, does not go through its transforms or,
            ``for_network``, has other widths than the backbone takes.
    """
    with put_off(), seeded(0):
        datasets = {f"data.{part}": build_dataset(cfg.data[part], path=f"data.{part}") for part in parts}
        descriptions = {path: getattr(dataset, "input_description", None) for path, dataset in datasets.items()}
        for path, found in descriptions.items():
            trained = descriptions.get("data.train")
            other = None if trained is None or found is None else other_part(found, trained)
            if other is not None:  # whose numbers may be those of one sample here, and are not told
                raise InputError(
                    f"{path}: the samples have other {other} than those of the training, wanted its data and options"
                )
        for path, dataset in datasets.items():
            if path != "data.val":  # a protocol may have no validation samples: the evaluator says so
                refuse_empty(dataset, path)
            samples = SharedSamples(dataset, 0) if mesh.context_size() > 1 else dataset
            for sample in guarded((samples[0] for _ in range(len(samples))[:1]), path, workers=0):
                if for_network:
                    refuse_other_widths(cfg, sample, path)


def refuse_other_widths(cfg: Config, sample: Mapping[str, Any], path: str) -> None:
    """Raise ``InputError`` where a sample has other widths than the backbone is said to take.

    Only of models that say they hand their samples on as they are (``hands_on = True`` in the very class: one derived
    from it may add features), of backbones that want them so (``wants_widths = True``), and of what the config says.
    """
    backbone = cfg.model.get("backbone")
    if not isinstance(backbone, Mapping):
        return  # told where the model is built
    model, kind = (MODELS.get(str(each.get("type"))) for each in (cfg.model, backbone))
    if model is None or not vars(model).get("hands_on") or not getattr(kind, "wants_widths", False):
        return
    for key, argument in (("feat", "in_channels"), ("coord", "dimensionality")):
        wanted, found = backbone.get(argument), sample.get(key)
        if type(wanted) is int and found is not None and found.shape[-1] != wanted:
            raise InputError(
                f"{path}: {key}: got {found.shape[-1]} channels, wanted model.backbone.{argument}={wanted}"
            )
