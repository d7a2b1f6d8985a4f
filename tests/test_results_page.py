"""The tables of six and of seven networks in docs/results.md are those of the reports in docs/results."""

from __future__ import annotations

import re
import statistics
from itertools import combinations

import pytest

from pointcept_bsa.analysis.comparison.statistics import adjust, paired_verdict

from .results_page import (
    HEADING,
    NETWORKS,
    NUMBER,
    PAGE,
    ROOT,
    SETS,
    as_told,
    assert_mean_and_std,
    assert_printed,
    errors,
    reports,
    tables,
    verdicts,
)

OTHERS = ("FLARE", "AB-UPT", "Transolver", "LRSA", "MSPT", "PointNet", "UPT")


def test_errors_of_six_networks_and_what_is_bold():
    rows = tables(PAGE, HEADING)
    assert rows == tables((ROOT / "README.md").read_text(encoding="utf-8"), HEADING)
    rows.pop("---")
    assert list(rows) == list(NETWORKS)
    for column, name in enumerate(SETS):
        found = {label: as_told(f"{name}/{folder}") for label, folder in NETWORKS.items()}
        for label, each in found.items():
            assert_mean_and_std(rows[label][column], each)
        best = min(found, key=lambda label: statistics.fmean(statistics.fmean(each.values()) for each in found[label]))
        pairs = {f"{a}|{b}": paired_verdict(found[a], found[b]) for a, b in combinations(found, 2)}
        apart = {key for key, verdict in adjust(pairs).items() if verdict.told_apart}
        for label in found:
            together = label == best or not apart & {f"{label}|{best}", f"{best}|{label}"}
            assert rows[label][column].startswith("**") == together, (name, label)


@pytest.mark.parametrize("name", SETS)
def test_verdicts_against_bsa(name):
    rows = tables(PAGE, HEADING.replace("| network", "| against BSA"))
    known = verdicts(name)
    for label, folder in NETWORKS.items():
        if label != "BSA":
            assert rows[label][SETS.index(name)] == known[folder]


def test_parameters_and_operations():
    page = PAGE[PAGE.index("Parameters, and GFLOPs of one test cloud whole (hills 15,600 points, proteins 6,887") :]
    rows = tables(page, HEADING)
    for column, name in enumerate(SETS):
        for label, folder in NETWORKS.items():
            for report in reports(f"{name}/{folder}"):
                millions, giga = rows[label][column].split(" M, ")
                assert_printed(millions, report["parameters"] / 1e6)
                assert_printed(giga, report["gflops"]["value"])
                points = {"periodic_hills": 15600, "proteins": 6887}
                assert report["gflops"]["points"] == points.get(name, report["gflops"]["points"])


def test_seven_other_networks():
    head = "| network | hills | against BSA | 24 cars | against BSA | parameters, hills | GFLOPs of a piece of at most"
    rows = tables(PAGE, f"{head} 8,192 points |")
    rows.pop("---")
    assert list(rows) == list(OTHERS)
    of_hills, of_cars = verdicts("periodic_hills"), verdicts("shapenet_car_mini24")
    for label, (hills, on_hills, cars, on_cars, millions, giga) in rows.items():
        folder = label.replace("-", "").lower()
        assert_mean_and_std(hills, as_told(f"periodic_hills/{folder}"))
        assert_mean_and_std(cars, as_told(f"shapenet_car_mini24/{folder}"))
        for text, full in ((on_hills, of_hills[folder]), (on_cars, of_cars[folder])):
            ratio, rest = text.split(" ", 1)
            assert_printed(ratio, float(full.split()[0]))
            assert full.split(" ", 1)[1].replace(" not told apart", "") == rest
        report = reports(f"periodic_hills/{folder}")[0]
        assert report["gflops"]["points"] == 8192
        assert_printed(millions.removesuffix(" M"), report["parameters"] / 1e6)
        assert_printed(giga, report["gflops"]["value"])


def test_whole_hills_and_proteins_in_pieces():
    text = " ".join(PAGE.split())
    text = text[text.index("The other way on the test samples: hills whole") :]
    hills, proteins = text[: text.index("; proteins in pieces")], text[text.index("; proteins in pieces") :]
    pairs = re.findall(rf"{NUMBER} ± {NUMBER}", hills)
    assert len(pairs) == 6
    for pair, folder in zip(pairs, NETWORKS.values(), strict=True):
        assert_mean_and_std(pair, errors(f"periodic_hills/{folder}", "whole"))
    for number, folder in zip(re.findall(NUMBER, proteins), NETWORKS.values(), strict=False):
        means = [statistics.fmean(each.values()) for each in errors(f"proteins/{folder}", "at_training_density")]
        assert_printed(number, statistics.fmean(means))


