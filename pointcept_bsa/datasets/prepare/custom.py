"""Your own data: from a folder of mesh or array files to the prepared folder.

Every file is looked at before anything is written; a run that was cut short goes on where it stopped.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pointcept_bsa.datasets.own.recipe import GLOBAL, Recipe, field_key, read_sample
from pointcept_bsa.datasets.own.scan import Scan, constant_targets, report, scan
from pointcept_bsa.datasets.own.sources import find_samples
from pointcept_bsa.datasets.own.splits import Lists, make_split
from pointcept_bsa.datasets.own.stores import FIELDS_FILE, Field, fields_content, notes_of
from pointcept_bsa.datasets.own.table import Table, read_parameters
from pointcept_bsa.datasets.prepare.layout import finish, is_finished, refuse_other_data, write_sample, write_text
from pointcept_bsa.datasets.prepare.progress import Progress
from pointcept_bsa.datasets.prepare.samples import SAFE_NAME
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.files.json_file import json_text, parse_json, read_json


def prepare_custom(
    src: str,
    dst: str,
    *,
    target: Sequence[str] = (),
    feature: Sequence[str] = (),
    unit: Sequence[str] = (),
    parameters: str | None = None,
    dimension: int | None = None,
    wall_mask: str | None = None,
    cells_to_points: bool = False,
    drop_loose_points: bool = False,
    columns: Sequence[str] = (),
    split_file: str | None = None,
    fractions: Sequence[float] | None = None,
    seed: int = 0,
    skip_bad: bool = False,
    dry_run: bool = False,
    overwrite: bool = False,
) -> None:
    """Write the prepared folder ``dst`` from the files below ``src``.

    Args:
        target, feature, dimension, wall_mask, cells_to_points, drop_loose_points, columns: see ``Recipe``.
        unit: "field=unit" each.
        parameters: table of global parameters, see ``own.table``.
        split_file, fractions, seed: see ``own.splits.make_split``.
        skip_bad: leave out samples that cannot be used, and say so in the card.
        dry_run: look at everything, report it, write nothing.
        overwrite: write samples again that are there, replace other data.

    Raises:
        InputError: wrong arguments, no files, files that cannot be used (without ``skip_bad``), targets that are
            constant, other data in ``dst``.
    """
    recipe = Recipe(
        tuple(target), tuple(feature), dimension, wall_mask, cells_to_points, drop_loose_points, tuple(columns)
    )
    units = _units(unit, recipe)
    if not recipe.target and not dry_run:
        raise InputError(
            "--target: got none, wanted the names of the fields to predict (--dry-run lists those there are)"
        )
    sources = find_samples(src)
    table = read_parameters(parameters) if parameters is not None else {}
    protocol, lists = make_split(list(sources), split_file, fractions, seed)
    unlisted = sorted(set(sources) - {name for names in lists.values() for name in names})
    sources = {name: path for name, path in sources.items() if name not in set(unlisted)}
    progress = Progress("look", len(sources))
    seen = scan(sources, recipe, table, progress.update)
    progress.close()
    if dry_run:
        _print_report(seen, sources, recipe, dst, protocol, lists, unlisted, skip_bad)
        return
    lists = _without_bad(seen, sources, lists, skip_bad)
    constant = constant_targets(seen, recipe.target)
    if constant:
        raise InputError(
            f"--target: {constant[0]}, wanted a field that varies; columns are chosen as in 'velocity[:2]'"
        )
    dropped = _dropped_notes(seen, unlisted)
    _write(dst, recipe, units, table, sources, seen, {protocol: lists}, dropped, overwrite)


def _write(
    dst: str,
    recipe: Recipe,
    units: dict[str, str],
    table: Table,
    sources: dict[str, Path],
    seen: Scan,
    protocols: dict[str, Lists],
    notes: list[str],
    overwrite: bool,
) -> None:
    root = Path(dst)
    names = list(dict.fromkeys(name for lists in protocols.values() for part in lists.values() for name in part))
    for name in names:
        if not SAFE_NAME.fullmatch(name):
            raise InputError(f"--src: has a sample named {name!r}, wanted letters, digits and -+_./, no leading dot")
    if len({name.replace("/", "__") for name in names}) != len(names):
        raise InputError("--src: has two samples whose names differ in '/' and '__' only, wanted different names")
    refuse_other_data(root, names, overwrite)
    infos = {key: count.info for key, count in seen.fields.items()}
    target, fields = (
        [Field(infos[field_key(source)], units.get(source, "unknown")) for source in sources_]
        for sources_ in (recipe.target, recipe.fields)
    )
    notes = notes_of(infos, recipe) + notes
    content = fields_content(seen.dimension, target, fields, asdict(recipe), notes)
    _refuse_other_recipe(root, content, overwrite)
    keys = ["coord", *(field.info.key for field in (*target, *fields))]
    todo = [name for name in names if overwrite or not is_finished(root, name, keys)]
    root.mkdir(parents=True, exist_ok=True)
    if overwrite:
        (root / "split.json").unlink(missing_ok=True)  # until all is there
        _remove_orphans(root, names)
    write_text(root / FIELDS_FILE, json_text(content))
    progress = Progress("prepare", len(todo))
    for name in todo:
        sample = read_sample(sources[name], name, recipe, table, seen.dimension)
        arrays = {key: np.ascontiguousarray(sample.arrays[key], np.float32) for key in keys}
        if "face" in sample.arrays:
            arrays["face"] = sample.arrays["face"]
        write_sample(root, name, arrays)
        progress.update()
    progress.close()
    finish(root, protocols, next(iter(protocols)), keys, _card(content, keys))
    print(f"prepared {len(names)} samples in {root} ({len(todo)} written, {len(names) - len(todo)} were there)")
    box = ", ".join(f"{value:g}" for value in _box_side(seen))
    print(f"dimension {seen.dimension}, sides of the box around all samples: {box}")


def _refuse_other_recipe(root: Path, content: dict[str, Any], overwrite: bool) -> None:
    """Samples of another recipe must not be mixed with those of this one."""
    path = root / FIELDS_FILE
    if overwrite or not path.is_file():
        return
    try:
        there = read_json(path)
    except InputError:
        there = None
    same = parse_json(json_text(content), path)
    if not isinstance(there, dict) or any(there.get(key) != same[key] for key in ("recipe", "target", "fields")):
        raise InputError(
            f"--dst: {root} was prepared with other fields or options, wanted another folder or --overwrite"
        )


def _remove_orphans(root: Path, names: Sequence[str]) -> None:
    """With --overwrite: sample folders of what was there before, and nothing else."""
    keep = {name.replace("/", "__") for name in names}
    for folder in root.iterdir():
        if folder.is_dir() and folder.name not in keep and (folder / "coord.npy").is_file():
            shutil.rmtree(folder)


def _without_bad(seen: Scan, sources: dict[str, Path], lists: Lists, skip_bad: bool) -> Lists:
    if not seen.bad:
        return lists
    first = next(iter(seen.bad.values()))
    if not skip_bad:
        more = f" (and {len(seen.bad) - 1} more samples; --dry-run lists them)" if len(seen.bad) > 1 else ""
        raise InputError(f"{first}{more}; --skip-bad leaves such samples out")
    left = {part: [name for name in names if name not in seen.bad] for part, names in lists.items()}
    for part in ("train", "test"):
        if not left[part]:
            raise InputError(f"--skip-bad: no sample of {part!r} is left; the first that cannot be used: {first}")
    return left


def _dropped_notes(seen: Scan, unlisted: list[str]) -> list[str]:
    notes = [f"left out, cannot be used: {name}" for name in seen.bad]
    if unlisted:
        notes.append(f"left out, not in the lists: {len(unlisted)} samples")
    if seen.duplicates:
        notes.append(f"{sum(seen.duplicates.values())} points lie where another point of their sample does")
    return notes


def _print_report(
    seen: Scan,
    sources: dict[str, Path],
    recipe: Recipe,
    dst: str,
    protocol: str,
    lists: Lists,
    unlisted: list[str],
    skip_bad: bool,
) -> None:
    print(f"dry run: nothing is written. {len(sources)} samples to write into {dst}")
    counts = ", ".join(f"{part} {len(names)}" for part, names in lists.items())
    print(f"protocol {protocol}: {counts}" + (f"; {len(unlisted)} samples not listed" if unlisted else ""))
    print("\n".join(report(seen, sources)))
    columns = sum(count.info.columns for count in seen.fields.values() if count.info.kind not in GLOBAL)
    size = 4 * columns * sum(seen.points[name] for name in seen.good)
    print(f"size on disk: about {size / 1e6:.1f} MB")
    problems = constant_targets(seen, recipe.target)
    if not recipe.target:
        problems.append("no --target")
    if seen.bad and not skip_bad:
        problems.append(f"{len(seen.bad)} samples cannot be used; --skip-bad leaves them out")
    for problem in problems:
        print(f"a run would stop: {problem}")


def _units(pairs: Sequence[str], recipe: Recipe) -> dict[str, str]:
    units = {}
    known = [*recipe.target, *recipe.fields]
    for pair in pairs:
        name, equals, unit = pair.rpartition("=")
        if not equals or not unit or name not in known:
            raise InputError(f"--unit: got {pair!r}, wanted field=unit with a field from {known}{nearest(name, known)}")
        units[name] = unit
    return units


def _box_side(seen: Scan) -> list[float]:
    result = seen.fields["coord"].statistics.result()
    return [high - low for low, high in zip(result["min"], result["max"], strict=True)]


def _card(content: dict[str, Any], keys: Sequence[str]) -> str:
    rows = [f"| coord.npy | (N, {content['dimension']}) float32 | unknown | points |"]
    for part, meaning in (("target", "to be predicted"), ("fields", "given")):
        for entry in content[part]:
            rows_of = "1" if entry["kind"] in GLOBAL else "N"
            shape = f"({rows_of}, {entry['columns']}) float32"
            rows.append(f"| {entry['key']}.npy | {shape} | {entry['unit']} | {entry['source']}, {meaning} |")
    notes = "".join(f"- {note}\n" for note in content["notes"]) or "- nothing\n"
    return (
        "# Own data, prepared\n\nOne folder a sample, written by `tools/prepare_data.py custom`; `fields.json` holds "
        "the fields and options.\n\n| file | shape | unit | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n\n"
        "`face.npy` (F, 3 or 4) is there for meshes of triangles only or quads only.\n\n## Notes\n\n" + notes
    )
