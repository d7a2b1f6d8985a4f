"""The page: complete, escaped, in need of nothing from outside."""

from __future__ import annotations

import base64
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from fake_runs import load, write_run

from pointcept_bsa.analysis.report.chart import MOST_POINTS, Line, chart, mean_line, thinned
from pointcept_bsa.analysis.report.page import write_report
from pointcept_bsa.errors import InputError
from pointcept_bsa.training.runs.finished import find_runs

HOSTILE = "<script>alert('x')</script>&\""
PNG = b"\x89PNG\r\n\x1a\nnot really a picture"


class Page(HTMLParser):
    """Elements, their nesting checked, and the text."""

    VOID = ("meta", "img", "br")

    def __init__(self, content: str):
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict]] = []
        self.words = ""
        self.feed(content)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data


def page_of(paths, tmp_path, **options) -> Page:
    output = tmp_path / "out" / "report.html"
    write_report(find_runs([str(p) for p in paths], load), output, **options)
    return Page(output.read_text(encoding="utf-8"))


@pytest.fixture
def runs(tmp_path):
    for seed, mse in enumerate((10.0, 12.0)):
        folder = write_run(tmp_path / "small" / f"seed_{seed}", mse, seed)
        (folder / "test" / "worst.png").write_bytes(PNG)
    return [tmp_path / "small", write_run(tmp_path / "deep", 15.0, depth=9)]


def test_it_has_all_parts(runs, tmp_path):
    page = page_of(runs, tmp_path)
    for words in (
        "11.0 \u00b1 1.4",
        "published: BSA",
        "model.backbone.depth",
        "0123456789abcdef",
        "1111111111111111",
        "50 samples, separate",
        "train.py 'a b'",
        "The same in normalized units",
        "The test drew no picture of: best, median.",
    ):
        assert words in page.words, words
    images = [a["src"] for tag, a in page.elements if tag == "img"]
    assert images == ["data:image/png;base64," + base64.b64encode(PNG).decode()]
    figures = [a["aria-label"] for tag, a in page.elements if tag == "svg"]
    assert len(figures) == 4 and figures[0] == "Training loss" and "mse" in figures[1]


def test_it_fetches_nothing(runs, tmp_path):
    page = page_of(runs, tmp_path)
    for tag, attributes in page.elements:
        assert tag not in ("script", "link", "iframe", "object", "base")
        assert not {"href", "srcset", "onload", "onerror"} & attributes.keys()
        assert attributes.get("src", "data:").startswith("data:")
    policy = [a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy and policy[0].startswith("default-src 'none'")
    styles = (tmp_path / "out" / "report.html").read_text().split("<style>")[1].split("</style>")[0]
    assert "url(" not in styles and "@import" not in styles


def test_what_users_wrote_is_text(tmp_path):
    card = {"dataset": HOSTILE, "units": [HOSTILE]}
    path = write_run(tmp_path / HOSTILE.replace("/", "|"), 1.0, backbone=HOSTILE, kind=HOSTILE, card=card)
    (path / "test" / "best.png").write_bytes(PNG)
    page = page_of([path], tmp_path, title=HOSTILE)
    assert not [tag for tag, _ in page.elements if tag == "script"]
    assert page.words.count(HOSTILE) >= 4


def test_what_cannot_be_compared_is_refused_and_with_force_said_first(runs, tmp_path):
    odd = write_run(tmp_path / "odd", 1.0, card={"protocol": "B"})
    with pytest.raises(InputError, match="cannot be compared"):
        page_of([*runs, odd], tmp_path)
    assert not (tmp_path / "out").exists()
    page = page_of([*runs, odd], tmp_path, force=True)
    assert page.words.index("These runs cannot be compared") < page.words.index("Results")


@pytest.mark.parametrize("name", ["report.pdf", "folder.html"])
def test_the_output_is_a_html_file(runs, tmp_path, name):
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(InputError, match="ends in .html"):
        write_report(find_runs([str(runs[1])], load), tmp_path / name)


@pytest.mark.parametrize(
    "values", [(1e-299, 1e299), (1e300, 1e300), (1e17, 1e17), (0.0, 1e-310), (-1e99, 1e99), (1.0, 1.0 + 1e-15)]
)
@pytest.mark.parametrize("log", [False, True])
def test_axes_of_extreme_numbers(values, log, recwarn):
    for points in ([(i + 1, value) for i, value in enumerate(values)], [(value, 1.0) for value in values]):
        found = chart("t", [Line(points, 0)], "x", "y", log)
        assert found is None or ("var(--c0)" in found and "nan" not in found)
    assert not recwarn.list


def test_a_chart_leaves_out_what_is_not_finite_and_is_none_when_nothing_is_left():
    nan = float("nan")
    assert chart("t", [Line([(1, nan)], 0)], "x", "y") is None
    found = chart("t", [Line([(1, 1.0), (2, nan), (3, 2.0)], 3)], "<x>", "y")
    assert found.count("var(--c3)") == 1 and "nan" not in found and "&lt;x&gt;" in found
    assert "y (log)" in chart("t", [Line([(1, 1.0), (2, 100.0)], 0)], "x", "y")
    assert "(log)" not in chart("t", [Line([(1, -1.0), (2, 100.0)], 0)], "x", "y")


def test_the_same_runs_give_the_same_chart():
    one, two = (chart("t", [Line([(1, 1.0), (2, 2.0)], 0)], "x", "y") for _ in range(2))
    assert one == two and ' id="axes' not in one


def test_long_lines_are_averaged():
    points = [(float(i), float(i % 2)) for i in range(10 * MOST_POINTS)]
    found = thinned(points)
    assert len(found) <= MOST_POINTS and {y for _, y in found} == {0.5}


def test_mean_of_curves_is_taken_where_all_have_a_value():
    assert mean_line([[(1, 1.0), (2, 3.0)], [(1, 3.0), (2, 5.0), (3, 9.0)]]) == [(1, 2.0), (2, 4.0)]
    assert mean_line([[(1, 1.0), (2, 1.0)], [(5, 1.0), (6, 1.0)]]) is None
