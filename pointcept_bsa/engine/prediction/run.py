"""All files of ``tools/predict.py``: settings and an opened run in, meshes with predictions out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from pointcept_bsa.arguments.words import FORMATS
from pointcept_bsa.engine.constant import WARNING, warning_of_folder
from pointcept_bsa.engine.prediction.forces import Reference, pressure_forces, summary
from pointcept_bsa.engine.prediction.inputs import prepare_input
from pointcept_bsa.engine.prediction.network import Network, check_bounds, open_network
from pointcept_bsa.engine.prediction.outputs import fitted, with_prediction
from pointcept_bsa.engine.training_range import outside_range
from pointcept_bsa.errors import InputError
from pointcept_bsa.files.json_file import write_json
from pointcept_bsa.mesh_io import READABLE, SUFFIXES, conversion, read_mesh, write_mesh


@dataclass(frozen=True)
class Settings:
    """The options of ``tools/predict.py``."""

    inputs: Sequence[str]
    output: str
    format: str = "vtp"
    fields: Mapping[str, str] = field(default_factory=dict)
    max_points: int | None = None
    anchors: int | None = None
    density: float | None = None
    velocity: float | None = None
    area: float | None = None
    flow: Sequence[float] | None = None
    up: Sequence[float] | None = None
    about: Sequence[float] | None = None


def predict_files(
    settings: Settings,
    cfg: Mapping[str, Any],
    model: nn.Module,
    folder: Path | None,
    metadata: Mapping[str, str] | None = None,
    say: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Predict on every file; returns and, for a folder as output, writes ``predictions.json``: a record a file.

    Raises:
        InputError: a file that cannot be read or used, before others are written if that can be told from the names.
    """
    check_bounds("--", settings.max_points, settings.anchors)
    targets = output_paths(settings)
    network = open_network(cfg, model, folder, metadata)
    reference = force_reference(settings, network)
    for remark in network.remarks:
        say(f"note: {remark}")
    if (warning := (metadata or {}).get(WARNING) or warning_of_folder(folder)) is not None:
        say(f"WARNING: {warning}")
    records = []
    for number, (source, target) in enumerate(targets, 1):
        start = time.perf_counter()
        record = predict_file(source, target, network, reference, settings)
        records.append(record)
        seconds = time.perf_counter() - start
        say(f"[{number}/{len(targets)}] {source}: {record['points']} points, {seconds:.1f} s -> {target}")
        for line in (*record["warnings"], *(f"note: {remark}" for remark in record["remarks"])):
            say(f"    {line}")
        if record["scalars"]:
            say("    " + ", ".join(f"{name} {value:.5g}" for name, value in record["scalars"].items()))
        if record["forces"] is not None:
            say(f"    {summary(record['forces'])}")
    if is_folder(settings):
        write_json(Path(settings.output) / "predictions.json", {"files": records})
    return records


def predict_file(
    source: Path, target: Path, network: Network, reference: Reference | None, settings: Settings
) -> dict[str, Any]:
    """One file: read, predict, write; what is to be told about it."""
    mesh = read_mesh(source)
    fitted(mesh, target)  # what cannot be written is refused before it is predicted
    prepared = prepare_input(mesh, source.name, network, settings.fields)
    remarks = list(prepared.remarks)
    if mesh.left_out:
        remarks.append(f"not numbers, and left out: {', '.join(mesh.left_out)}")
    warnings = []
    inside = "unknown"
    if network.training is not None:
        outside = outside_range(prepared.sample, network.training)
        inside = "outside" if outside else "inside"
        if outside:
            warnings.append(f"WARNING: outside the training range, an extrapolation: {'; '.join(outside)}")
    prediction = network.predict(prepared.sample, settings.max_points, settings.anchors)
    pred = prediction.values
    remarks += [] if prediction.remark is None else [prediction.remark]
    forces = None
    if reference is not None:
        if prepared.surface is None:
            remarks.append("no drag and lift: the file has no faces")
        else:
            whole = np.zeros((len(mesh.points), pred.shape[1]))  # points that no face has stay 0
            whole[prepared.used] = pred
            shear = None if network.shear_channels is None else whole[:, network.shear_channels]
            pressure = whole[:, network.pressure_channel]
            forces = pressure_forces(mesh.points, prepared.surface, pressure, reference, shear)
            if not prepared.surface.closed:
                open_edges = prepared.surface.open_edges
                warnings.append(f"WARNING: the surface is not closed ({open_edges} open edges): forces lack the rest")
    written = with_prediction(mesh, prepared.used, prediction, network, forces)
    replaced = sorted(name for name in mesh.point_data if written.point_data[name] is not mesh.point_data[name])
    if replaced:
        remarks.append(f"fields of the input replaced by the new prediction: {', '.join(replaced)}")
    written, more = fitted(written, target)
    remarks += more
    target.parent.mkdir(parents=True, exist_ok=True)
    write_mesh(target, written)
    return {
        "input": str(source),
        "output": str(target),
        "points": len(pred),
        "targets": {
            name: {"unit": unit, **range_of(own, network.labels)}
            for name, unit, own in zip(network.names, network.units, pred.T)
        },
        "scalars": dict(prediction.scalars),
        "training_range": inside,
        "warnings": warnings,
        "remarks": remarks,
        "forces": forces,
    }


