"""What docs/results.md says beside its large tables is what the reports in docs/results say."""

from __future__ import annotations

import json
import math
import re
import statistics

import numpy as np

from pointcept_bsa.analysis.comparison.statistics import adjust, paired_verdict
from pointcept_bsa.datasets.ellipsoid_flow_joint import EllipsoidFlowJointDataset

from .results_page import (
    NUMBER,
    PAGE,
    REPORTS,
    ROOT,
    as_told,
    as_written,
    assert_mean_and_std,
    assert_printed,
    errors,
    mean_of,
    reports,
    tables,
)


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
    seven, seeds = tuple(range(7)), {"periodic_hills": 10, "shapenet_car_mini24": 7, "airfrans": 7, "proteins": 3}
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    for column, (name, kind) in enumerate(sets.items()):
        density = "at_training_density" if name == "periodic_hills" else None
        many = tuple(range(seeds[name]))
        full = (
            errors(f"rotary/{name}/full_attention", seeds=seven)
            if kind == "rotary"
            else as_told(f"{name}/full_attention")
        )
        if name in ("shapenet_car_mini24", "periodic_hills"):
            full += errors(f"seeds/{name}/full_attention", density, many[3:])
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
    full = f"{mean['airfrans', 'full attention']:.3f}"[1:]
    proteins = f"{mean['proteins', 'BSA']:.3f}"[1:]
    assert f"brought it to {told} (full attention {full}), and {proteins} on proteins" in (
        ROOT / "README.md"
    ).read_text(encoding="utf-8")
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


HILLS = "at_training_density"
AS_THEY_STAND = {  # folders of BSA and of full attention, with their seeds
    "periodic_hills": (
        {"defaults/periodic_hills/bsa": range(10)},
        {"periodic_hills/full_attention": range(3), "seeds/periodic_hills/full_attention": range(3, 10)},
    ),
    "shapenet_car_mini24": (
        {"messages/shapenet_car_mini24/bsa": range(7)},
        {"learning_curves/shapenet_car_mini24/full_attention_1.0": range(3)},
    ),
    "airfrans": ({"rotary/airfrans/bsa": range(7)}, {"rotary/airfrans/full_attention": range(7)}),
    "beams": tuple({f"beams/{n}": range(3), f"seeds/beams/{n}": range(3, 7)} for n in ("bsa", "full_attention")),
    "ellipsoid_flow": tuple(
        {f"ellipsoid_flow/{n}": range(3), f"seeds/ellipsoid_flow/{n}": range(3, 8)} for n in ("bsa", "full_attention")
    ),
    "proteins": ({"messages/proteins/bsa": range(3)}, {"proteins/full_attention": range(3)}),
}


def test_the_configs_as_they_stand():
    rows = tables(PAGE, "| | hills | 24 cars | AirFRANS | beams | ellipsoids | proteins |")
    rows.pop("---")
    found = {}
    for name, both in AS_THEY_STAND.items():
        density = HILLS if name == "periodic_hills" else None
        bsa, full = (sum((errors(f, density, tuple(seeds)) for f, seeds in of.items()), []) for of in both)
        before = {n: errors(f"before/{name}/{n}", density) for n in ("bsa", "full_attention")}
        found[name] = {
            "full attention, before": before["full_attention"],
            "BSA, before": before["bsa"],
            "full attention": full,
            "BSA": bsa,
        }
    for label in ("full attention, before", "BSA, before", "full attention", "BSA"):
        for cell, each in zip(rows[label], (of[label] for of in found.values()), strict=True):
            numbers, _, count = cell.partition(" (")
            assert_mean_and_std(numbers, each)
            assert (count or "3)") == f"{len(each)})"
    for label, one, other in (
        ("BSA against BSA before", "BSA", "BSA, before"),
        ("full attention against BSA", "full attention", "BSA"),
    ):
        told = adjust({name: paired_verdict(of[one], of[other]) for name, of in found.items()})
        assert rows[label] == [as_written(told[name]) for name in found]
    text = " ".join(PAGE.split())
    mean = {
        label: [statistics.fmean(map(mean_of, of[label])) for of in found.values()]
        for label in rows
        if "against" not in label
    }
    bsa, full = (
        statistics.geometric_mean(a / b for a, b in zip(mean[label], mean[f"{label}, before"], strict=True))
        for label in ("BSA", "full attention")
    )
    assert (
        f"leaves {bsa:.2f} of BSA's error in the geometric mean of the six, and {full:.2f} of full attention's" in text
    )
    distance = [
        (a - b) / statistics.stdev(map(mean_of, of["BSA"]))
        for a, b, of in zip(mean["BSA"], mean["full attention"], found.values(), strict=True)
    ]
    assert distance[1] < 0 and distance[5] < 0 and sum(each <= 1 for each in distance) == 5
    a, b, c, d = (f"{distance[i]:.2f}" for i in (0, 2, 3, 4))
    assert f"BSA's mean is {a}, {b}, {c} and {d} of its standard deviations above full attention's on hills" in text


