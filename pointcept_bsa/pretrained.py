"""Trained networks in three lines, from a run, a file or the Hugging Face Hub::

    import pointcept_bsa

    network = pointcept_bsa.load("exp/shapenet_car/bsa")     # or "model.safetensors", or "owner/name" on the Hub
    pressure = network.predict(points, normal=normals)["pressure"]

``network.save_pretrained(folder)`` writes ``model.safetensors`` (with all that a prediction takes) and ``config.json``;
``Predictor.from_pretrained`` reads them. Of these and of what comes from the Hub nothing is executed: see
docs/config.md. The folder of a run has its ``config.py``, which is code.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from pointcept_bsa.analysis.prediction.network import POINTS, Network, open_network
from pointcept_bsa.analysis.prediction.outputs import predict_arrays
from pointcept_bsa.errors import InputError
from pointcept_bsa.files.json_file import parse_json, read_json, write_json
from pointcept_bsa.host.embedded.config import load_config
from pointcept_bsa.host.weight import resolve_weight
from pointcept_bsa.host_choice import HOST
from pointcept_bsa.training.checkpoints.checkpoint import evaluated_weights, load_checkpoint
from pointcept_bsa.training.checkpoints.export import load_metadata, load_safetensors, metadata_of, save_safetensors
from pointcept_bsa.training.evaluation.fit import WARNING, warning_of_folder
from pointcept_bsa.training.evaluation.provenance import training_points
from pointcept_bsa.training.evaluation.training_range import FILE as TRAINING_RANGE
from pointcept_bsa.training.runs.opened_run import open_run, run_folder
from pointcept_bsa.training.runs.portable_config import portable_config
from pointcept_bsa.version import __version__

__all__ = ["Predictor", "export", "find_checkpoint", "load"]

WEIGHTS, CONFIG = "model.safetensors", "config.json"
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


@dataclass(frozen=True)
class Predictor:
    """A trained network that predicts on arrays.

    Attributes:
        network: the model with what its inputs and outputs mean.
        weight: the file of its weights.
    """

    network: Network
    weight: Path

    def __repr__(self) -> str:
        """One line: the weights, what it predicts with units, what it takes."""
        units = ", ".join(f"{name} [{unit}]" for name, unit in self.units.items())
        return f"Predictor({str(self.weight)!r}: {units}; fields {list(self.fields)})"

    @property
    def units(self) -> dict[str, str]:
        """Unit by name of the target channel."""
        return dict(zip(self.network.names, self.network.units, strict=True))

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that ``predict`` takes beside the points."""
        return tuple(self.network.needed_fields())

    def predict(
        self,
        points: Any,
        *,
        faces: Any = None,
        max_points: int | None = None,
        anchors: int | Mapping[str, int] | None = None,
        name: str = "points",
        **fields: Any,
    ) -> dict[str, np.ndarray]:
        """{target: (N,) or (N, k)} in physical units at ``points`` (N, d): the values of ``tools/predict.py``.

        See :func:`.arrays.predict_arrays` for the arguments and errors. What a user should know (points outside the
        range of the training, faces that were turned) is a ``UserWarning``.
        """
        found, remarks = predict_arrays(
            self.network, points, fields=fields, faces=faces, max_points=max_points, anchors=anchors, name=name
        )
        for remark in remarks:
            warnings.warn(remark, stacklevel=2)
        return found

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``model.safetensors`` and ``config.json`` into ``folder``. Raises ``InputError``."""
        weights, metadata = export(self.weight)
        save_safetensors(Path(folder) / WEIGHTS, weights, metadata)
        write_json(Path(folder) / CONFIG, parse_json(metadata["config"], "config"))

    @classmethod
    def from_pretrained(cls, source: str | Path, *, device: str = "auto", revision: str | None = None) -> Predictor:
        """The same as :func:`load`."""
        return load(source, device=device, revision=revision)


def load(source: str | Path, *, device: str = "auto", revision: str | None = None) -> Predictor:
    """Open a trained network.

    Args:
        source: the folder of a run (its best, else its last checkpoint), one of its checkpoints, a ``.safetensors`` of
            ``tools/export.py``, a folder of ``save_pretrained``, or where there is no such path ``owner/name`` on the
            Hugging Face Hub (takes the extra ``[hub]``).
        device: ``"auto"``, ``"cpu"``, ``"cuda"``.
        revision: branch, tag or commit on the Hub.

    Raises:
        InputError: nothing there, weights without a config or of another model, a ``config.json`` that is not that of
            the weights.
    """
    if HOST != "embedded":
        raise InputError(f"load: got host {HOST!r}, wanted a process outside Pointcept (PCBSA_HOST=embedded)")
    path = Path(source)
    if not path.exists():
        path = _downloaded(str(source), revision)
    elif revision is not None:
        raise InputError(f"revision={revision!r}: {str(source)!r} lies on the disk, wanted a name on the Hub")
    if (path / WEIGHTS).is_file():
        path = path / WEIGHTS
        _check_config(path)
    run = open_run(str(path), {"device": device})
    assert run.weight is not None
    network = open_network(run.cfg, run.model, run.folder, run.metadata)
    warning = run.metadata.get(WARNING) or warning_of_folder(run.folder)
    for remark in (*network.remarks, *([warning] if warning else [])):
        warnings.warn(remark, stacklevel=2)
    return Predictor(network, run.weight)


def find_checkpoint(run: str) -> Path:
    """The checkpoint that ``run`` names, or the best, else the last of the run in that folder. Raises InputError."""
    found = run if Path(run).is_file() else resolve_weight(None, run)
    if found is None:
        raise InputError(f"RUN {run!r}: neither a checkpoint nor a folder with model/model_best.pth or model_last.pth")
    return Path(found)


def export(source: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The evaluated weights of a checkpoint (their moving average, where one was kept), and what is said beside them.

    A file that was exported before stays as it is.

    Raises:
        InputError: no config beside the checkpoint, or one that is no data.
    """
    if source.suffix == ".safetensors":
        return load_safetensors(source)
    folder = run_folder(source)
    if folder is None:
        raise InputError(f"RUN {str(source)!r}: not in the folder of a run, <run>/model beside <run>/config.py")
    config = portable_config(load_config(str(folder / "config.py")))
    checkpoint = load_checkpoint(source)
    metadata = metadata_of(checkpoint, source, config, __version__)
    training_range = folder / TRAINING_RANGE
    if training_range.is_file():
        metadata[TRAINING_RANGE] = training_range.read_text(encoding="utf-8")
    points = training_points(folder, {})
    if points is not None:
        metadata[POINTS] = points.to_json()
    if (warning := warning_of_folder(folder)) is not None:
        metadata[WARNING] = warning
    return evaluated_weights(checkpoint), metadata


