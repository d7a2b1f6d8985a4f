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
    assert min(ones) > 0.95  # "nothing here is better than the recipe in the mean by more than chance"
