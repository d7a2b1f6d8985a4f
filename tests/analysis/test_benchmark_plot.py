"""The picture of times over the number of points."""

from __future__ import annotations

from pathlib import Path

import pytest

from pointcept_bsa.analysis.benchmark import plot
from pointcept_bsa.analysis.benchmark.report import Row


def row(name: str, points: int) -> Row:
    given = dict(name=name, backbone="BSA-v1m1", config="", options="", points=points, batch_size=1, dtype="bf16")
    times = dict(forward="ok", forward_ms=1.0, forward_iqr_ms=0.1, forward_repeats=3, train="ok", train_ms=3.0)
    rest = dict(train_iqr_ms=0.1, train_repeats=3, memory_gib=1.0, points_per_second=1.0, parameters=1, gflops=1.0)
    return Row(mode="eager", ops="auto", **given, **times, **rest)


@pytest.mark.parametrize("name", ["bsa", "shapenet_car/bsa_hierarchical[recompute=selective]", "n" * 90])
def test_the_legend_stays_inside_the_picture(name, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(plot, "write_png", lambda path, figure, dpi: drawn.append(figure))
    plot.draw_times(Path(tmp_path / "x.png"), [row(f"{name}{i}", n) for i in range(11) for n in (64, 256)], None, "")
    (figure,) = drawn
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.x1 and 0 <= box.y0
