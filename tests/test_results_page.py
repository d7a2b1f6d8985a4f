"""The numbers of docs/results.md and of the README are those of the reports in docs/results."""

from __future__ import annotations

import json
import math
import re
import statistics
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from pointcept_bsa.analysis.comparison.statistics import Verdict, adjust, paired_verdict
from pointcept_bsa.datasets.ellipsoid_flow_joint import EllipsoidFlowJointDataset

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
OTHERS = ("FLARE", "AB-UPT", "Transolver", "LRSA", "MSPT", "PointNet", "UPT")
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


def verdicts(name: str) -> dict[str, str]:
    """As the page writes them: against BSA, with Holm's correction for all networks of the set."""
    folders = sorted(path.name for path in (REPORTS / name).iterdir())
    of = {folder: paired_verdict(as_told(f"{name}/{folder}"), as_told(f"{name}/bsa")) for folder in folders}
    del of["bsa"]
    assert len(of) == (12 if name in SETS[:2] else 5)
    return {folder: as_written(verdict) for folder, verdict in adjust(of).items()}


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
}  # s


def test_errors_after_the_time_of_the_fastest_network():
    rows = tables(
        PAGE, "| network | hills, 13.2 s | 24 cars, 4.5 s | AirFRANS, 4.9 s | beams, 5.7 s | ellipsoids, 7.1 s |"
    )
    for column, (name, seconds) in enumerate(FASTEST.items()):
        for label, folder in list(NETWORKS.items())[:-1]:
            found = []
            for report in reports(f"{name}/{folder}"):
                curve = [(time, value) for _, time, value in report["run"]["validation"]["relative_l2"]]
                after = next(i for i, (time, _) in enumerate(curve) if time >= seconds - 1e-9)
                (before, first), (then, second) = curve[after - 1], curve[after]
                found.append(first + (second - first) * (seconds - before) / (then - before))
            assert_printed(rows[label][column], statistics.fmean(found))


def test_milliseconds_an_iteration_of_networks_alone():
    rows = tables(PAGE[PAGE.index("Milliseconds an iteration") :], HEADING)
    for column, (name, seconds) in enumerate(FASTEST.items()):
        times = {}
        for label, folder in NETWORKS.items():
            (times[label],) = {report["run"]["ms_per_iteration"] for report in reports(f"{name}/{folder}")}
            assert_printed(rows[label][column].strip("()"), times[label])
        (iterations,) = {report["run"]["iterations"] for report in reports(f"{name}/bsa")}
        assert round(min(times.values()) * iterations / 1e3, 1) == seconds


def test_more_seeds():
    text = " ".join(PAGE.split())
    text = text[text.index("**More seeds.**") : text.index("**What is missing.**")]
    of_both = rf"({NUMBER} ± {NUMBER}) and ({NUMBER} ± {NUMBER})"
    told = rf"{{}}, (\d) seeds, {of_both} \((?:full attention against BSA )?(.*?)\)[;.]"
    distances = []
    for label, name in (("AirFRANS", "airfrans"), ("beams", "beams"), ("ellipsoids", "ellipsoid_flow")):
        count, *means, verdict = re.search(told.format(label), text).groups()
        bsa, full = (
            errors(f"{name}/{folder}") + errors(f"seeds/{name}/{folder}", seeds=tuple(range(3, int(count))))
            for folder in ("bsa", "full_attention")
        )
        for mean, found in zip(means, (bsa, full), strict=True):
            assert_mean_and_std(mean, found)
        assert verdict == as_written(paired_verdict(full, bsa))
        of_seeds, ceiling = ([statistics.fmean(each.values()) for each in found] for found in (bsa, full))
        distances.append((statistics.fmean(of_seeds) - statistics.fmean(ceiling)) / statistics.stdev(of_seeds))
    a, b, c = (f"{distance:.2f}" for distance in distances)
    assert f"mean is {a}, {b} and {c} of its standard deviations above that of full attention" in text


