"""What a benchmark ran on."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("triton", "numpy", "spconv-cu120", "spconv-cu126", "torch-scatter", "balltree-erwin", "pointcept_bsa")


def describe_environment(device: torch.device, dtype: str) -> dict[str, Any]:
    """Hardware, versions (None: not installed), the package's environment variables, dtype, date and command."""
    gpu = torch.cuda.get_device_properties(device) if device.type == "cuda" else None
    return {
        "device": gpu.name if gpu else _cpu_name(),
        "gpu_memory_gib": round(gpu.total_memory / 2**30, 1) if gpu else None,
        "compute_capability": f"{gpu.major}.{gpu.minor}" if gpu else None,
        "cpu": _cpu_name(),
        "cpu_threads": torch.get_num_threads(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {"torch": str(torch.__version__), **{name: _version(name) for name in PACKAGES}},
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if gpu else None,
        "variables": {name: value for name, value in sorted(os.environ.items()) if name.startswith("PCBSA_")},
        "dtype": dtype,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    """The model's name where the system tells (Linux), else its architecture."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
