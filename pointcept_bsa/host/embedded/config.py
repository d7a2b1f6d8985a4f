"""Config files: Pointcept's keys, read by mmengine, checked here.

A config is plain Python with ``_base_``, ``_delete_`` and ``custom_imports``; ``--options a.b=1 hooks.1.type=Z``
changes single values. ``DEFAULTS`` has the value of every runtime key a config leaves out, as
``configs/_base_/default_runtime.py`` says, where each key is explained.
"""

from __future__ import annotations

import hashlib
import os
import runpy
from collections.abc import Callable, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from pointcept_bsa.arguments import DictAction
from pointcept_bsa.arguments.carried import carried, config_names, config_path
from pointcept_bsa.arguments.given import note_paths
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.host.embedded.config_text import plain_values, python_text, short
from pointcept_bsa.host.embedded.registry import register_the_package

__all__ = [
    "DEFAULTS",
    "Config",
    "DictAction",
    "check_config",
    "check_values",
    "complete_config",
    "config_hash",
    "config_text",
    "load_config",
    "merge_options",
    "run_custom_imports",
]

REQUIRED = ("model", "data", "optimizer", "scheduler", "hooks", "test")
# Names other than keys that configs define for their own use, and keys of Pointcept without a meaning here.
DERIVED = (
    "batch_size_per_gpu",
    "batch_size_val_per_gpu",
    "batch_size_test_per_gpu",
    "num_worker_per_gpu",
    "seed_drawn",
)
TOLERATED = ("custom_imports", "dataset_type", "data_root", "wandb_project", "wandb_key")
DEFAULTS: dict[str, Any] = {
    key: value
    for key, value in runpy.run_path(str(carried("configs") / "_base_" / "default_runtime.py")).items()
    if key not in (*REQUIRED, *TOLERATED) and not key.startswith("_")
}


def load_config(path: str, options: Mapping[str, Any] | None = None) -> Config:
    """Read a config file, apply ``options`` and check it. Raises ``InputError``.

    ``path`` may name a config that the package carries, see :func:`.carried.config_path`.
    """
    path = config_path(path)
    if not os.path.isfile(path):
        hint = nearest(path.removeprefix("configs/").removesuffix(".py"), config_names())
        what = "is a folder, wanted a file" if os.path.isdir(path) else "no such file"
        raise InputError(f"--config {path!r}: {what}{hint}")
    _refuse_other_files(path, f"--config {path!r}")
    try:
        _refuse_other_bases(os.path.abspath(path))
        cfg = Config.fromfile(path, lazy_import=False, import_custom_modules=False)
    except InputError:
        raise
    except Exception as error:
        if isinstance(error, UnboundLocalError) and isinstance(error.__context__, OSError):
            reason = f"the folder of temporary files cannot be used ({error.__context__}); TMPDIR names another"
            raise InputError(f"--config {path!r}: {reason}") from error
        raise InputError(f"--config {path!r}: {type(error).__name__}: {error}") from error
    run_custom_imports(cfg)
    complete_config(cfg, options or {})
    return cfg


def complete_config(cfg: Config, options: Mapping[str, Any]) -> None:
    """Apply ``options`` to what a file says, add what it leaves out, and check it. Raises ``InputError``."""
    merge_options(cfg, options)
    note_paths([cfg[key] for key in cfg])
    for key in list(cfg):
        cfg[key] = plain_values(cfg[key], str(key))
    for key, value in DEFAULTS.items():
        if key not in cfg:
            cfg[key] = value
    check_config(cfg)


def _refuse_other_files(path: str, where: str) -> None:
    """A config is Python. mmengine reads YAML and JSON, too, and runs what a YAML file says, which looks like data."""
    if not str(path).endswith(".py"):
        raise InputError(f"{where}: wanted a Python file, its name ending in .py")


def _refuse_other_bases(path: str, seen: frozenset[str] = frozenset()) -> None:
    for base in Config._get_base_files(path) if path not in seen else ():
        _refuse_other_files(base, f"_base_={base!r} in {path}")
        inner = os.path.join(os.path.dirname(path), base)
        if os.path.isfile(inner):
            _refuse_other_bases(os.path.normpath(inner), seen | {path})