def test_the_trial_and_the_config_on_the_hills():
    text = " ".join(PAGE.split())
    trial, config = "messages/periodic_hills/bsa", "defaults/periodic_hills/bsa"
    validation = [
        [
            min(row[2] for row in report["run"]["validation"]["relative_l2"])
            for report in reports(folder, tuple(range(10)))
        ]
        for folder in (trial, config)
    ]
    a, b = (f"{statistics.fmean(each):.4f} ± {statistics.stdev(each):.4f}" for each in validation)
    tested = [errors(folder, HILLS, tuple(range(10))) for folder in (trial, config)]
    c, d = (f"{statistics.fmean(map(mean_of, each)):.4f}" for each in tested)
    told = as_written(paired_verdict(tested[1], tested[0])).replace(" not told apart", "")
    assert f"in validation ({a} for {b}) and more in the test ({c} for {d}, not told apart: {told})" in text


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
            if label == "Erwin" and name == "ellipsoid_flow_65536":
                folder = f"levels/{name}/erwin"
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
    ten = tuple(range(10))
    for other, seeds, words in (
        ("periodic_hills", (0, 1, 2), "1.11 of it "),
        ("messages/periodic_hills", ten, "of BSA with messages "),
    ):
        verdict = as_written(paired_verdict(turned, errors(f"{other}/bsa", HILLS, seeds)))
        assert words.split("of")[0].strip() in verdict and verdict.split(" ", 1)[1] in text, words
    large = [errors(f"levels/ellipsoid_flow_65536/{network}") for network in ("erwin", "bsa_hierarchical")]
    assert f"the ratio of Erwin's error to theirs is {as_written(paired_verdict(*large))} (" in text
    proteins = errors("levels/proteins/beyond_8192")
    pair, verdict = re.search(
        rf"with messages: ({NUMBER} ± {NUMBER}), against BSA with messages (.*?)\. Of these", text
    ).groups()
    assert_mean_and_std(pair, proteins)
    assert verdict == as_written(paired_verdict(proteins, errors("messages/proteins/bsa")))
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
        "repetition", "seeds", "levels", "anchors", "conditioning", "ellipsoid_flow_joint", "messages", "rotary",
        "before", "defaults",
    )  # fmt: skip
    found = [path for folder in folders for path in (REPORTS / folder).rglob("*.json")]
    assert len(found) == 24 + 26 + 49 + 63 + 6
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
    choices = REPORTS / "recipe" / "one_choice.json"  # validation errors, no report: test_recipe_page.py
    for path in {*REPORTS.rglob("*.json")} - {choices}:
        report = json.loads(path.read_text())
        assert report["training"]["shared_with_test"] == report["validation"]["shared_with_test"] == 0
        assert len(report["samples"]) == report["data"]["num_samples"]
        for metric, summary in report["metrics"].items():
            values = [sample[metric] for sample in report["samples"]]
            assert math.isclose(summary["mean"], statistics.fmean(values), rel_tol=2e-5), (path, metric)
