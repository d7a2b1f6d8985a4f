"""What trained a checkpoint, kept in it, and whether a config may go on with it.

The record has every key of the config. On ``resume=True`` a key whose change would make another training of the rest is
refused; one that changes only where, how fast or how it is watched is taken and logged. So is a longer run, with the
schedule that belongs to its new length.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pointcept_bsa.errors import InputError
from pointcept_bsa.host.embedded import comm
from pointcept_bsa.host.embedded.config import DEFAULTS, DERIVED, TOLERATED, Config, config_hash, load_config
from pointcept_bsa.host.embedded.registry import HOOKS
from pointcept_bsa.old_names import present
from pointcept_bsa.training.runs.flat_config import ABSENT, flat_config, is_derived

if TYPE_CHECKING:
    from pointcept_bsa.training.trainer import DefaultTrainer

SHOWN = 4  # keys in a message
# Told by others: the folder, the seed (by whether it was asked for), what is loaded; what tools/tune.py alone reads.
NOT_RECORDED = (*DERIVED, "save_path", "resume")
NOT_COMPARED = (*TOLERATED, "weight", "seed", "search")
LENGTH = ("max_iters", "epoch", "eval_epoch", "eval_every")
CLOUDS = ("batch_size", "gradient_accumulation_steps")
# A change of these leaves the training as it is, but for the order of sums.
SAFE: tuple[str, ...] = ("num_worker", "device", "log_interval", "save_every", "keep_last", "batch_size_val")
SAFE += ("batch_size_test",)
SAFE += ("empty_cache", "empty_cache_per_epoch", "cuda_graph", "compile", "parallel", "deterministic", "pad_clouds")
SAFE += ("context_parallel",)
SAFE += ("find_unused_parameters", "nan_guard", "test_only", "test", "data.test", "data.train.cache", "data.val.cache")
ADVICE = "resume=weights begins a new run from its weights"


def record_of(cfg: Config, dataset: Any = None) -> dict[str, Any]:
    """``{"config": {dotted key: plain value}, "world_size": ..., "train": samples}`` of numbers, texts and lists.

    ``dataset``: of the training; its samples are told by their number and, where it has a card, their hash.
    """
    config = {key: plain(value) for key, value in flat_config(cfg, NOT_RECORDED).items() if key != "hooks"}
    config = {key: value for key, value in config.items() if not key.startswith("hooks.")}
    record: dict[str, Any] = {"config": config, "hooks": plain(cfg.hooks), "world_size": comm.get_world_size()}
    if dataset is not None:
        card = dataset.card() if hasattr(dataset, "card") else {}
        record["train"] = {"samples": len(dataset), "split_hash": card.get("split_hash")}
    return record


def plain(value: Any) -> Any:
    """Nested dicts and lists of numbers and texts; what is none of these, as its text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return " ".join(repr(value).split())[:200]


def check_record(trainer: DefaultTrainer, checkpoint: Mapping[str, Any], path: str) -> None:
    """Refuse a checkpoint that another config has trained, in one line with the keys; log the changes that are taken.

    Raises ``InputError``.
    """
    there = plain(checkpoint.get("record")) or _record_of_folder(trainer, checkpoint, path)
    if there is None:
        return
    here = record_of(trainer.cfg, trainer.train_loader.dataset)
    longer = trainer.max_iter >= checkpoint.get("total_iters", trainer.max_iter)
    refused: list[str] = []
    taken: list[str] = []
    for key, old, new in _differences(there, here):
        line = f"{key}: {_short(old)} there, {_short(new)} here"
        allowed = _is_safe(key) or (key in LENGTH and longer) or _is_moved(key, there, here)
        allowed = allowed or (key in CLOUDS and _clouds(there) == _clouds(here))
        (taken if allowed else refused).append(line)
    refused += _other_samples(there, here)
    if not trainer.cfg.get("seed_drawn", False) and checkpoint.get("seed", trainer.cfg.seed) != trainer.cfg.seed:
        refused.append(f"seed: {checkpoint['seed']} there, {trainer.cfg.seed} here")
    if refused:
        raise InputError(
            f"resume=True: the config is not the one that trained {path!r}: {listed(refused)}; set them as they were, "
            f"or {ADVICE}"
        )
    if taken:
        trainer.logger.info(f"resume=True: taken from this config: {'; '.join(taken)}")