def range_of(values: np.ndarray, labels: Sequence[int] | None) -> dict[str, Any]:
    """Least, mean and largest value; of labels how many points have each."""
    if labels is not None:
        return {"points": {str(label): int((values == label).sum()) for label in labels}}
    return {"min": float(values.min()), "mean": float(values.mean()), "max": float(values.max())}


def output_paths(settings: Settings) -> list[tuple[Path, Path]]:
    """Where each input's prediction goes.

    Raises:
        InputError: no inputs, one that is not there, several for one file, two of the same name, an unknown suffix.
    """
    sources = [Path(path) for path in settings.inputs]
    if not sources:
        raise InputError("--input: got no file, wanted at least one")
    for source in sources:
        if source.suffix.lower() not in READABLE:
            wanted = f"a file that ends in one of {list(READABLE)}{conversion(source, READABLE)}"
            raise InputError(f"--input {str(source)!r}: wanted {wanted}")
        if not source.is_file():
            raise InputError(f"--input {str(source)!r}: no such file")
    if not is_folder(settings):
        if Path(settings.output).suffix.lower()[1:] not in FORMATS:
            raise InputError(f"--output {settings.output!r}: holds no fields, wanted one of {list(FORMATS)}")
        if len(sources) > 1:
            raise InputError(f"--output {settings.output!r}: wanted a folder for {len(sources)} inputs")
        if sources[0].resolve() == Path(settings.output).resolve():
            raise InputError(f"--output {settings.output!r}: is the input, wanted another file")
        return [(sources[0], Path(settings.output))]
    if settings.format not in FORMATS:
        raise InputError(f"--format {settings.format!r}: wanted one of {list(FORMATS)}")
    targets = [Path(settings.output) / f"{source.stem}.{settings.format}" for source in sources]
    for i, target in enumerate(targets):
        if target in targets[:i]:
            raise InputError(f"--input {str(sources[i])!r}: its output {target} is also that of another input")
        if target.resolve() == sources[i].resolve():
            raise InputError(f"--output {settings.output!r}: would overwrite the input {str(sources[i])!r}")
    return list(zip(sources, targets))


def is_folder(settings: Settings) -> bool:
    """Whether ``--output`` names a folder: it has no suffix of a mesh file."""
    return Path(settings.output).suffix.lower() not in SUFFIXES


def force_reference(settings: Settings, network: Network) -> Reference | None:
    """What forces refer to; None where the target is no surface pressure. Raises InputError."""
    if network.surface_pressure is None:
        for name in ("density", "velocity", "area", "flow", "up", "about"):
            if getattr(settings, name) is not None:
                raise InputError(f"--{name}: the network predicts {list(network.names)}, no pressure on a surface")
        return None
    given = (settings.density, settings.velocity, settings.area, settings.flow, settings.up, settings.about)
    return Reference.of(network.surface_pressure, *given)