def run_custom_imports(cfg: Config) -> None:
    """Import what ``custom_imports`` names; a name that cannot be found is an ``InputError``."""
    imports = cfg.get("custom_imports")
    if imports is None or (isinstance(imports, dict) and not imports):
        return
    names = imports.get("imports") if isinstance(imports, dict) else None
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"custom_imports={short(imports)}: wanted a dict with a list of modules, 'imports'")
    if "pointcept_bsa" in names:
        register_the_package()
    try:
        import_modules_from_strings(**imports)
    except (ImportError, TypeError, ValueError) as error:
        raise InputError(f"custom_imports={short(imports)}: {' '.join(str(error).split())}{_where(error)}") from error


def _where(error: BaseException) -> str:
    """What to do about a module that was not found."""
    cause = error.__context__ or error
    if not isinstance(cause, ModuleNotFoundError):
        return ""
    return (
        f"; no module {cause.name!r} in the folders of sys.path: install it, or name its folder in PYTHONPATH "
        f"(PYTHONPATH=. for {os.getcwd()!r})"
    )


def config_text(cfg: Config) -> str:
    """The config as a file that can be loaded again: without private names and what ``default_setup`` derives from it.

    Raises ``InputError`` naming the key of a value that has no text.
    """
    return python_text({key: cfg[key] for key in cfg if key not in DERIVED and not key.startswith("_")})


