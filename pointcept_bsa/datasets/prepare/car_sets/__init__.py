"""Sets of simulated cars: from published VTK files and tables to the prepared folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pointcept_bsa.datasets.car_sets.spec import DOMAINS, SCALARS, CarSet, Domain
from pointcept_bsa.datasets.prepare.car_sets.case_files import (
    Scalars,
    coefficient_file,
    domain_files,
    read_coefficients,
)
from pointcept_bsa.datasets.prepare.car_sets.convert import Record, convert, finished, merged, sizes
from pointcept_bsa.datasets.prepare.car_sets.domain import OpenedDomain
from pointcept_bsa.datasets.prepare.car_sets.splits import chosen_first, published_protocols, without
from pointcept_bsa.datasets.prepare.layout import Protocols, check_sample_names, finish, refuse_other_data
from pointcept_bsa.datasets.prepared import sample_folder_name
from pointcept_bsa.datasets.statistics import RunningStatistics
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.files.atomic import write_text
from pointcept_bsa.files.json_file import json_text, read_json

Files = dict[str, list[list[Path]]]  # domain -> source -> its file or the parts of it


class Found(NamedTuple):
    """Which cases there are, and which of their domains are still to be converted."""

    protocols: Protocols
    cases: dict[str, Files]
    left_out: list[str]
    todo: list[tuple[str, str]]  # case, domain


def prepare_car_set(
    spec: CarSet,
    src: str,
    dst: str,
    *,
    domains: Sequence[str] = DOMAINS,
    splits: str | None = None,
    split: str | None = None,
    coefficients: str | None = None,
    leave_out: Sequence[str] = (),
    keep: int | None = None,
    allow_partial: bool = False,
    dry_run: bool = False,
    overwrite: bool = False,
) -> None:
    """Write the prepared folder ``dst`` from the raw folder ``src``; finished domains of cases are kept.

    Args:
        domains: "surface", "volume", or both.
        splits: the published lists, see ``published_protocols``; None where they are known here.
        split: the protocol that is the default; None: the first.
        coefficients: a table of coefficients in another place than that of the set.
        leave_out: cases to do without.
        keep: about so many random rows of each domain of a case, at least; None: all.
        allow_partial: do without cases whose files are not there; protocols that lose cases are called "... partial".
        dry_run: look through all files without reading their numbers, write nothing.
        overwrite: redo finished cases, replace other data.

    Raises:
        InputError: missing or damaged files, a case without coefficients, unknown names, other data in ``dst``.
    """
    root, raw = Path(dst), Path(src)
    for name in domains:
        if name not in DOMAINS:
            raise InputError(f"--domains: got {name!r}, wanted some of {list(DOMAINS)}{nearest(name, DOMAINS)}")
    if not raw.is_dir():
        raise InputError(f"--src: got {src!r}, wanted the folder of the published files of {spec.title}")
    if keep is not None and keep < 1:
        raise InputError(f"--rows: got {keep}, wanted at least 1")
    wanted = chosen_first(published_protocols(spec, splits), split)
    check_sample_names(_names(wanted))
    known = {} if overwrite else {case: _finished(spec, root, case, domains) for case in _names(wanted)}
    found = _found(
        spec,
        raw,
        wanted=wanted,
        domains=domains,
        known=known,
        leave_out=leave_out,
        keep=keep,
        allow_partial=allow_partial,
    )
    refuse_other_data(root, found.cases, overwrite)
    scalars = {case: found_scalars(spec, raw, root, case, coefficients) for case in found.cases}
    default = next(iter(found.protocols))
    if dry_run:
        _report(root, found, default, spec, keep)
        return
    root.mkdir(parents=True, exist_ok=True)
    for number, (case, domain) in enumerate(found.todo, 1):
        label = f"{case} {domain} ({number} of {len(found.todo)})"
        convert(root, case, spec.domain(domain), found.cases[case][domain], label, keep)
    for case, values in scalars.items():
        write_text(root / sample_folder_name(case) / "scalars.json", json_text({"scalars": values}))
    records = {case: _finished(spec, root, case, DOMAINS) for case in found.cases}
    there = [domain for domain in DOMAINS if all(domain in record for record in records.values())]
    statistics = _statistics(found.protocols, records, there, scalars)
    finish(root, found.protocols, default, (), card(spec, there, found.left_out, keep), statistics)
    written = len(found.todo)
    before = len(found.cases) * len(domains) - written
    print(f"prepared {len(found.cases)} cases in {root} ({written} domains written, {before} were there)")


def _found(
    spec: CarSet,
    src: Path,
    wanted: Protocols,
    domains: Sequence[str],
    known: Mapping[str, Mapping[str, Record]],
    leave_out: Sequence[str],
    keep: int | None,
    allow_partial: bool,
) -> Found:
    """``known``: what is finished of each case, whose raw files may be gone."""
    names = _names(wanted)
    unknown = [name for name in leave_out if name not in names]
    if unknown:
        raise InputError(f"--without: got {unknown[0]!r}, wanted cases of the lists{nearest(unknown[0], names)}")
    cases: dict[str, Files] = {}
    missing: dict[str, str] = {}
    todo = []
    for case in names:
        if case in leave_out:
            continue
        files: Files = {}
        for domain in domains:
            paths, record = domain_files(src, spec.domain(domain), case), known.get(case, {}).get(domain)
            if not isinstance(paths, str):
                files[domain] = paths
                if record is None or (record["files"], record["keep"]) != (sizes(paths), keep):
                    todo.append((case, domain))
            elif record is None:
                missing.setdefault(case, paths)
        cases[case] = files
    if missing and not allow_partial:
        first = next(iter(missing))
        raise InputError(
            f"--src: {src} lacks files of {len(missing)} of {len(names)} cases, first {missing[first]} of {first!r}; "
            "--allow-partial prepares the others"
        )
    protocols = without(wanted, {*missing, *leave_out})
    kept = set(_names(protocols))
    if not kept:
        raise InputError(f"--src: {src} has too few cases, wanted one to train and one to test of a protocol")
    left_out = [name for name in names if name not in kept]
    chosen = {case: files for case, files in cases.items() if case in kept}
    return Found(protocols, chosen, left_out, [(case, domain) for case, domain in todo if case in kept])


def _finished(spec: CarSet, root: Path, case: str, domains: Sequence[str]) -> dict[str, Record]:
    """What is recorded of the domains of a case that are there and whole."""
    records = {domain: finished(root, case, spec.domain(domain)) for domain in domains}
    return {domain: record for domain, record in records.items() if record is not None}


def found_scalars(spec: CarSet, src: Path, root: Path, case: str, given: str | None) -> Scalars:
    """The coefficients of a case: of the table, or those of an earlier run where that is gone."""
    path, there = coefficient_file(src, spec, case, given), root / sample_folder_name(case) / "scalars.json"
    if given is None and not path.is_file() and there.is_file():
        return read_json(there)["scalars"]
    return read_coefficients(spec.scalars, path, case)


def _report(root: Path, found: Found, default: str, spec: CarSet, keep: int | None) -> None:
    rows = dict.fromkeys(DOMAINS, 0)
    for case, domain in found.todo:
        with OpenedDomain(spec.domain(domain), found.cases[case][domain]) as opened:
            rows[domain] += opened.rows if keep is None else min(opened.rows, keep)
    print(f"dry run: nothing is written. {len(found.cases)} cases, {len(found.todo)} domains to write into {root}")
    for domain, count in rows.items():
        columns = sum(f.columns for f in (*spec.domain(domain).geometry, *spec.domain(domain).fields))
        print(f"{domain}: {count:,} rows to write, {4e-6 * columns * count:,.1f} MB")
    for protocol, lists in found.protocols.items():
        parts = ", ".join(f"{part} {len(names)}" for part, names in lists.items())
        print(f"protocol {protocol}{' (default)' if protocol == default else ''}: {parts}")


def _statistics(
    protocols: Protocols,
    records: Mapping[str, Mapping[str, Record]],
    domains: Sequence[str],
    scalars: Mapping[str, Scalars],
) -> dict[str, Any]:
    """The content of ``stats.json``, from what the conversion recorded of each case; coefficients as ``scalar_*``."""
    content: dict[str, Any] = {}
    for protocol, lists in protocols.items():
        fields = {}
        for domain in domains:
            found = [records[case][domain] for case in lists["train"]]
            for field in found[0]["fields"]:
                fields[f"{domain}_{field}"] = merged(found, field)
        for name in scalars[lists["train"][0]]:
            values = [scalars[case][name]["value"] for case in lists["train"] if name in scalars[case]]
            running = RunningStatistics()
            running.update(np.array(values))
            fields[f"scalar_{name}"] = running.result()
        content[protocol] = {"samples": len(lists["train"]), "fields": fields}
    return {"protocols": content}


def _names(protocols: Protocols) -> list[str]:
    return list(dict.fromkeys(name for parts in protocols.values() for part in parts.values() for name in part))


def card(spec: CarSet, domains: Sequence[str], left_out: Sequence[str], keep: int | None) -> str:
    """What is in the folder, where it is from, what is not known of it."""
    lines = [f"# {spec.title}, prepared", ""]
    lines += [f"{spec.about}; one folder a case, written by `tools/prepare_data.py {spec.name}`.", ""]
    lines += ["| file | shape | unit | meaning |", "|---|---|---|---|"]
    for name in domains:
        lines += _rows(spec.domain(name))
    lines += [
        f"| scalars.json | | 1 | {', '.join(f'`{name}`' for name in spec.scalars.columns)} and further columns |",
        "| surface.json, volume.json | | | rows, statistics of the case, names and sizes of the raw files |",
        "",
        "float32 where nothing else is said. Rows are in random order, one order for all files of a domain and a case: "
        "any run of them is a random sample of the points. `row` leads back to the file.",
        "",
    ]
    lines += [f"Flow: {spec.conditions}."]
    lines += [f"`{name}`: {SCALARS[name]}." for name in spec.scalars.columns]
    if any(field.name == "pressure_coefficient" for field in spec.surface.fields):
        lines += [
            "Force on the body over the dynamic pressure: sum of (wall_shear - pressure_coefficient normal) area."
        ]
    lines += ["", *(f"- {note}" for note in spec.notes), ""]
    if keep is not None:
        lines += [f"Of each domain of a case about {keep:,} rows are here, drawn at random; statistics are of all.", ""]
    if left_out:
        lines += [f"Left out: {', '.join(left_out)}.", ""]
    lines += [f"Source: {spec.source}. Licence of the data: {spec.licence}. Cite: {spec.citation}.", ""]
    lines += ["Names of files and arrays, units and conditions are from public descriptions of the set; the conversion"]
    lines += ["was tested on files in these formats, not yet on the download. Statistics of the training split are in"]
    lines += ["`stats.json`.", ""]
    return "\n".join(lines)


def _rows(domain: Domain) -> list[str]:
    stored = {field.name: ", ".join(field.arrays) for field in domain.fields}
    return [
        f"| {domain.name}_{field.name}.npy | (N, {field.columns}) | {field.unit} | {field.meaning}"
        f"{f' (`{stored[field.name]}`)' if field.name in stored else ''} |"
        for field in (*domain.geometry, *domain.fields)
    ]
