"""Trained weights as one ``.safetensors`` file: tensors and text, no code, readable in any framework.

The metadata (text by name): ``format`` ("pt"), ``config`` (JSON, see ``portable_config``), ``statistics`` (JSON: the
model's buffers of the target normaliser), ``version`` (of pointcept_bsa), ``source`` (JSON: file, iteration, metric,
whether the weights are a moving average).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pointcept_bsa.errors import InputError
from pointcept_bsa.files.json_file import json_text
from pointcept_bsa.training.checkpoints.files import write_checked


def _safetensors() -> Any:
    try:
        import safetensors
        import safetensors.torch
    except ImportError as error:
        raise InputError(f"safetensors cannot be imported ({error}); install it: pip install safetensors") from error
    return safetensors


def save_safetensors(path: str | Path, weights: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write weights and metadata, with the checksum beside them. Raises ``InputError``."""
    tensors = {name.removeprefix("module."): value.detach().cpu().clone() for name, value in weights.items()}
    data = _safetensors().torch.save({name: t.contiguous() for name, t in tensors.items()}, dict(metadata))
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_checked(path, lambda file: file.write(data))
    except OSError as error:
        raise InputError(f"--output {str(path)!r}: cannot be written ({error.strerror})") from error


def load_safetensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Weights, on the CPU, and metadata of a file. Raises ``InputError``."""
    return _read(path, lambda file: {name: file.get_tensor(name) for name in file.keys()}), load_metadata(path)


def load_metadata(path: str | Path) -> dict[str, str]:
    """What a file says beside the weights. Raises ``InputError``."""
    return _read(path, lambda file: dict(file.metadata() or {}))


def _read(path: str | Path, take: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    safetensors = _safetensors()
    try:
        with safetensors.safe_open(str(path), framework="pt", device="cpu") as file:
            return take(file)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        reason = str(error).split("\n")[0][:200]
        raise InputError(f"weight={str(path)!r}: not a readable .safetensors file ({reason})") from error


def metadata_of(checkpoint: Mapping[str, Any], source: Path, config: str, version: str) -> dict[str, str]:
    """What the file says beside the weights; ``config``: the text of ``portable_config``."""
    statistics = {
        name: value.tolist() for name, value in checkpoint["state_dict"].items() if "normalizer." in f".{name}"
    }
    origin = {
        "file": source.name,
        "epoch": checkpoint.get("epoch"),
        "iter": checkpoint.get("iter"),
        "best_metric_value": checkpoint.get("best_metric_value"),
        "moving_average": bool(checkpoint.get("ema")),
        "config_hash": checkpoint.get("config_hash"),
    }
    return {
        "format": "pt",
        "config": config,
        "statistics": json_text(statistics, indent=None).strip(),
        "version": version,
        "source": json_text(origin, indent=None).strip(),
    }
