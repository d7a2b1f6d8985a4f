"""Your own data: from a folder of mesh or array files to the prepared folder.

Every file is looked at before anything is written; a run that was cut short goes on where it stopped.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pointcept_bsa.arguments.carried import command_line
from pointcept_bsa.datasets.custom.features import other_cells
from pointcept_bsa.datasets.custom.labels import classes_of, label_lines
from pointcept_bsa.datasets.custom.recipe import Recipe, check_used, field_key, read_sample
from pointcept_bsa.datasets.custom.scan import Scan, constant_targets, precision_lines, report, sample_lines, scan
from pointcept_bsa.datasets.custom.sources import find_samples
from pointcept_bsa.datasets.custom.splits import Lists, make_split, shared_samples, torn_series_notes
from pointcept_bsa.datasets.custom.stores import FIELDS_FILE, Field, fields_content, notes_of
from pointcept_bsa.datasets.custom.suggested_config import suggested_configs
from pointcept_bsa.datasets.custom.surface_pressure import bare_lines, checked_surface_pressure, parse_surface_pressure
from pointcept_bsa.datasets.custom.table import Table, check_rows, read_parameters
from pointcept_bsa.datasets.inputs import GLOBAL
from pointcept_bsa.datasets.prepare.layout import (
    check_destination,
    check_sample_names,
    field_statistics,
    finish,
    is_finished,
    refuse_other_data,
    write_sample,
)
from pointcept_bsa.datasets.prepared import sample_folder_name
from pointcept_bsa.errors import InputError, nearest
from pointcept_bsa.files.atomic import write_text
from pointcept_bsa.files.json_file import json_text, parse_json, read_json
from pointcept_bsa.files.progress import Progress

NO_TARGET = "--target: got none, wanted the names of the fields to predict (--dry-run lists those there are)"


def prepare_custom(
    src: str,
    dst: str,
    *,
    target: Sequence[str] = (),
    label: str | None = None,
    feature: Sequence[str] = (),
    unit: Sequence[str] = (),
    surface_pressure: Sequence[str] = (),
    parameters: str | None = None,
    dimension: int | None = None,
    wall_mask: str | None = None,
    cells_to_points: bool = False,
    drop_loose_points: bool = False,
    columns: Sequence[str] = (),
    split_file: str | None = None,
    fractions: Sequence[float] | None = None,
    seed: int = 0,
    whole_series: bool = False,
    skip_bad: bool = False,
    dry_run: bool = False,
    overwrite: bool = False,
) -> None:
    """Write the prepared folder ``dst`` from the files below ``src``.

    Args:
        target, feature, dimension, wall_mask, cells_to_points, drop_loose_points, columns: see ``Recipe``.
        label: instead of a target, the field of integers that says which class a point has.
        unit: "field=unit" each.
        surface_pressure: the target that is one, then "density=1.2" and so on, see ``custom.surface_pressure``.
        parameters: table of global parameters, see ``custom.table``.
        split_file, fractions, seed, whole_series: see ``custom.splits.make_split``.
        skip_bad: leave out samples that cannot be used, and say so in the card.
        dry_run: look at everything, report it, write nothing; what would stop a run is an error here, too.
        overwrite: write samples again that are there, replace other data.

    Raises:
        InputError: wrong arguments, no files, files that cannot be used (without ``skip_bad``), targets that are
            constant, other data in ``dst``.
    """
    if label is not None and (target or surface_pressure):
        raise InputError(f"--label: got {label!r} and --target or --surface-pressure, wanted labels alone, or fields")
    chosen = tuple(target) if label is None else (label,)
    read = (dimension, wall_mask, cells_to_points, drop_loose_points, tuple(columns), label)
    recipe = Recipe(chosen, tuple(feature), *read)
    units = _units(unit, recipe)
    declared = parse_surface_pressure(surface_pressure)
    if not recipe.target and not dry_run:
        raise InputError(NO_TARGET)
    if Path(src).resolve() == Path(dst).resolve():
        raise InputError(f"--dst: got {dst!r}, the folder of --src, wanted another one")
    sources = find_samples(src, parameters)
    table = read_parameters(parameters) if parameters is not None else {}
    check_rows(table, sources, parameters or "")
    protocol, lists = make_split(list(sources), split_file, fractions, seed, whole_series)
    unlisted = sorted(set(sources) - {name for names in lists.values() for name in names})
    sources = {name: path for name, path in sources.items() if name not in set(unlisted)}
    progress = Progress("look", len(sources))
    seen = scan(sources, recipe, table, progress.update)
    progress.close()
    plan = _Plan(
        Path(dst),
        recipe,
        units=units,
        table=table,
        sources=sources,
        seen=seen,
        protocol=protocol,
        lists=lists,
        unlisted=unlisted,
        skip_bad=skip_bad,
        overwrite=overwrite,
        declared=declared,
    )
    problems = plan.problems()
    if dry_run:
        plan.report(problems)
    if problems:
        more = f" (and {len(problems) - 1} more)" if dry_run and len(problems) > 1 else ""
        raise InputError(f"dry run: a run would stop: {problems[0]}{more}" if dry_run else str(problems[0]))
    if not dry_run:
        plan.write()


@dataclass(frozen=True)
class _Plan:
    """What a run writes, or why it cannot: the dry run and the run ask the same."""

    root: Path
    recipe: Recipe
    units: dict[str, str]
    table: Table
    sources: dict[str, Path]
    seen: Scan
    protocol: str
    lists: Lists
    unlisted: list[str]
    skip_bad: bool
    overwrite: bool
    declared: dict[str, Any] | None = None

    @property
    def used(self) -> Lists:
        """The lists without the samples that cannot be used."""
        return {part: [name for name in names if name not in self.seen.bad] for part, names in self.lists.items()}

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(name for part in self.used.values() for name in part))

    def problems(self) -> list[InputError]:
        """Everything that stops a run before it writes."""
        checks = (
            self._check_target,
            lambda: self._surface_pressure(),
            lambda: self._labels(),
            lambda: check_used(self.recipe, self.table),
            self._check_bad,
            lambda: check_sample_names(self.names),
            lambda: check_destination(self.root, self._bytes(self._missing())),
            lambda: refuse_other_data(self.root, self.names, self.overwrite),
            lambda: _refuse_other_recipe(self.root, self.content(), self.overwrite),
        )
        found: list[InputError] = []
        for check in checks:
            try:
                check()
            except InputError as error:
                if str(error) not in map(str, found):
                    found.append(error)
        return found

    def content(self) -> dict[str, Any]:
        """The content of ``fields.json``; without fields where no sample could be read."""
        seen, recipe = self.seen, self.recipe
        infos = {key: count.info for key, count in seen.fields.items()}
        target, fields = (
            [
                Field(infos[key], self.units.get(source, "unknown"))
                for source in named
                if (key := field_key(source)) in infos
            ]
            for named in (recipe.target, recipe.fields)
        )
        notes = [*notes_of(infos, recipe), *_dropped_notes(seen, self.unlisted), *self.doubts()]
        more = self._surface_pressure(), self._labels()
        options = {key: value for key, value in asdict(recipe).items() if key != "label"}
        return fields_content(seen.dimension, target, fields, options, notes, *more)

    def doubts(self) -> list[str]:
        """A line for each thing that makes the data, or a test on them, doubtful."""
        seen = self.seen
        shared = shared_samples(seen.digests, self.used)
        bare = bare_lines(self.declared, self.names, seen.faces)
        return [*precision_lines(seen), *sample_lines(seen), *bare, *self.torn(), *shared]

    def torn(self) -> list[str]:
        """A note of a draw that leaves steps of one simulation on both sides."""
        return torn_series_notes(self.lists) if self.protocol.startswith("drawn") else []

    def _labels(self) -> list[int] | None:
        """The classes of a label, where samples could be read."""
        return (
            classes_of(self.seen.labels, self.recipe.label)
            if self.recipe.label is not None and self.seen.labels
            else None
        )

    def _surface_pressure(self) -> dict[str, Any] | None:
        """What is declared of the target, checked where samples could be read."""
        infos = {key: count.info for key, count in self.seen.fields.items()}
        target = [infos[key] for source in self.recipe.target if (key := field_key(source)) in infos]
        declared = self.declared if target else None
        return checked_surface_pressure(declared, target, self.seen.dimension, "--surface-pressure")

    def write(self) -> None:
        root, seen, content, names = self.root, self.seen, self.content(), self.names
        keys = ["coord", *(entry["key"] for part in ("target", "fields") for entry in content[part])]
        exact = {key for key, count in seen.fields.items() if count.info.kind in GLOBAL or key in seen.wide}
        wide = [key for key in keys if key in seen.wide]
        todo = [name for name in names if self.overwrite or not is_finished(root, name, keys, wide)]
        root.mkdir(parents=True, exist_ok=True)
        if self.overwrite:
            (root / "split.json").unlink(missing_ok=True)  # until all is there
            _remove_orphans(root, names)
        write_text(root / FIELDS_FILE, json_text(content))
        progress = Progress("prepare", len(todo))
        for name in todo:
            sample = read_sample(self.sources[name], name, self.recipe, self.table, seen.dimension)
            kinds = {key: np.float64 if key in exact else np.float32 for key in keys}
            arrays = {key: np.ascontiguousarray(sample.arrays[key], kind) for key, kind in kinds.items()}
            if "face" in sample.arrays:
                arrays["face"] = sample.arrays["face"]
            blocks = enumerate(other_cells(sample.cells).items())
            arrays |= {f"cells.{i}.{kind}": block.astype(np.int32) for i, (kind, block) in blocks}
            write_sample(root, name, arrays)
            progress.update()
        progress.close()
        protocols = {self.protocol: self.used}
        statistics = field_statistics(root, protocols, keys, wide, trained=True)
        offsets = statistics["protocols"][self.protocol].get("offsets", {})
        finish(root, protocols, self.protocol, keys, _card(content, exact, offsets), statistics)
        print(f"prepared {len(names)} samples in {root} ({len(todo)} written, {len(names) - len(todo)} were there)")
        box = ", ".join(f"{value:g}" for value in _box_side(seen))
        print(f"dimension {seen.dimension}, sides of the box around all samples: {box}")
        for line in self.doubts():
            print(line)
        for key, offset in offsets.items():
            print(f"{key}: far from 0, kept in float64; the samples are given without {_numbers(offset)}")
        fields = statistics["protocols"][self.protocol]["fields"]
        points = [seen.points[name] for name in names]
        _write_configs(
            root, suggested_configs(root, content, fields, self.used["train"], points, seen.zero), self.overwrite
        )

    def report(self, problems: Sequence[InputError]) -> None:
        """Print what the dry run has found."""
        lists, seen = self.lists, self.seen
        print(f"dry run: nothing is written. {len(self.sources)} samples to write into {self.root}")
        counts = ", ".join(f"{part} {len(names)}" for part, names in lists.items())
        unlisted = f"; {len(self.unlisted)} samples not listed" if self.unlisted else ""
        print(f"protocol {self.protocol}: {counts}{unlisted}")
        bare = bare_lines(self.declared, self.names, seen.faces)
        print("\n".join([*self.torn(), *report(seen, self.sources), *bare, *shared_samples(seen.digests, self.used)]))
        if self.recipe.label is not None and seen.labels:
            print("\n".join(label_lines(seen.labels, self.recipe.label)))
        print(f"size on disk: about {self._bytes(self.names) / 1e6:.1f} MB")
        for problem in problems:
            print(f"a run would stop: {problem}")

    def _missing(self) -> list[str]:
        """Samples that are not there yet."""
        return [name for name in self.names if not (self.root / sample_folder_name(name)).is_dir()]

    def _bytes(self, names: Sequence[str]) -> int:
        """Of the arrays of points and cells of samples."""
        points = sum(self.seen.points[name] for name in names)
        cells = sum(self.seen.corners.get(name, 0) for name in names)
        fields = [(key, count.info) for key, count in self.seen.fields.items() if count.info.kind not in GLOBAL]
        return points * sum(info.columns * (8 if key in self.seen.wide else 4) for key, info in fields) + 4 * cells

    def _check_target(self) -> None:
        if not self.recipe.target:
            raise InputError(NO_TARGET)
        for line in constant_targets(self.seen, self.recipe.target) if self.recipe.label is None else ():
            raise InputError(f"--target: {line}, wanted a field that varies; columns are chosen as in 'velocity[:2]'")

    def _check_bad(self) -> None:
        if not self.seen.bad:
            return
        first, count = next(iter(self.seen.bad.values())), len(self.seen.bad)
        if not self.skip_bad:
            more = f" (and {count - 1} more samples; --dry-run lists them)" if count > 1 else ""
            raise InputError(f"{first}{more}; --skip-bad leaves such samples out")
        for part in ("train", "test"):
            if not self.used[part]:
                more = "; another --seed draws others" if self.protocol.startswith("drawn") else ""
                raise InputError(
                    f"--skip-bad: no sample of {part!r} is left{more}; the first that cannot be used: {first}"
                )


def _write_configs(root: Path, suggested: tuple[dict[str, str], str], overwrite: bool) -> None:
    """Write the configs that fit the data; those there that say something else are kept without ``overwrite``."""
    texts, told = suggested
    for name, text in texts.items():
        path = root / name
        if overwrite or not path.exists():
            write_text(path, text)
        elif path.read_text(encoding="utf-8", errors="replace") != text:
            print(f"{path}: is there and differs from what fits now, kept; --overwrite writes it anew")
    print(f"configs that fit these data, {', '.join(texts)}: {told}")
    print(command_line("train", "--config", root / "bsa.py"))


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


def _dropped_notes(seen: Scan, unlisted: list[str]) -> list[str]:
    notes = [f"left out, cannot be used: {name}" for name in seen.bad]
    if unlisted:
        notes.append(f"left out, not in the lists: {len(unlisted)} samples")
    if seen.duplicates:
        notes.append(f"{sum(seen.duplicates.values())} points lie where another point of their sample does")
    return notes


def _units(pairs: Sequence[str], recipe: Recipe) -> dict[str, str]:
    units = {}
    known = [*recipe.target, *recipe.fields]
    for pair in pairs:
        name, equals, unit = pair.rpartition("=")
        if not equals or not unit or name not in known:
            raise InputError(f"--unit: got {pair!r}, wanted field=unit with a field from {known}{nearest(name, known)}")
        if name in units:
            raise InputError(f"--unit: got {name!r} twice, wanted one unit")
        units[name] = unit
    return units


def _box_side(seen: Scan) -> list[float]:
    result = seen.fields["coord"].statistics.result()
    return [high - low for low, high in zip(result["min"], result["max"], strict=True)]


def _numbers(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:.10g}" for value in values) + ")"


def _card(content: dict[str, Any], exact: set[str], offsets: dict[str, list[float]]) -> str:
    rows = [f"| coord.npy | (N, {content['dimension']}) {_kind('coord', exact)} | unknown | points |"]
    for part, meaning in (("target", "to be predicted"), ("fields", "given")):
        for entry in content[part]:
            rows_of = "1" if entry["kind"] in GLOBAL else "N"
            shape = f"({rows_of}, {entry['columns']}) {_kind(entry['key'], exact)}"
            rows.append(f"| {entry['key']}.npy | {shape} | {entry['unit']} | {entry['source']}, {meaning} |")
    told = [
        f"{key}: far from 0, so kept in float64; {_numbers(offset)} (`offsets` of `stats.json`) is subtracted before "
        "the samples become float32, and added again in exports and predictions"
        for key, offset in offsets.items()
    ]
    notes = "".join(f"- {note}\n" for note in [*content["notes"], *told]) or "- nothing\n"
    return (
        "# Own data, prepared\n\nOne folder a sample, written by `tools/prepare_data.py custom`; `fields.json` holds "
        "the fields and options.\n\n| file | shape | unit | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n\n"
        "`face.npy` (F, 3 or 4) is there for meshes of triangles only or quads only, `cells.<number>.<type>.npy` "
        "(F, k) for others: exports of a test have these cells.\n\n## Notes\n\n" + notes
    )


def _kind(key: str, exact: set[str]) -> str:
    return "float64" if key in exact else "float32"