def listed(lines: list[str]) -> str:
    """The first few, and how many more there are."""
    return "; ".join(lines[:SHOWN]) + (f"; and {len(lines) - SHOWN} more" if len(lines) > SHOWN else "")


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterable[tuple[str, Any, Any]]:
    """(key, value there, value here) of what is compared and not the same."""
    old, new = (dict(starmap(present, record["config"].items())) for record in (there, here))
    old, new = _with_hooks(old, there.get("hooks", [])), _with_hooks(new, here["hooks"])
    for key in sorted(old.keys() | new.keys()):
        if key.split(".")[0] in NOT_COMPARED or is_derived(key):
            continue
        left, right = (values.get(key, DEFAULTS.get(key, ABSENT)) for values in (old, new))
        if left is not right and left != right and not (left != left and right != right):  # NaN is NaN
            yield key, left, right


def _with_hooks(config: dict[str, Any], hooks: Any) -> dict[str, Any]:
    """With those hooks that do not only watch, as ``hooks.<type>.<argument>``."""
    for hook in hooks if isinstance(hooks, list) else []:
        kind = hook.get("type") if isinstance(hook, dict) else None
        if not isinstance(kind, str) or getattr(HOOKS.get(kind), "only_watches", False):
            continue
        name = f"hooks.{kind}"
        while name in config:
            name += "'"
        config[name] = "present"
        config |= {f"{name}.{key}": plain(value) for key, value in hook.items() if key != "type"}
    return config


def _is_safe(key: str) -> bool:
    return any(key == safe or key.startswith(f"{safe}.") for safe in SAFE)


def _is_moved(key: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> bool:
    """Whether a folder of data has another path now and the same samples."""
    hashes = [(record.get("train") or {}).get("split_hash") for record in (there, here)]
    return key.endswith(".data_root") and hashes[0] is not None and hashes[0] == hashes[1]


def _clouds(record: Mapping[str, Any]) -> Any:
    """Clouds an iteration."""
    sizes = [record["config"].get(key, DEFAULTS[key]) for key in CLOUDS]
    return sizes[0] * sizes[1] if all(isinstance(size, int) for size in sizes) else None


def _other_samples(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    old, new = there.get("train"), here["train"]
    if not isinstance(old, dict) or any(key.startswith("data.train.") for key, *_ in _differences(there, here)):
        return []  # said by its key
    number = [value["samples"] // (loop or 1) for value, loop in ((old, _loop(there)), (new, _loop(here)))]
    if number[0] != number[1]:
        return [f"data.train: {number[0]} samples there, {number[1]} here"]
    if old.get("split_hash") != new["split_hash"]:
        return [f"data.train: other samples (hash {old.get('split_hash')} there, {new['split_hash']} here)"]
    return []


def _loop(record: Mapping[str, Any]) -> int:
    """How often a pass repeats the data, see ``default_setup``."""
    config = record["config"]
    if config.get("max_iters") is not None:
        return 1
    return config.get("epoch", DEFAULTS["epoch"]) // config.get("eval_epoch", DEFAULTS["eval_epoch"])


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _record_of_folder(trainer: DefaultTrainer, checkpoint: Mapping[str, Any], path: str) -> dict[str, Any] | None:
    """For a checkpoint without a record, of an earlier version: from its hash, and the ``config.py`` that has it.

    None: its config is this one, or (Pointcept's own checkpoints) nothing is known.
    """
    known = checkpoint.get("config_hash")
    if known is None:
        trainer.logger.warning(f"{path} does not say what trained it: that it is of this config cannot be checked")
        return None
    if known == trainer.config_hash:
        return None
    config = Path(path).resolve().parent.parent / "config.py"
    if config.is_file():
        cfg = load_config(str(config))
        if known in (config_hash(cfg), config_hash(cfg, private=True)):  # earlier versions counted private names
            return record_of(cfg)
    raise InputError(
        f"resume=True: {path!r} was trained by another config (hash {known}, this one's is {trainer.config_hash}); it "
        f"is of an earlier version, which did not record the keys, and {config} is not its config, so which keys "
        f"differ cannot be told; {ADVICE}"
    )
