"""The options of ``tools/benchmark.py``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from pointcept_bsa.arguments.words import DTYPES, MODES
from pointcept_bsa.engine.anchored import CHUNK
from pointcept_bsa.engine.benchmark.case import Plan
from pointcept_bsa.engine.benchmark.entries import check_options
from pointcept_bsa.engine.benchmark.variants import AUTO
from pointcept_bsa.errors import InputError, nearest


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
            self.repeats,
            self.warmup,
            self.batch_size,
            self.skip_train,
            self.max_seconds,
            ops=AUTO if self.reference else None,
            static_geometry=self.static_geometry,
            profile=self.profile,
        )
