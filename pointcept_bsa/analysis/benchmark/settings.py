"""The options of ``tools/benchmark.py``."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from pointcept_bsa.analysis.benchmark.case import Plan
from pointcept_bsa.analysis.benchmark.variants import AUTO
from pointcept_bsa.arguments.carried import config_names, config_path
from pointcept_bsa.arguments.words import DTYPES, MODES
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.training.evaluation.anchored import CHUNK

# What is compared: configs, each with a name and options of its own.

Loader = Callable[[str, Sequence[str]], Mapping[str, Any]]  # (path, key=value texts) -> config
ALL = "all"
DATA_SET = "shapenet_car"  # whose configs stand for their backbones: every backbone has one


@dataclass(frozen=True)
class Entry:
    """One config of the comparison; ``options`` are texts ``key=value`` that apply to it alone."""

    name: str
    path: str
    options: tuple[str, ...] = ()


@contextlib.contextmanager
def named(entry: Entry) -> Iterator[None]:
    """Put the name of the entry in front of a user's mistake."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{entry.name}: {error}") from error


def parse_entry(text: str, argument: str = "--config") -> Entry:
    """Read ``[NAME=]PATH[:key=value,...]``.

    A comma starts a new option only where a key and ``=`` follow it, so lists need no quotes. The default name is the
    last folder and the file, ``shapenet_car/bsa``, with the options in brackets.
    """
    head, colon, tail = text.partition(":")
    name, equals, path = head.partition("=")
    if not equals:
        name, path = "", head
    options = tuple(re.split(r",(?=[\w.]+=)", tail)) if colon else ()
    check_options(options, f"{argument} {text!r}")
    if not path or (equals and not name):
        raise InputError(f"{argument} {text!r}: wanted [NAME=]PATH[:key=value,...]")
    return Entry(name or _default_name(path, options), path, options)


def check_options(options: Sequence[str], argument: str) -> None:
    """Raise InputError unless every option is ``key=value``."""
    for option in options:
        if not option.partition("=")[0] or "=" not in option:
            raise InputError(f"{argument}: got the option {option!r}, wanted key=value")


def _default_name(path: str, options: Sequence[str]) -> str:
    name = "/".join(os.path.splitext(path)[0].split(os.sep)[-2:])
    return f"{name}[{','.join(option.removeprefix('model.backbone.') for option in options)}]" if options else name


def parse_entries(texts: Sequence[str], baseline: str | None) -> tuple[list[Entry], str | None]:
    """The entries, and the name of the baseline among them.

    ``baseline`` is the name of an entry, or an entry as in ``texts``: the same one, or another, which then comes first.
    """
    entries = [parse_entry(text) for text in texts]
    name = baseline
    if baseline is not None and baseline not in [entry.name for entry in entries]:
        wanted = parse_entry(baseline, "--baseline")
        same = [e for e in entries if (e.path, e.options) == (wanted.path, wanted.options)]
        if not same and not os.path.isfile(config_path(wanted.path)):
            names = [entry.name for entry in entries]
            raise InputError(f"--baseline {baseline!r}: neither a file nor one of {names}{nearest(baseline, names)}")
        if not same:
            entries.insert(0, wanted)
        name = same[0].name if same else wanted.name
    seen = [entry.name for entry in entries]
    for each in seen:
        if seen.count(each) > 1:
            raise InputError(f"--config: the name {each!r} stands for two of them, wanted NAME=PATH to tell them apart")
    return entries, name


def backbone_configs(names: Sequence[str], load: Loader) -> list[str]:
    """Paths of configs of ``DATA_SET``, one for each registered name of a backbone, or one for each backbone there is.

    Of several configs with the same backbone the first by name counts, ``bsa`` before ``bsa_group_compression``.

    Raises:
        InputError: a name that no config has.
    """
    if not names:
        return []
    paths = [f"configs/{name}.py" for name in config_names() if name.startswith(f"{DATA_SET}/")]
    found: dict[str, str] = {}
    for path in paths:
        found.setdefault(load(path, [])["model"]["backbone"]["type"], path)
    known = [ALL, *found]
    for name in names:
        if name not in known:
            raise InputError(f"--backbones: got {name!r}, wanted one or more of {known}{nearest(name, known)}")
    return list(found.values()) if ALL in names else [found[name] for name in dict.fromkeys(names)]


