"""Queries a second behind anchors: the table of ``tools/benchmark.py --queries``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import ROOT


def run(benchmark_tool, tmp_path, *words: str) -> int:
    bsa = str(ROOT / "configs/ellipsoid_flow/bsa.py")
    words = ("--config", bsa, "--device", "cpu", "--options", "model.backbone.depth=1", *words)
    return benchmark_tool.main([*words, "--output", str(tmp_path / "out")])


def test_so_many_queries_are_predicted_in_chunks(benchmark_tool, tmp_path, capsys):
    words = ("--sizes", "64", "100", "--queries", "1100", "--chunk", "300", "--repeats", "2", "--warmup", "1")
    assert run(benchmark_tool, tmp_path, *words) == 0
    rows = json.loads((Path(tmp_path) / "out/queries.json").read_text())["rows"]
    assert [row["anchors"] for row in rows] == [64, 100]
    for row in rows:
        assert row["queries"] == 1200 and row["chunk"] == 300 and row["encode_ms"] > 0
        assert row["queries_per_second"] == pytest.approx(1200 / row["seconds"])
    assert "queries/s" in capsys.readouterr().out and (tmp_path / "out/queries.csv").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--sizes", "64", "--queries", "0"), "--queries: got 0, wanted at least 1"),
        (("--sizes", "64", "--queries", "9", "--losses", "2"), "--queries: wanted --config and --sizes"),
    ],
)
def test_mistakes_are_one_line(benchmark_tool, tmp_path, capsys, words, message):
    assert run(benchmark_tool, tmp_path, *words) == 2
    assert message in capsys.readouterr().err


def test_a_network_without_a_way_for_queries_is_named(benchmark_tool, tmp_path, capsys):
    words = ["--config", "net=" + str(ROOT / "configs/ellipsoid_flow/erwin.py"), "--sizes", "64", "--queries", "9"]
    assert benchmark_tool.main([*words, "--device", "cpu", "--output", str(tmp_path)]) == 2
    assert "net: anchors: ErwinTransformer predicts at its own points alone" in capsys.readouterr().err
