"""Where the files of a case lie below the raw folder."""

from __future__ import annotations

import re
from pathlib import Path

from pointcept_bsa.datasets.car_sets.spec import CarSet, Domain
from pointcept_bsa.errors import InputError

PART = re.compile(r"\.(\d+)\.part$")


def domain_files(src: Path, domain: Domain, case: str) -> list[list[Path]] | str:
    """For each source of the domain its file, or the parts of it in order; or the pattern of one that is not there.

    Raises:
        InputError: several files where one is wanted, a part that is missing between others.
    """
    found = []
    for source in domain.sources:
        pattern = filled(source.pattern, case)
        files = sorted(src.glob(pattern)) or sorted(src.glob(f"{pattern}.*.part"))
        if not files:
            return pattern
        parts = [PART.search(file.name) for file in files]
        if len(files) > 1 and not all(parts):
            raise InputError(f"--src: {case!r} has {len(files)} files {pattern}, wanted one")
        numbers = sorted(int(part[1]) for part in parts if part)
        if numbers != list(range(len(numbers))):
            raise InputError(f"--src: {src / pattern} has parts {numbers}, wanted all from 0 on")
        found.append(files)
    return found


def coefficient_file(src: Path, spec: CarSet, case: str, given: str | None) -> Path:
    """The table that has the coefficients of a case: ``given``, or where the set has it."""
    return Path(given) if given is not None else src / filled(spec.scalars.pattern, case)


def filled(pattern: str, case: str) -> str:
    """The pattern for a case such as ``run_7`` or ``F_D_WM_WW_0007``."""
    group, _, number = case.rpartition("_")
    return pattern.format(case=case, number=number, group=group)