def test_messages_and_rotary_positions():
    rows = tables(PAGE, "| | hills | 24 cars | AirFRANS | proteins |")
    rows.pop("---")
    sets = {
        "periodic_hills": "messages",
        "shapenet_car_mini24": "messages",
        "airfrans": "rotary",
        "proteins": "messages",
    }
    seven, three = tuple(range(7)), (0, 1, 2)
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    for column, (name, kind) in enumerate(sets.items()):
        density = "at_training_density" if name == "periodic_hills" else None
        many = seven if name in ("shapenet_car_mini24", "airfrans") else three
        full = (
            errors(f"rotary/{name}/full_attention", seeds=seven)
            if kind == "rotary"
            else as_told(f"{name}/full_attention")
        )
        if name == "shapenet_car_mini24":
            full += errors(f"seeds/{name}/full_attention", seeds=(3, 4, 5, 6))
        before = as_told(f"{name}/bsa")
        if name == "airfrans":
            before += errors(f"seeds/{name}/bsa", seeds=(3, 4, 5, 6))
        found[name] = {
            "full attention": full,
            "BSA": errors(f"{kind}/{name}/bsa", density, many),
            "BSA, group compression": errors(f"{kind}/{name}/bsa_group_compression", density),
            "before": before,
        }
        for label in ("full attention", "BSA", "BSA, group compression"):
            cell, _, count = rows[label][column].partition(" (")
            assert_mean_and_std(cell, found[name][label])
            assert (count or "3)") == f"{len(found[name][label])})"
    for label, pair in (
        ("full attention against BSA", ("full attention", "BSA")),
        ("BSA against the BSA of before", ("BSA", "before")),
    ):
        told = adjust({name: paired_verdict(*(each[key] for key in pair)) for name, each in found.items()})
        assert rows[label] == [as_written(told[name]) for name in sets]
    text = " ".join(PAGE.split())
    mean = {
        (name, label): statistics.fmean(map(mean_of, each)) for name, of in found.items() for label, each in of.items()
    }
    fallen = [f"{100 * (1 - mean[name, 'BSA'] / mean[name, 'before']):.0f}" for name in sets]
    assert f"All four means of BSA fell, by {', '.join(fallen[:3])} and {fallen[3]}%" in text
    told = ", ".join(f"{mean[name, 'BSA']:.3f}"[1:] for name in ("periodic_hills", "shapenet_car_mini24", "airfrans"))
    proteins = f"{mean['proteins', 'BSA']:.3f}"[1:]
    assert f"brought it to {told}, and {proteins} on proteins" in (ROOT / "README.md").read_text(encoding="utf-8")
    without = as_told("airfrans/full_attention") + errors("seeds/airfrans/full_attention", seeds=(3, 4, 5, 6))
    less = 1 - mean["airfrans", "full attention"] / statistics.fmean(map(mean_of, without))
    assert f"those of full attention on AirFRANS by {100 * less:.0f}%" in text
    a, b, c, d = (
        (mean[name, "BSA"] - mean[name, "full attention"]) / statistics.stdev(map(mean_of, found[name]["BSA"]))
        for name in sets
    )
    assert (
        f"mean is {a:.2f}, {b:.2f} and {c:.2f} of its standard deviations above that of full attention on the" in text
    )
    assert d < 0


def test_bsa_trained_again():
    text = " ".join(PAGE.split())
    text = text[text.index("**Trained again.**") : text.index("**What is missing.**")]
    again = rf"({NUMBER} ± {NUMBER}) for ({NUMBER} ± {NUMBER}) \(({NUMBER} \(.*?\) [a-z ]+)\)"
    moved = rf"moves by ({NUMBER}) to ({NUMBER}) on the hills and by ({NUMBER}) to ({NUMBER}) on the ventricle"
    extremes = re.search(moved, text).groups()
    for index, (column, name) in enumerate((("hills", "periodic_hills"), ("ventricle", "ventricle"))):
        new, old = as_told(f"repetition/{name}/bsa"), as_told(f"{name}/bsa")
        now, before, verdict = re.search(rf"{column} {again}", text).groups()
        assert_mean_and_std(now, new)
        assert_mean_and_std(before, old)
        assert verdict == as_written(paired_verdict(new, old))
        steps = [
            abs(statistics.fmean(a.values()) - statistics.fmean(b.values())) for a, b in zip(new, old, strict=True)
        ]
        assert_printed(extremes[2 * index], min(steps))
        assert_printed(extremes[2 * index + 1], max(steps))


