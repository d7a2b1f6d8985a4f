"""All files of ``tools/predict.py``: settings and an opened run in, meshes with predictions out."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from pointcept_bsa.analysis.prediction.domains import (
    check_files,
    files_by_domain,
    of_domain,
    predict_domains,
    reference_of,
)
from pointcept_bsa.analysis.prediction.inputs import predict_mesh
from pointcept_bsa.analysis.prediction.network import Network, Prediction, check_bounds, open_network
from pointcept_bsa.analysis.prediction.outputs import fitted, with_prediction
from pointcept_bsa.arguments.words import FORMATS
from pointcept_bsa.errors import InputError
from pointcept_bsa.files.json_file import write_json
from pointcept_bsa.host import comm
from pointcept_bsa.mesh_io import READABLE, SUFFIXES, Mesh, conversion, left_out_lines, read_mesh, write_mesh
from pointcept_bsa.training.evaluation.fit import WARNING, warning_of_folder
from pointcept_bsa.training.evaluation.forces import Reference, pressure_forces, summary
from pointcept_bsa.training.evaluation.surface import Surface, outward_surface, triangles_of

VOLUMES = (".vtu", ".pvtu")  # whose cells a .vtp may have no place for


@dataclass(frozen=True)
class Settings:
    """The options of ``tools/predict.py``; ``format`` None: .vtu for inputs that are, .vtp for others."""

    inputs: Sequence[str]
    output: str
    format: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    max_points: int | None = None
    anchors: int | Mapping[str, int] | None = None
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
) -> list[dict[str, Any]]:
    """Predict on every file; returns and, for a folder as output, writes ``predictions.json``: a record a file.

    Of several processes, which share each cloud, the main one writes and says.

    Raises:
        InputError: a file that cannot be read or used, before others are written if that can be told from the names.
    """
    say: Callable[[str], None] = print if comm.is_main_process() else lambda line: None
    check_bounds("--", settings.max_points, settings.anchors)
    files = files_by_domain(settings.inputs)
    if files is not None:
        settings = replace(settings, inputs=list(files.values()))
        if not is_folder(settings):
            raise InputError(f"--output {settings.output!r}: wanted a folder for the files of several domains")
    targets = output_paths(settings, list(files or ()))
    network = open_network(cfg, model, folder, metadata)
    if files is not None or network.domains:
        check_files(files or {}, network)
    reference = force_reference(settings, network)
    for remark in network.remarks:
        say(f"note: {remark}")
    if (warning := (metadata or {}).get(WARNING) or warning_of_folder(folder)) is not None:
        say(f"WARNING: {warning}")
    records = []
    start = time.perf_counter()
    made = predict_sample(files, targets, network, reference, settings) if files is not None else None
    for number, (source, target) in enumerate(targets, 1):
        record = predict_file(source, target, network, reference, settings) if made is None else made[number - 1]
        records.append(record)
        seconds, start = time.perf_counter() - start, time.perf_counter()
        say(f"[{number}/{len(targets)}] {source}: {record['points']} points, {seconds:.1f} s -> {target}")
        for line in (*record["warnings"], *(f"note: {remark}" for remark in record["remarks"])):
            say(f"    {line}")
        if record["scalars"]:
            say("    " + ", ".join(f"{name} {value:.5g}" for name, value in record["scalars"].items()))
        if record["forces"] is not None:
            say(f"    {summary(record['forces'])}")
    if is_folder(settings) and comm.is_main_process():
        write_json(Path(settings.output) / "predictions.json", {"files": records})
    return records


def predict_file(
    source: Path, target: Path, network: Network, reference: Reference | None, settings: Settings
) -> dict[str, Any]:
    """One file: read, predict, write; what is to be told about it."""
    mesh = read_mesh(source)
    fitted(mesh, target)  # what cannot be written is refused before it is predicted
    bounds = settings.max_points, settings.anchors
    prepared, prediction, warning = predict_mesh(mesh, source.name, network, settings.fields, *bounds)
    remarks = [*prepared.remarks, *left_out_lines(mesh.left_out)]
    warnings = [] if warning is None else [f"WARNING: {warning}"]
    inside = "unknown" if network.training is None else "outside" if warnings else "inside"
    forces, pred = None, prediction.values
    if reference is not None:
        forces = forces_on(
            mesh,
            prepared.surface,
            used=prepared.used,
            pred=pred,
            network=network,
            reference=reference,
            warnings=warnings,
            remarks=remarks,
        )
    record = write_prediction(
        target, mesh, used=prepared.used, prediction=prediction, network=network, forces=forces, remarks=remarks
    )
    return {"input": str(source), **record, "training_range": inside, "warnings": warnings, "remarks": remarks}


def predict_sample(
    files: Mapping[str, str],
    targets: Sequence[tuple[Path, Path]],
    network: Network,
    reference: Reference | None,
    settings: Settings,
) -> list[dict[str, Any]]:
    """The files of one sample, one of each domain: a record of each, in the order of ``targets``."""
    meshes = {domain: read_mesh(source) for domain, (source, _) in zip(files, targets, strict=True)}
    for mesh, (_, target) in zip(meshes.values(), targets, strict=True):
        fitted(mesh, target)
    name = Path(files[network.domains[0]]).name
    found, warnings, remarks = predict_domains(meshes, name, network, settings)
    inside = "unknown" if network.training is None else "outside" if warnings else "inside"
    records = []
    for (domain, mesh), (source, target) in zip(meshes.items(), targets, strict=True):
        used, prediction = found[domain]
        own, forces, more = of_domain(network, domain), None, [*remarks, *left_out_lines(mesh.left_out)]
        if (refers := reference_of(domain, network, reference)) is not None:
            surface = outward_surface(mesh.points, triangles_of(mesh)) if len(triangles_of(mesh)) else None
            forces = forces_on(
                mesh,
                surface,
                used=used,
                pred=prediction.values,
                network=own,
                reference=refers,
                warnings=warnings,
                remarks=more,
            )
        record = write_prediction(
            target, mesh, used=used, prediction=prediction, network=own, forces=forces, remarks=more
        )
        told = {"training_range": inside, "warnings": list(warnings), "remarks": more}
        records.append({"input": str(source), "domain": domain, **record, **told})
        warnings, remarks = [], []  # said once
    return records


def forces_on(
    mesh: Mesh,
    surface: Surface | None,
    used: np.ndarray,
    pred: np.ndarray,
    network: Network,
    reference: Reference,
    warnings: list[str],
    remarks: list[str],
) -> dict[str, Any] | None:
    """Forces by the prediction (n, K) at the points ``used`` (N,); what is to be said of them is added to the lists."""
    if surface is None:
        remarks.append("no drag and lift: the file has no faces")
        return None
    whole = np.zeros((len(mesh.points), pred.shape[1]))  # points that no face has stay 0
    whole[used] = pred
    if not surface.closed:
        warnings.append(f"WARNING: the surface is not closed ({surface.gaps}): forces lack the rest")
    shear = None if network.shear_channels is None else whole[:, network.shear_channels]
    return pressure_forces(mesh.points, surface, whole[:, network.pressure_channel], reference, shear)


def write_prediction(
    target: Path,
    mesh: Mesh,
    used: np.ndarray,
    prediction: Prediction,
    network: Network,
    forces: dict[str, Any] | None,
    remarks: list[str],
) -> dict[str, Any]:
    """Write the mesh with its prediction; what is to be told about it. Adds to ``remarks``."""
    pred = prediction.values
    written = with_prediction(mesh, used, prediction, network, forces)
    replaced = sorted(name for name in mesh.point_data if written.point_data[name] is not mesh.point_data[name])
    if replaced:
        remarks.append(f"fields of the input replaced by the new prediction: {', '.join(replaced)}")
    written, more = fitted(written, target)
    remarks += more
    if comm.is_main_process():
        target.parent.mkdir(parents=True, exist_ok=True)
        write_mesh(target, written)
    return {
        "output": str(target),
        "points": len(pred),
        "targets": {
            name: {"unit": unit, **range_of(own, network.labels)}
            for name, unit, own in zip(network.names, network.units, pred.T)
        },
        "scalars": dict(prediction.scalars),
        "forces": forces,
    }


def range_of(values: np.ndarray, labels: Sequence[int] | None) -> dict[str, Any]:
    """Least, mean and largest value; of labels how many points have each."""
    if labels is not None:
        return {"points": {str(label): int((values == label).sum()) for label in labels}}
    return {"min": float(values.min()), "mean": float(values.mean()), "max": float(values.max())}


def output_paths(settings: Settings, domains: Sequence[str] = ()) -> list[tuple[Path, Path]]:
    """Where each input's prediction goes; files of ``domains`` with one name get that of their domain, too.

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
    output = Path(settings.output)
    if len(sources) == 1 and re.fullmatch(r"\.[A-Za-z]\w{1,4}", output.suffix) and not output.is_dir():
        raise InputError(
            f"--output {settings.output!r}: wanted a file that ends in one of {[f'.{kind}' for kind in FORMATS]}, or a "
            "folder, without a suffix or there already"
        )
    if settings.format is not None and settings.format not in FORMATS:
        raise InputError(f"--format {settings.format!r}: wanted one of {list(FORMATS)}")
    kinds = [settings.format or ("vtu" if source.suffix.lower() in VOLUMES else "vtp") for source in sources]
    stems = [source.stem for source in sources]
    if domains and len(set(stems)) < len(stems):
        stems = [f"{stem}_{domain}" for stem, domain in zip(stems, domains, strict=True)]
    targets = [Path(settings.output) / f"{stem}.{kind}" for stem, kind in zip(stems, kinds, strict=True)]
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
