"""What docs/results.md and the README say, and the reports in docs/results that it is held against."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path

from pointcept_bsa.analysis.comparison.statistics import Verdict, adjust, paired_verdict

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / "pointcept_bsa" / "docs" / "results"
PAGE = (ROOT / "pointcept_bsa" / "docs" / "results.md").read_text(encoding="utf-8")
SETS = ("periodic_hills", "shapenet_car_mini24", "airfrans", "beams", "ellipsoid_flow", "proteins", "ventricle")
NETWORKS = {
    "full attention": "full_attention",
    "BSA": "bsa",
    "BSA, group compression": "bsa_group_compression",
    "Erwin": "erwin",
    "Erwin-NSA": "erwin_nsa",
    "PT-v3m1": "ptv3",
}
NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:e-\d+)?"


def tables(text: str, heading: str) -> dict[str, list[str]]:
    """Cells by the first one of the table with that header row."""
    lines = iter(text.splitlines())
    assert any(line == heading for line in lines), heading
    rows: dict[str, list[str]] = {}
    for line in lines:
        if not line.startswith("|"):
            return rows
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        rows[cells[0]] = cells[1:]
    return rows


def assert_printed(text: str, value: float) -> None:
    """The text is the value, rounded as far as it goes."""
    mantissa, _, exponent = text.partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    assert abs(float(text) - value) <= 0.501 * unit, (text, value)


def reports(folder: str, seeds: tuple[int, ...] = (0, 1, 2)) -> list[dict]:
    found = [json.loads(path.read_text()) for path in sorted((REPORTS / folder).glob("seed_*.json"))]
    assert tuple(report["seed"] for report in found) == seeds
    return found


def errors(folder: str, density: str | None = None, seeds: tuple[int, ...] = (0, 1, 2)) -> list[dict[str, float]]:
    """{sample: relative L2} of each seed, at a density of the clouds where the reports have several."""
    return [
        {sample["name"]: sample.get(density, sample)["relative_l2"] for sample in report["samples"]}
        for report in reports(folder, seeds)
    ]


def mean_of(each: dict[str, float]) -> float:
    return statistics.fmean(each.values())


def as_told(folder: str) -> list[dict[str, float]]:
    """As the page tells them: hills in pieces."""
    return errors(folder, "at_training_density" if "periodic_hills" in folder else None)


def as_written(verdict: Verdict) -> str:
    return f"{verdict.ratio:.3g} ({verdict.low:.3g} to {verdict.high:.3g}) {verdict.word}"


def assert_mean_and_std(text: str, found: list[dict[str, float]]) -> None:
    means = [statistics.fmean(each.values()) for each in found]
    mean, std = re.fullmatch(rf"\**({NUMBER}) ± ({NUMBER})\**", text).groups()
    assert_printed(mean, statistics.fmean(means))
    assert_printed(std, statistics.stdev(means))


HEADING = "| network | hills | 24 cars | AirFRANS | beams | ellipsoids | proteins | ventricle |"


def verdicts(name: str) -> dict[str, str]:
    """As the page writes them: against BSA, with Holm's correction for all networks of the set."""
    folders = sorted(path.name for path in (REPORTS / name).iterdir())
    of = {folder: paired_verdict(as_told(f"{name}/{folder}"), as_told(f"{name}/bsa")) for folder in folders}
    del of["bsa"]
    assert len(of) == (12 if name in SETS[:2] else 5)
    return {folder: as_written(verdict) for folder, verdict in adjust(of).items()}