def test_learning_curves():
    rows = tables(PAGE, "| | hills 1/4 | 1/2 | all 21 | 24 cars 1/4 | 1/2 | all 12 |")
    for label in ("full attention", "BSA", "Erwin"):
        for column, cell in enumerate(rows[label]):
            name, share = SETS[column // 3], (0.25, 0.5, 1.0)[column % 3]
            folder = f"learning_curves/{name}/{NETWORKS[label]}_{share}"
            assert_mean_and_std(cell, errors(folder, "whole"))
            count = {0.25: (6, 3), 0.5: (11, 6), 1.0: (21, 12)}[share][column // 3]
            assert {report["training"]["samples"] for report in reports(folder)} == {count}
    cars = {
        label: errors(f"learning_curves/{SETS[1]}/{NETWORKS[label]}_0.25")
        for label in ("full attention", "BSA", "Erwin")
    }
    told = adjust({label: paired_verdict(cars["Erwin"], cars[label]) for label in ("full attention", "BSA")})
    text = " ".join(PAGE.split())
    for label, words in (("full attention", "0.86 of full attention's, "), ("BSA", "0.89 of BSA's, ")):
        assert told[label].word == "better"
        assert f"{words}{told[label].low:.3f} to {told[label].high:.3f}" in text


FASTEST = {
    "periodic_hills": 13.2,
    "shapenet_car_mini24": 4.5,
    "airfrans": 4.9,
    "beams": 5.7,
    "ellipsoid_flow": 7.1,
    "proteins": 3.3,
    "ventricle": 2.9,  # no table of errors: two validation simulations
}  # s


ON_AN_H200 = {  # ms, of trainings on other cards, whose reports have none
    "proteins": dict(full_attention=7.59, bsa=8.63, bsa_group_compression=9.05, erwin=6.66, erwin_nsa=8.12),
    "ventricle": dict(full_attention=10.90, bsa=11.92, bsa_group_compression=10.76, erwin=7.27, erwin_nsa=14.32),
}


def milliseconds(name: str, folder: str) -> float:
    """Of an iteration, as the page tells."""
    if folder in ON_AN_H200.get(name, {}):
        return ON_AN_H200[name][folder]
    (found,) = {report["run"]["ms_per_iteration"] for report in reports(f"{name}/{folder}")}
    return found


def test_errors_after_the_time_of_the_fastest_network():
    columns = "hills, 13.2 s | 24 cars, 4.5 s | AirFRANS, 4.9 s | beams, 5.7 s | ellipsoids, 7.1 s | proteins, 3.3 s"
    rows = tables(PAGE, f"| network | {columns} |")
    for column, (name, seconds) in enumerate(list(FASTEST.items())[:-1]):
        for label, folder in list(NETWORKS.items())[:-1]:
            found = []
            for report in reports(f"{name}/{folder}"):
                curve = [(time, value) for _, time, value in report["run"]["validation"]["relative_l2"]]
                if name in ON_AN_H200:
                    steps = [row[0] for row in report["run"]["validation"]["relative_l2"]]
                    times = [step * milliseconds(name, folder) / 1e3 for step in steps]
                    curve = [(time, value) for time, (_, value) in zip(times, curve, strict=True)]
                after = next(i for i, (time, _) in enumerate(curve) if time >= seconds - 1e-9)
                (before, first), (then, second) = curve[after - 1], curve[after]
                found.append(first + (second - first) * (seconds - before) / (then - before))
            assert_printed(rows[label][column], statistics.fmean(found))


def test_milliseconds_an_iteration_of_networks_alone():
    rows = tables(PAGE[PAGE.index("Milliseconds an iteration") :], HEADING)
    for column, (name, seconds) in enumerate(FASTEST.items()):
        times = {}
        for label, folder in NETWORKS.items():
            times[label] = milliseconds(name, folder)
            assert_printed(rows[label][column].strip("()"), times[label])
        (iterations,) = {report["run"]["iterations"] for report in reports(f"{name}/bsa")}
        assert round(min(times.values()) * iterations / 1e3, 1) == seconds