@dataclass(frozen=True)
class Settings:
    """The options of ``tools/benchmark.py``. Raises InputError for values out of range."""

    config: Sequence[str] = ()
    backbones: Sequence[str] = ()
    sizes: Sequence[int] = ()
    baseline: str | None = None
    dtype: str = "fp32"
    device: str = "auto"
    repeats: int = 20
    warmup: int = 5
    batch_size: int = 1
    max_seconds: float = 60.0
    skip_train: bool = False
    modes: Sequence[str] = (MODES[0],)
    reference: bool = False
    erwin_checkout: str | None = None
    static_geometry: bool = False
    extrapolate_depth: bool = False
    tree: Sequence[int] = ()
    queries: int | None = None
    chunk: int = CHUNK
    context_parallel: Sequence[int] = ()
    losses: int | None = None
    seeds: int = 1
    profile: bool = False
    options: Sequence[str] = field(default_factory=list)
    output: str = "exp/benchmark"

    def __post_init__(self) -> None:
        numbers = {"--repeats": self.repeats, "--warmup": self.warmup, "--batch-size": self.batch_size}
        numbers |= {"--seeds": self.seeds, "--chunk": self.chunk}
        numbers |= {} if self.queries is None else {"--queries": self.queries}
        numbers |= {} if self.losses is None else {"--losses": self.losses}
        numbered = [*numbers.items(), *(("--sizes", n) for n in self.sizes), *(("--tree", n) for n in self.tree)]
        numbered += [("--context-parallel", n) for n in self.context_parallel]
        for name, value in numbered:
            if value < 1:
                raise InputError(f"{name}: got {value}, wanted at least 1")
        if not 0 < self.max_seconds < math.inf:
            raise InputError(f"--max-seconds: got {self.max_seconds}, wanted a positive number")
        networks = bool(self.config or self.backbones)
        if networks != bool(self.sizes) or not (networks or self.tree):
            raise InputError("--config and --sizes: wanted one or more of each (or --backbones and --sizes, or --tree)")
        if self.queries is not None and (self.losses is not None or not networks):
            raise InputError("--queries: wanted --config and --sizes, which say whose anchors, and no --losses")
        if self.losses is not None and not networks:
            raise InputError("--losses: wanted --config and --sizes, which say what to train")
        if self.losses is None and self.seeds != 1:
            raise InputError(f"--seeds: got {self.seeds}, wanted --losses STEPS too, whose trainings they start")
        if self.context_parallel and (self.queries is not None or not networks):
            raise InputError("--context-parallel: wanted --config and --sizes, which say what is shared, no --queries")
        if self.dtype not in DTYPES:
            raise InputError(f"--dtype: got {self.dtype!r}, wanted one of {list(DTYPES)}")
        for mode in self.modes:
            if mode not in MODES:
                raise InputError(f"--mode: got {mode!r}, wanted one or more of {','.join(MODES)}{nearest(mode, MODES)}")
        if len(set(self.modes)) < len(self.modes):
            raise InputError(f"--mode: got {','.join(self.modes)}, wanted each once")
        check_options(self.options, "--options")

    def plan(self) -> Plan:
        """What holds for every case. Raises InputError for a device that is not there."""
        has_cuda = torch.cuda.is_available()
        if self.device == "cuda" and not has_cuda:
            raise InputError("--device cuda: this machine has no CUDA device, wanted cpu or auto")
        device = torch.device("cpu" if self.device == "cpu" or not has_cuda else "cuda")
        if self.dtype == "tf32" and device.type == "cpu":
            raise InputError("--dtype tf32: there is none on the CPU, wanted fp32 or bf16")
        return Plan(
            device,
            self.dtype,
            repeats=self.repeats,
            warmup=self.warmup,
            batch_size=self.batch_size,
            skip_train=self.skip_train,
            max_seconds=self.max_seconds,
            ops=AUTO if self.reference else None,
            static_geometry=self.static_geometry,
            profile=self.profile,
        )