def test_levels_and_anchors():
    rows = tables(PAGE, "| | hills | 24 cars | proteins | ellipsoids, 65,536 points |")
    rows.pop("---")
    sets = ("periodic_hills", "shapenet_car_mini24", "proteins", "ellipsoid_flow_65536")
    kept = {"BSA": "bsa", "group compression": "bsa_group_compression", "Erwin": "erwin"}
    for label, cells in rows.items():
        for name, cell in zip(sets, cells, strict=True):
            folder = f"{name}/{kept[label]}" if label in kept else f"levels/{name}/bsa_hierarchical"
            known = label != "group compression with levels" and (REPORTS / folder).is_dir()
            assert known or not cell or re.fullmatch(rf"\({NUMBER} ± {NUMBER}\)", cell)
            if known:
                assert_mean_and_std(cell, as_told(folder))
    cars = "shapenet_car_mini24"
    text = " ".join(PAGE.split())
    found = {
        name: errors(f"{name}/{cars}/bsa_{end}") for name, end in (("levels", "hierarchical"), ("anchors", "anchors"))
    }
    told = adjust({name: paired_verdict(each, errors(f"{cars}/bsa")) for name, each in found.items()})
    assert f"against BSA {as_written(told['levels'])} (Holm for this" in text
    pair, bsa, verdict = re.search(rf"24 cars ({NUMBER} ± {NUMBER}) \(BSA (.*?)\), (.*?), trained again", text).groups()
    assert_mean_and_std(pair, found["anchors"])
    assert_mean_and_std(bsa, errors(f"{cars}/bsa"))
    assert verdict == as_written(told["anchors"])
    for label, folder in (("move, it is", "turned"), ("messages beside them", "turned_messages")):
        pair = re.search(rf"{label} ({NUMBER} ± {NUMBER})", text).group(1)
        assert_mean_and_std(pair, as_told(f"levels/periodic_hills/{folder}"))
    turned = as_told("levels/periodic_hills/turned_messages")
    for other, words in (("periodic_hills", "1.11 of it "), ("messages/periodic_hills", "of BSA with messages ")):
        verdict = as_written(paired_verdict(turned, as_told(f"{other}/bsa")))
        assert words.split("of")[0].strip() in verdict and verdict.split(" ", 1)[1] in text, words
    assert all("2048 anchors" in report["approximation"] for report in reports(f"anchors/{cars}/bsa_anchors"))


def test_conditioning():
    rows = tables(PAGE, "| | repeated | conditioning | ratio on a sample |")
    rows.pop("---")
    against = {
        "AirFRANS": {"AirFRANS": "airfrans/bsa"},
        "beams": {"beams": "beams/bsa"},
        "ventricle": {
            "ventricle, BSA of the table above": "ventricle/bsa",
            "ventricle, BSA trained again": "repetition/ventricle/bsa",
        },
    }
    assert list(rows) == [label for of in against.values() for label in of]
    for name, of in against.items():
        conditioned = errors(f"conditioning/{name.lower()}/bsa_conditioned")
        alone = {label: paired_verdict(conditioned, errors(folder)) for label, folder in of.items()}
        for label, verdict in adjust(alone).items():
            repeated, mine, written = rows[label]
            assert_mean_and_std(repeated, errors(of[label]))
            assert_mean_and_std(mine, conditioned)
            assert written == as_written(verdict)
    last, adjusted = re.search(rf"of the last comparison alone \(p ({NUMBER}), after Holm ({NUMBER})\)", PAGE).groups()
    assert_printed(last, alone[label].p)
    assert_printed(adjusted, adjust(alone)[label].adjusted)


JOINT = (
    "surface/pressure_coefficient/relative_l2",
    "volume/velocity/relative_l2",
    "volume/pressure_coefficient/relative_l2",
)


