"""Learning-rate range test (Smith 2017, "Cyclical learning rates for training neural networks")."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from pointcept_bsa.analysis.tune.run import Wanted, check_arguments
from pointcept_bsa.analysis.tune.worker import Engine
from pointcept_bsa.errors import InputError
from pointcept_bsa.files.atomic import write_csv, write_png

FEWEST = 20  # iterations of which something can be said
SMOOTHING = 0.04  # width of the Gaussian by which losses are averaged, as a share of the iterations


def find_learning_rate(
    wanted: Wanted, rates: Sequence[float], engine: Engine, say: Callable[[str], None] = print
) -> tuple[float, float]:
    """Train once while the learning rate rises from ``rates[0]`` to ``rates[1]``; write ``lr_range.{csv,png}``.

    Returns:
        Where the smoothed loss falls fastest, and a tenth of where it is lowest.

    Raises:
        InputError: rates that are none; a loss that is not finite from the beginning.
    """
    low, high = rates
    check_arguments(wanted)
    if not 0 < low < high < float("inf"):
        raise InputError(f"--lr-range {low:g} {high:g}: expected 0 < LOW < HIGH")
    if wanted.budget < FEWEST:
        raise InputError(f"--budget {wanted.budget}: expected at least {FEWEST} iterations for --lr-range")
    cfg = engine.load(wanted.config, wanted.options)
    folder = Path(wanted.output or Path(cfg.save_path) / "tune")
    cfg.save_path, cfg.seed = str(folder / "lr_range"), wanted.seed if cfg.seed is None else cfg.seed
    found = engine.sweep(cfg, low, high, wanted.budget)
    if len(found) < FEWEST:
        raise InputError(f"--lr-range {low:g} {high:g}: the loss went up at once; lower LOW")
    rate, loss = np.array(found).T
    smooth = smoothed(loss)
    steepest, tenth = steepest_rate(rate, smooth), float(rate[smooth.argmin()]) / 10
    columns = rate.tolist(), loss.tolist(), smooth.tolist()
    write_csv(folder / "lr_range.csv", ["lr", "loss", "smoothed"], list(zip(*columns, strict=True)))
    _draw(folder / "lr_range.png", rate, loss, smooth, steepest, tenth)
    say(f"Written: {folder / 'lr_range.csv'}, {folder / 'lr_range.png'}")
    end = f", stopped at {rate[-1]:.3g}" if len(found) < wanted.budget else ""
    say(f"{len(found)} iterations{end}: the loss falls fastest at {steepest:.2g}, is lowest at {10 * tenth:.2g}")
    say(f"Take a tenth of the latter, optimizer.lr={tenth:.2g}, or search from there up to it")
    return steepest, tenth


def smoothed(loss: np.ndarray) -> np.ndarray:
    """(I,) losses averaged with their neighbours, of which there are fewer at the ends.

    Losses of a training that explodes are cut at as much above those of the beginning as the lowest is below.
    """
    first = loss[: max(len(loss) // 10, 1)].mean()
    loss = np.minimum(loss, 2 * first - loss.min())
    place = np.arange(len(loss))
    weight = np.exp(-0.5 * ((place[:, None] - place) / (SMOOTHING * len(loss))) ** 2)  # (I, I)
    return weight @ loss / weight.sum(axis=1)


def steepest_rate(rate: np.ndarray, smooth: np.ndarray) -> float:
    """The learning rate, below that of the lowest loss, where the loss falls fastest by the logarithm of the rate."""
    slope = np.gradient(smooth, np.log(rate))[: max(int(smooth.argmin()), 1)]
    return float(rate[slope.argmin()])


def _draw(path: Path, rate: np.ndarray, loss: np.ndarray, smooth: np.ndarray, steepest: float, tenth: float) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4))
    axes = figure.add_subplot()
    axes.plot(rate, loss, color="0.75", linewidth=0.8, label="loss")
    axes.plot(rate, smooth, color="C0", label="smoothed")
    axes.axvline(steepest, color="C1", linestyle="--", label=f"falls fastest: {steepest:.2g}")
    axes.axvline(tenth, color="C2", linestyle="--", label=f"a tenth of the lowest: {tenth:.2g}")
    axes.set_xscale("log")
    margin = 0.05 * (smooth.max() - smooth.min())
    axes.set_ylim(smooth.min() - 2 * margin, smooth.max() + 2 * margin)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss")
    axes.legend()
    write_png(path, figure, bbox_inches="tight")
