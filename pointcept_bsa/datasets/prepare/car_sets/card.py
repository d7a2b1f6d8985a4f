"""The card of a prepared set of cars."""

from __future__ import annotations

from collections.abc import Sequence

from pointcept_bsa.datasets.car_sets.spec import SCALARS, CarSet, Domain


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