def _check_config(weights: Path) -> None:
    """``config.json`` says for readers what the weights carry; one that was changed would be without effect."""
    config_file = weights.with_name(CONFIG)
    carried = load_metadata(weights).get("config")
    if carried is not None and config_file.is_file() and read_json(config_file) != parse_json(carried, weights):
        raise InputError(
            f"{config_file}: is not the config in {weights.name}, wanted both as save_pretrained wrote them"
        )


def _downloaded(source: str, revision: str | None) -> Path:
    """The folder into which the Hub's library brought the two files; nothing else is fetched."""
    where = f"{source!r}: no such file or folder"
    if HUB_NAME.fullmatch(source) is None:
        raise InputError(f"{where}, and no name on the Hugging Face Hub (owner/name)")
    try:
        import huggingface_hub
    except ImportError as error:
        raise InputError(f"{where}; for names on the Hugging Face Hub: pip install 'pointcept_bsa[hub]'") from error
    try:
        folder = Path(huggingface_hub.snapshot_download(source, revision=revision, allow_patterns=[WEIGHTS, CONFIG]))
    except (huggingface_hub.errors.EntryNotFoundError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{where}, and it cannot be had from the Hugging Face Hub ({reason})") from error
    if not (folder / WEIGHTS).is_file():
        raise InputError(f"{where}, and that model on the Hugging Face Hub has no {WEIGHTS}")
    return folder