def config_hash(cfg: Config, private: bool = False) -> str:
    """16 hexadecimal digits for what is trained and how, not for where it is kept or which seed it has.

    ``private``: names that start with ``_`` count, too.
    """
    skipped = (*DERIVED, "save_path", "weight", "resume", "seed", "log_interval", "save_every", "keep_last", "search")
    text = python_text({key: cfg[key] for key in cfg if key not in skipped and (private or not key.startswith("_"))})
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def merge_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Set ``options`` ({"a.b": value}) in ``cfg``. Raises ``InputError`` for keys that no config has."""
    known = [*DEFAULTS, *REQUIRED, *TOLERATED]
    for name, value in options.items():
        top = name.split(".")[0]
        if top not in known:
            raise InputError(f"--options {name}={value}: unknown config key {top!r}{nearest(top, known)}")
        try:
            if name in ("data_root", "dataset_type"):
                _set_for_all(cfg, name, value)
            _make_dicts(cfg, name.split("."))
            cfg.merge_from_dict({name: value})
        except AttributeError as error:  # mmengine's, of an entry of a list
            raise InputError(
                f"--options {name}={value}: only an entry of a dict can be set, as in {name}.type=X; a list of others "
                "is given whole, as in key=[1,2]"
            ) from error
        except (KeyError, TypeError, IndexError, AssertionError, ValueError) as error:
            raise InputError(f"--options {name}={value}: {' '.join(str(error).split())}") from error


def _make_dicts(cfg: Any, path: list[str]) -> None:
    """``ema.decay=0.99`` where a config says ``ema=None``: what is set of None makes a dict of it."""
    for key in path[:-1]:
        if not isinstance(cfg, Mapping | Config) or key not in cfg:
            return
        if cfg[key] is None:
            cfg[key] = {}  # type: ignore[index]
        cfg = cfg[key]


def _set_for_all(cfg: Config, name: str, value: Any) -> None:
    """``data_root`` and ``dataset_type`` are names that configs use within ``data``: the option is meant for there.

    Also for the data sets that another one joins (``parts``).
    """
    old, key = cfg.get(name), "type" if name == "dataset_type" else name
    parts = {part: dataset for part, dataset in cfg.get("data", {}).items() if isinstance(dataset, dict)}
    datasets = dict(parts)
    for part, dataset in parts.items():
        if isinstance(joined := dataset.get("parts"), dict):
            datasets |= {f"{part}.parts.{each}": inner for each, inner in joined.items() if isinstance(inner, dict)}
    chosen = [part for part, dataset in datasets.items() if old is not None and dataset.get(key) == old]
    if not chosen:
        raise ValueError(f"no data set of the config takes it; wanted {' '.join(f'data.{p}.{key}=...' for p in parts)}")
    for part in chosen:
        cfg.merge_from_dict({f"data.{part}.{key}": value})


def _is_int(low: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= low


def _optional(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_ema(value: Any) -> bool:
    if value is None:
        return True
    decay = value.get("decay", 0.999) if isinstance(value, dict) and not value.keys() - {"decay"} else None
    return isinstance(decay, int | float) and 0 <= decay < 1


_NATURAL, _COUNT = (_is_int(1), "a positive integer"), (_is_int(0), "an integer of at least 0")
_OPTIONAL_NATURAL = (_optional(_is_int(1)), "None or a positive integer")
_BOOL = (_is_bool, "True or False")

RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "weight": (_optional(_is_text), "None or a path"),
    "resume": (lambda v: isinstance(v, bool) or v == "weights", "True, False or 'weights'"),
    "seed": (_optional(_is_int(0)), "None or an integer of at least 0"),
    "save_path": (_is_text, "a path"),
    "num_worker": _COUNT,
    "clip_grad": (
        _optional(lambda v: isinstance(v, int | float) and v is not True and v > 0),
        "None or a positive number",
    ),
    "amp_dtype": (lambda v: v in ("float16", "bfloat16"), "'float16' or 'bfloat16'"),
    "mix_prob": (lambda v: v == 0, "0: mixing clouds is not supported in the embedded host"),
    "enable_wandb": (lambda v: v is False, "False: wandb is not supported in the embedded host"),
    "device": (lambda v: v in ("auto", "cpu", "cuda"), "'auto', 'cpu' or 'cuda'"),
    "nan_guard": (lambda v: v in ("stop", "skip", None), "'stop', 'skip' or None"),
    "ema": (_is_ema, "None or dict(decay=number from 0 to below 1)"),
    "matmul_precision": (lambda v: v in ("highest", "high"), "'highest' (float32) or 'high' (TF32)"),
    "search": (_is_dict, "a dict that tools/tune.py reads"),
    "compile": (lambda v: isinstance(v, bool) or _is_text(v), "True, False or the name of a backend"),
    "parallel": (lambda v: v in ("ddp", "flat", "fsdp2"), "'ddp', 'flat' or 'fsdp2'"),
    "hooks": (lambda v: isinstance(v, list | tuple), "a list of dicts"),
    **dict.fromkeys(("batch_size", "gradient_accumulation_steps", "epoch", "eval_epoch", "log_interval"), _NATURAL),
    **dict.fromkeys(("keep_last", "context_parallel"), _NATURAL),
    **dict.fromkeys(
        ("batch_size_val", "batch_size_test", "max_iters", "eval_every", "save_every", "pad_clouds"), _OPTIONAL_NATURAL
    ),
    **dict.fromkeys(
        ("evaluate", "test_only", "sync_bn", "enable_amp", "empty_cache", "empty_cache_per_epoch")
        + ("find_unused_parameters", "deterministic", "cuda_graph"),
        _BOOL,
    ),
    **dict.fromkeys(("model", "optimizer", "scheduler", "data", "train", "test"), (_is_dict, "a dict")),
}


def check_config(cfg: Config) -> None:
    """Raise ``InputError`` for an unknown or missing top-level key and for a value of the wrong kind."""
    known = [*DEFAULTS, *REQUIRED, *TOLERATED]
    for key in cfg:
        if key not in known and not key.startswith("_"):
            raise InputError(f"unknown config key {key!r}{nearest(key, known)}")
    for key in REQUIRED:
        if key not in cfg:
            raise InputError(f"the config has no key {key!r}; start it from _base_/default_runtime.py")
    check_values(cfg)
    for part in ("train", "test") + (("val",) if cfg.evaluate else ()):
        if not isinstance(cfg.data.get(part), dict):
            raise InputError(f"data.{part}: expected a dict that describes a data set, got {short(cfg.data.get(part))}")
    if cfg.max_iters is None:
        if cfg.eval_every is not None:
            raise InputError(f"eval_every={cfg.eval_every}: only with max_iters; else the evaluations are eval_epoch")
        if cfg.epoch % cfg.eval_epoch:
            raise InputError(f"epoch={cfg.epoch}: expected a multiple of eval_epoch={cfg.eval_epoch}")


def check_values(cfg: Config) -> None:
    """Raise ``InputError`` for a top-level value of the wrong kind."""
    for key, (check, wanted) in RULES.items():
        if key in cfg and not _holds(check, cfg[key]):
            raise InputError(f"{key}={short(cfg[key])}: expected {wanted}")


def _holds(check: Callable[[Any], bool], value: Any) -> bool:
    """Whether a value passes; one that cannot be compared (an array, a tensor) does not."""
    try:
        return bool(check(value))
    except (TypeError, ValueError, RuntimeError):
        return False
