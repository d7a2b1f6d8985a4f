"""A prediction on the files of one sample, a file for each domain: the surface of a body and the air around it.

``N`` points of all files, ``K`` target channels of all domains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pointcept_bsa.analysis.prediction.inputs import predict_mesh
from pointcept_bsa.analysis.prediction.network import Network, Prediction
from pointcept_bsa.analysis.prediction.outputs import at_all_points
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.geometry.domains import DOMAIN
from pointcept_bsa.mesh_io import Mesh
from pointcept_bsa.training.evaluation.forces import Reference


def files_by_domain(inputs: Sequence[str]) -> dict[str, str] | None:
    """{domain: file} of "surface=car.vtp volume=air.vtu"; None where no input names a domain.

    Raises:
        InputError: some do and some do not, or a domain twice.
    """
    pairs = [each.partition("=") for each in inputs]
    named = ["=" in each and not Path(each).exists() for each in inputs]
    if not any(named):
        return None
    names = [name for name, _, _ in pairs]
    if not all(named) or len(set(names)) < len(names) or not all(path for _, _, path in pairs):
        raise InputError(f"--input: got {' '.join(inputs)}, wanted files alone, or DOMAIN=FILE once for each domain")
    return {name: path for name, _, path in pairs}


def check_files(files: Mapping[str, str], network: Network) -> None:
    """Raise ``InputError`` unless there is a file for each domain of the network and no other."""
    wanted = list(network.domains)
    for name in files:
        if name not in wanted:
            known = f"one of {wanted}{nearest(name, wanted)}" if wanted else "FILE alone: the network has no domains"
            raise InputError(f"--input {name}={files[name]}: got domain {name!r}, wanted {known}")
    for name in wanted:
        if name not in files:
            raise InputError(f"--input: has no file of domain {name!r}, wanted DOMAIN=FILE of each of {wanted}")


def joined(parts: Mapping[str, Mesh], names: Sequence[str]) -> Mesh:
    """The points of all files as one cloud with the point field ``domain``; fields that a file has not are 0 there."""
    meshes = [parts[name] for name in names]
    sizes = [len(mesh.points) for mesh in meshes]
    starts = np.cumsum([0, *sizes])
    cells: dict[str, list[np.ndarray]] = {}
    fields: dict[str, np.ndarray] = {}
    for start, mesh in zip(starts, meshes, strict=False):
        own = mesh.cells if mesh.num_cells else {"vertex": np.arange(len(mesh.points))[:, None]}
        for kind, block in own.items():
            cells.setdefault(kind, []).append(block + start)
        for name, values in mesh.point_data.items():
            whole = fields.setdefault(name, np.zeros((starts[-1], *values.shape[1:]), values.dtype))
            if whole.shape[1:] != values.shape[1:]:
                raise InputError(f"--input: field {name!r} has other columns in one file than in another")
            whole[start : start + len(values)] = values
    field_data = {name: values for mesh in reversed(meshes) for name, values in mesh.field_data.items()}
    points = np.concatenate([mesh.points for mesh in meshes])
    data = {**fields, DOMAIN: np.repeat(np.arange(len(names)), sizes)}
    left_out = tuple(dict.fromkeys(name for mesh in meshes for name in mesh.left_out))
    blocks = {kind: np.concatenate(parts) for kind, parts in cells.items()}
    return Mesh(points, blocks, data, {}, field_data, left_out)


def predict_domains(
    parts: Mapping[str, Mesh], name: str, network: Network, settings: Any
) -> tuple[dict[str, tuple[np.ndarray, Prediction]], list[str], list[str]]:
    """The prediction on the meshes of one sample, with the ``Settings`` of the tool.

    Returns:
        {domain: (which points are used, the prediction (n, K_d) at these)}, warnings, remarks.
    """
    whole_sample = joined(parts, network.domains)
    bounds = settings.max_points, settings.anchors
    prepared, prediction, warning = predict_mesh(whole_sample, name, network, settings.fields, *bounds)
    found, first = {}, 0
    whole, spread = (
        None if values is None else at_all_points(values, prepared.used, network)
        for values in (prediction.values, prediction.spread)
    )
    assert whole is not None
    for domain in network.domains:
        rows, own = slice(first, first + len(parts[domain].points)), network.channels_of(domain)
        used = prepared.used[rows]
        doubt = None if spread is None else spread[rows][used][:, own]
        found[domain] = used, prediction._replace(values=whole[rows][used][:, own], spread=doubt)
        first = rows.stop
    return found, [] if warning is None else [f"WARNING: {warning}"], list(prepared.remarks)


def reference_of(domain: str, network: Network, reference: Reference | None) -> Reference | None:
    """What forces refer to, on the domain whose pressure it is; None on the others."""
    field = str((network.surface_pressure or {}).get("field", ""))
    return reference if field.startswith(f"{domain}/") else None


def of_domain(network: Network, domain: str) -> Network:
    """The network as its outputs at the points of one domain are read: targets without the domain's name."""
    own = network.channels_of(domain)
    prefix = f"{domain}/"
    targets = [[field.removeprefix(prefix), width] for field, width in network.targets if field.startswith(prefix)]
    pressure = network.surface_pressure
    if pressure is not None:
        named = {key: str(pressure[key]).removeprefix(prefix) for key in ("field", "shear") if key in pressure}
        pressure = {**pressure, **named}
    names = [name.removeprefix(prefix) for name in network.names[own]]
    return replace(
        network, names=names, units=network.units[own], targets=targets, surface_pressure=pressure, domains=()
    )
