"""The table of single choices in docs/recipe.md is that of the numbers of each seed beside it."""

from __future__ import annotations

import json
import statistics

from .results_page import REPORTS, ROOT, assert_printed, tables

PAGE = (ROOT / "pointcept_bsa" / "docs" / "recipe.md").read_text(encoding="utf-8")
SETS = ("periodic_hills", "airfrans", "beams", "ellipsoid_flow", "shapenet_car_mini24", "proteins")


def test_single_choices_are_means_over_three_seeds():
    rows = tables(PAGE, "| BSA | hills | AirFRANS | beams | ellipsoids | 24 cars | proteins | ratio |")
    rows.pop("---")
    known = json.loads((REPORTS / "recipe" / "one_choice.json").read_text(encoding="utf-8"))
    assert list(rows) == list(known)
    (first, *_), ones = known.values(), []
    assert all(len(errors) == 3 for errors in first.values())
    for label, (*cells, ratio) in rows.items():
        found, ratios = known[label], []
        for name, cell in zip(SETS, cells, strict=True):
            if name not in found:
                assert cell == ""
                continue
            text, _, count = cell.partition(" (")
            assert int(count.strip(")") or 3) == len(found[name])
            mean, deviation = text.split(" ± ")
            assert_printed(mean, statistics.fmean(found[name]))
            assert_printed(deviation, statistics.stdev(found[name]))
            ratios.append(statistics.fmean(found[name]) / statistics.fmean(first[name]))
        assert_printed(ratio, statistics.geometric_mean(ratios))
        ones.append(statistics.geometric_mean(ratios))
    assert min(ones) > 0.95  # "nothing here is better than the recipe in the mean by more than chance", which is 5%


def test_what_is_said_of_single_choices():
    known = json.loads((REPORTS / "recipe" / "one_choice.json").read_text(encoding="utf-8"))
    first = {name: statistics.fmean(errors) for name, errors in known["the config as it stands"].items()}
    ratios = {
        label: {name: statistics.fmean(errors) / first[name] for name, errors in found.items()}
        for label, found in known.items()
    }
    hills, airfrans, beams, ellipsoids, cars, proteins = SETS
    text = " ".join(PAGE.split())

    def percent(label, name=None):
        ratio = ratios[label][name] if name else statistics.geometric_mean(ratios[label].values())
        return f"{abs(100 * (ratio - 1)):.0f}%"

    others = ["AdamW, 1e-3, for Muon", "Lion, 2e-4, weight decay 0.1", "Lion, 5e-4, weight decay 0.1"]
    means = [statistics.geometric_mean(ratios[label].values()) for label in others]
    assert f"AdamW and Lion have {min(means):.1f} to {max(means):.1f} times the error in the mean" in text
    assert all(ratio > 1 for label in others for ratio in ratios[label].values())
    mse = ratios["MSE for relative L2"].values()
    assert f"MSE has more error on all six, by {100 * min(mse) - 100:.0f} to {100 * max(mse) - 100:.0f}%" in text
    none, six, plain = "no frequency bands", "6 bands for 3", "queries and keys as published"
    assert f"without them the error is {percent(none)} larger in the mean" in text
    assert f"and {percent(none, proteins)} smaller on the proteins" in text and ratios[none][proteins] < 1
    assert (
        f"With six it is {percent(six)} larger" in text and f"the hills and {percent(six, beams)} on the beams" in text
    )
    assert {name for name, ratio in ratios[six].items() if ratio > 1.05} == {airfrans, cars, ellipsoids}
    assert f"as published the error is {percent(plain)} larger in the mean" in text
    assert percent(plain, hills) == percent(plain, ellipsoids) == "8%" and percent(plain, beams) == "2%"
    assert f"smaller by {percent(plain, airfrans)} on AirFRANS" in text and ratios[plain][airfrans] < 1
    assert f"(beams without: {percent('no warm-up', beams)} less;" in text and ratios["no warm-up"][beams] < 1
    assert f"ellipsoids with 20%: {percent('warm-up of 20%', ellipsoids)} more)" in text
    assert f"AdamW has {percent(others[0], proteins)} more error: the first table" in text
    down = ratios["no way down after the warm-up"]
    assert {name for name, ratio in down.items() if ratio > 1.05} == {hills, airfrans, beams, ellipsoids}
