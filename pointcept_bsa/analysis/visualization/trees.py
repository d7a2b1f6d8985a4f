"""Ball trees: the levels, and the rotated tree beside the main one."""

from __future__ import annotations

from typing import Any

import numpy as np

from pointcept_bsa.analysis.visualization.drawing import UNSEEN, Drawing, class_colours, new_figure
from pointcept_bsa.analysis.visualization.subject import Subject, to_numpy
from pointcept_bsa.errors import InputError
from pointcept_bsa.geometry.ball_tree import BallLayout, BallTree
from pointcept_bsa.geometry.tree_plan import TreePlan, plan_tree
from pointcept_bsa.training.evaluation.canvas import Canvas

MAIN, ROTATED, BOTH = (0.16, 0.44, 0.72, 1.0), (0.95, 0.58, 0.13, 1.0), (0.45, 0.16, 0.5, 1.0)
MOST_CIRCLES = 600


def node_of_points(tree: BallTree, num_points: int) -> list[np.ndarray]:
    """Node of each point (N,), for every level from the whole cloud down to the blocks."""
    layout = tree.layout
    slot = tree.inverse.cpu().numpy()
    ball = slot // layout.ball_size
    rank = np.empty(num_points, dtype=np.int64)
    rank[np.argsort(slot)] = np.arange(num_points)
    levels = []
    for starts, _ in _plan_of(layout, num_points).levels:
        node = np.searchsorted(starts, rank, side="right") - 1
        first, last = np.full(len(starts), len(tree.index)), np.zeros(len(starts), dtype=np.int64)
        np.minimum.at(first, node, slot)
        np.maximum.at(last, node, slot)
        above = (first // layout.ball_size != last // layout.ball_size)[node]
        if not above.any():
            break
        # Where the number of balls is odd some nodes reach the ball one level earlier: they wait for the others.
        levels.append(np.unique(np.where(above, first[node], ball * layout.ball_size), return_inverse=True)[1])
    size = layout.ball_size
    while size >= layout.block_size:
        levels.append(np.unique(slot // size, return_inverse=True)[1])
        size //= 2
    return levels


def _plan_of(layout: BallLayout, num_points: int) -> TreePlan:
    """The plan by which the tree was built: its unit is the ball, or a larger one where coarser levels follow."""
    unit = layout.ball_size
    while unit <= 2 * sum(layout.slots):
        plan = plan_tree((num_points,), unit, layout.block_size)
        if plan.slots == layout.slots and np.array_equal(plan.valid, layout.known_valid):
            return plan
        unit *= 2
    raise InputError("RUN: its tree holds copies of points (pad='power_of_two'), wanted pad='ball' to draw levels")


def draw_levels(subject: Subject, canvas: Canvas, tree: BallTree, panels: int = 6) -> Drawing:
    """Levels of the ball tree, coloured by ball; in 2-D with the balls around them."""
    levels = node_of_points(tree, len(subject.coord))
    count = [int(level.max()) + 1 for level in levels]
    balls = count.index(len(tree.index) // tree.layout.ball_size)
    chosen = _pick([i for i in range(len(levels)) if count[i] > 1], panels, keep=balls)
    columns = min(3, len(chosen))
    rows = -(-len(chosen) // columns)
    figure = new_figure(columns, rows, canvas)
    for place, i in enumerate(chosen):
        axes: Any = figure.add_subplot(rows, columns, place + 1)
        canvas.paint(axes, class_colours(levels[i]))
        if not canvas.solid and count[i] <= MOST_CIRCLES:
            draw_circles(axes, subject.coord, levels[i])
        sizes = np.bincount(levels[i])
        size = f"{sizes.min()}" if sizes.min() == sizes.max() else f"{sizes.min()} to {sizes.max()}"
        remark = " (balls)" if i == balls else " (blocks)" if i == len(levels) - 1 else ""
        axes.set_title(f"level {i}: {count[i]} x {size} points{remark}", fontsize=11)
    figure.suptitle(f"Ball tree of {subject.name}, {len(subject.coord)} points", fontsize=13)
    return Drawing(figure, {f"tree_level_{i}": level for i, level in enumerate(levels)})


def draw_rotated(subject: Subject, canvas: Canvas, tree: BallTree, point: int) -> Drawing:
    """Balls of the main and of the rotated tree, and the two balls of one point."""
    if tree.rotated is None or tree.rotation_inverse is None:
        raise InputError("RUN: its network has no rotated tree, wanted model.backbone.rotate other than 0")
    layout: BallLayout = tree.layout
    main = tree.inverse // layout.ball_size
    rotated = tree.rotation_inverse[tree.inverse] // layout.ball_size
    own = [(nodes == nodes[point]) for nodes in (main, rotated)]
    balls = [to_numpy(nodes).astype(np.int64) for nodes in (main, rotated)]
    figure = new_figure(3, 1, canvas, extra=1.05)
    for i, (heading, nodes) in enumerate(zip(("main tree", "rotated tree"), balls)):
        axes: Any = figure.add_subplot(1, 3, i + 1)
        canvas.paint(axes, class_colours(nodes))
        if not canvas.solid:
            draw_circles(axes, subject.coord, nodes)
        axes.set_title(f"{heading}: {nodes.max() + 1} balls of at most {layout.ball_size} points", fontsize=11)
    colours = np.tile(UNSEEN, (len(subject.coord), 1))
    first, second = (mask.cpu().numpy() for mask in own)
    colours[first], colours[second], colours[first & second] = MAIN, ROTATED, BOTH
    axes = figure.add_subplot(1, 3, 3)
    canvas.paint(axes, colours)
    canvas.mark(axes, point)
    axes.set_title(f"the two balls of point {point}", fontsize=11)
    entries = ((MAIN, "main tree", first), (ROTATED, "rotated tree", second), (BOTH, "both", first & second))
    legend(axes, [(colour, f"{label}: {int(mask.sum())} points") for colour, label, mask in entries])
    figure.suptitle(f"Balls of the main and the rotated tree, {subject.name}", fontsize=13)
    return Drawing(figure, {"ball_main": balls[0], "ball_rotated": balls[1]})


def draw_circles(axes: Any, coord: np.ndarray, node: np.ndarray) -> None:
    """The smallest circle about the mean of each node's points that holds them (2-D)."""
    from matplotlib.collections import EllipseCollection

    count = np.bincount(node)
    centre = np.stack([np.bincount(node, coord[:, i]) for i in range(2)], 1) / count[:, None]
    radius = np.zeros(len(count))
    np.maximum.at(radius, node, np.linalg.norm(coord - centre[node], axis=1))
    circles = EllipseCollection(
        2 * radius,
        2 * radius,
        np.zeros(len(radius)),
        units="xy",
        offsets=centre,
        offset_transform=axes.transData,
        facecolors="none",
        edgecolors="black",
        linewidths=0.6 if len(count) < 100 else 0.25,
    )
    circles.set_clip_on(True)
    axes.add_collection(circles)


def legend(axes: Any, entries: list[tuple[Any, str]]) -> None:
    """Coloured dots with their meaning, below the panel."""
    from matplotlib.lines import Line2D

    dots = [Line2D([], [], linestyle="none", marker="o", markersize=8, color=colour) for colour, _ in entries]
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.02 if not axes.axison else -0.1), "frameon": False}
    axes.legend(dots, [label for _, label in entries], fontsize=9, handletextpad=0.2, **place)


def _pick(levels: list[int], panels: int, keep: int) -> list[int]:
    """About evenly spread levels, the first, the last and ``keep`` among them."""
    if len(levels) <= panels:
        return levels
    spread = {levels[round(i)] for i in np.linspace(0, len(levels) - 1, panels)}
    if keep in levels and keep not in spread:
        inner = sorted(spread - {levels[0], levels[-1]}, key=lambda i: abs(i - keep))
        spread = (spread - {inner[0]}) | {keep}
    return sorted(spread)