def test_seed_1_of_the_joint_ellipsoids():
    table = tables(PAGE, "| | pressure on the surface | velocity around it | pressure around it | parameters, GFLOPs |")
    rows = tables(PAGE, "| seed 1 again | pressure on the surface | velocity around it | pressure around it |")
    shares: dict[str, list[float]] = {"test": [], "validation": [], "first": []}
    for label, folder in (("full attention", "full_attention"), ("BSA", "bsa"), ("AB-UPT", "abupt")):
        (report,) = reports(f"ellipsoid_flow_joint/{folder}", seeds=(1,))
        assert report["data"]["num_samples"] == 64 and report["validation"]["samples"] == 32
        assert report["run"]["iterations"] == 2000
        millions, giga = table[label][3].split(" M, ")
        assert_printed(millions, report["parameters"] / 1e6)
        assert_printed(giga, report["gflops"]["value"])
        for cell, written, metric in zip(rows[label], table[label], JOINT, strict=False):
            of = {int(sample["name"].rsplit("_", 1)[1]): sample[metric] for sample in report["samples"]}
            before = float(written.split()[0])
            assert_printed(cell, statistics.fmean(of.values()))
            shares["test"].append(statistics.fmean(of.values()) / before - 1)
            curve = [value for _, _, value in report["run"]["validation"][metric]]
            assert curve[-1] == min(curve)  # the last weights are the chosen ones
            shares["validation"].append(1 - curve[-1] / before)
            shares["first"].append(1 - statistics.fmean(of[index] for index in range(32)) / before)
    text = " ".join(PAGE.split())
    assert (
        f"All within {math.ceil(100 * max(map(abs, shares['test'])))}% of the table above, some on either side" in text
    )
    assert min(shares["test"]) < 0 < max(shares["test"])
    ranges = {key: f"{100 * min(each):.0f} to {100 * max(each):.0f}% less" for key, each in shares.items()}
    assert f"{ranges['validation']} than the table on the 32 validation bodies" in text
    assert f"{ranges['first']} on the first 32 test bodies" in text


def test_trainings_that_shared_a_card_tell_no_times():
    folders = (
        "repetition", "seeds", "levels", "anchors", "conditioning", "ellipsoid_flow_joint", "messages", "rotary"
    )  # fmt: skip
    found = [path for folder in folders for path in (REPORTS / folder).rglob("*.json")]
    assert len(found) == 24 + 26 + 49
    for path in found:
        report = json.loads(path.read_text())
        assert report["seconds"] is report["run"]["train_seconds"] is report["run"]["ms_per_iteration"] is None
        assert all(row[1] is None for curve in report["run"]["validation"].values() for row in curve)


def test_the_mean_training_target_of_the_joint_ellipsoids():
    head = "| | pressure on the surface | velocity around it | pressure around it | parameters, GFLOPs |"
    cells = tables(PAGE, head)["mean of the training targets"]
    mean = np.array(EllipsoidFlowJointDataset("train", num_samples=512).target_statistics()["mean"])
    tested = EllipsoidFlowJointDataset("test", num_samples=64)
    for cell, domain, columns in zip(cells, (0, 1, 1), (slice(0, 1), slice(1, 4), slice(4, 5)), strict=False):
        found = []
        for sample in map(tested.get_data, range(64)):
            truth = sample["target"][sample["domain"] == domain, columns].astype(np.float64)
            found.append(np.linalg.norm(truth - mean[columns]) / np.linalg.norm(truth))
        assert_printed(cell, statistics.fmean(found))


def test_the_summaries_of_the_reports_are_means_over_their_samples():
    for path in REPORTS.rglob("*.json"):
        report = json.loads(path.read_text())
        assert report["training"]["shared_with_test"] == report["validation"]["shared_with_test"] == 0
        assert len(report["samples"]) == report["data"]["num_samples"]
        for metric, summary in report["metrics"].items():
            values = [sample[metric] for sample in report["samples"]]
            assert math.isclose(summary["mean"], statistics.fmean(values), rel_tol=2e-5), (path, metric)
