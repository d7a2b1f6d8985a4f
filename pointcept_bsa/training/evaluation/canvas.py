"""A cloud or a surface, prepared to be painted several times with matplotlib.

``N`` points, ``F`` faces, ``d`` space dimensions (2 or 3). In 3-D an orthographic camera of our own and the painter's
algorithm draw the faces that look at the camera, or where there are no faces the points that no nearer ones cover (the
far side of a surface would show through between the dots); in 2-D every pixel takes the value of the nearest point.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from pointcept_bsa.files.atomic import write_png

PIXELS = 700  # along the longer side of a 2-D picture
NEIGHBORS = 8  # of which the farthest says how far the value of a point reaches
LEAST_REACH, MOST_REACH = 0.006, 0.025  # of the extent: a curve of points is drawn as a band
COVERED_BY = 24  # points nearest on the screen, that may cover a point
OFF_PLANE = 0.7  # dots: so far from the tangent plane of the one that covers it lies a point of another side
FLAT = 0.1  # variances of neighbourhoods across and along, below which a cloud is a surface
GROWN = 1.35  # times the size of the dots, so that those of the near side close up
SHADE = 0.14  # how much darker a face is that looks sideways
MARGIN = 0.03


class Canvas:
    """Geometry of one cloud, seen from one side.

    Args:
        coord: (N, 2 or 3) positions.
        face: (F, 3 or 4) triangles or quads of the points; None or 2-D for none.
        up: the axis that points up, in 3-D.
        view: elevation and azimuth of the camera in degrees. Azimuth 0 looks from the axis after ``up`` (x for z, z
            for y), 90 from the one after it. The default looks from upstream of a flow along that axis.
    """

    def __init__(
        self,
        coord: np.ndarray,
        face: np.ndarray | None = None,
        up: str = "z",
        view: tuple[float, float] = (22.0, 130.0),
    ) -> None:
        self.coord = np.asarray(coord, dtype=np.float64)
        self.solid = self.coord.shape[1] == 3
        self.face = None if face is None or not self.solid or not len(face) else np.asarray(face)
        if self.solid:
            camera = camera_axes(up, *view)
            self.screen = self.coord @ camera[:2].T  # (N, 2)
            self.depth = self.coord @ camera[2]  # (N,) larger is nearer
            self.direction = camera[2]
        else:
            self.screen = self.coord
        low, high = self.screen.min(0), self.screen.max(0)
        pad = MARGIN * max(float((high - low).max()), 1e-12)
        self.low, self.high = low - pad, high + pad

    @property
    def aspect(self) -> float:
        """Height over width of the picture."""
        width, height = self.high - self.low
        return float(height / width)

    def paint(self, axes: Any, values: np.ndarray, norm: Any = None, cmap: str = "viridis") -> Any:
        """Paint ``values``: (N,) numbers, coloured by ``norm`` and ``cmap``, or (N, 4) colours. NaN stays blank.

        Returns:
            The mappable for a colour bar.
        """
        from matplotlib.cm import ScalarMappable

        mappable = ScalarMappable(norm=norm, cmap=cmap)
        if values.ndim == 1 and norm is None:
            mappable.set_clim(float(np.nanmin(values)), float(np.nanmax(values)))
        if not self.solid:
            self._paint_pixels(axes, _coloured(values, mappable))
        elif self.face is not None:
            self._paint_faces(axes, values, mappable)
        else:
            self._paint_points(axes, _coloured(values, mappable))
        axes.set_xlim(self.low[0], self.high[0])
        axes.set_ylim(self.low[1], self.high[1])
        axes.set_aspect("equal")
        if self.solid:
            axes.set_axis_off()
        return mappable

    def mark(self, axes: Any, index: int, colour: str = "black") -> None:
        """A ring around a point, drawn over everything."""
        x, y = self.screen[index]
        axes.plot([x], [y], "o", markersize=9, markerfacecolor="none", markeredgecolor="white", markeredgewidth=3.2)
        axes.plot([x], [y], "o", markersize=9, markerfacecolor="none", markeredgecolor=colour, markeredgewidth=1.6)

    def sees(self) -> np.ndarray:
        """(N,) True for points on faces that look at the camera; without faces for those that no others cover."""
        if self.face is None:
            return ~self._covered if self.solid else np.ones(len(self.coord), dtype=bool)
        seen = np.zeros(len(self.coord), dtype=bool)
        seen[self.face[self._facing > 0].ravel()] = True
        return seen

    @cached_property
    def _facing(self) -> np.ndarray:
        """(F,) cosine between each face's outward normal and the direction to the camera."""
        assert self.face is not None
        corner = self.coord[self.face]
        normal = np.cross(corner[:, 2] - corner[:, 0], corner[:, -1] - corner[:, 1])
        if self.face.shape[1] == 3:
            normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
        inside_out = np.sign(np.einsum("fd,fd->", normal, corner.mean(1) - self.coord.mean(0))) or 1.0
        length = np.linalg.norm(normal, axis=1)
        return inside_out * (normal @ self.direction) / np.maximum(length, 1e-300)

    def _paint_faces(self, axes: Any, values: np.ndarray, mappable: Any) -> None:
        from matplotlib.collections import PolyCollection

        assert self.face is not None
        order = np.argsort(self.depth[self.face].mean(1))
        order = order[self._facing[order] > 0]
        face = self.face[order]
        # A number is averaged before it is coloured, a colour is taken from one corner: classes do not mix.
        colours = _coloured(values[face].mean(1), mappable) if values.ndim == 1 else values[face[:, 0]]
        colours = colours.copy()
        colours[:, :3] *= (1 - SHADE + SHADE * self._facing[order])[:, None]
        polygons = PolyCollection(
            self.screen[face], facecolors=colours, edgecolors=colours, linewidths=0.3, rasterized=True
        )
        axes.add_collection(polygons)

    def _paint_points(self, axes: Any, colours: np.ndarray) -> None:
        from matplotlib.collections import EllipseCollection

        order = np.argsort(self.depth)
        order = order[~self._covered[order]]
        size = np.minimum(
            (GROWN if self._is_surface else 1.0) * self._reach_3d, 0.045 * float((self.high - self.low).max())
        )[order]
        dots = EllipseCollection(
            size,
            size,
            np.zeros(len(size)),
            units="xy",
            offsets=self.screen[order],
            offset_transform=axes.transData,
            facecolors=colours[order],
            linewidths=0,
            rasterized=True,
        )
        axes.add_collection(dots)

    @cached_property
    def _tangents(self) -> tuple[np.ndarray, np.ndarray]:
        return tangents(self.coord)

    @property
    def _is_surface(self) -> bool:
        return _flat(self._tangents[1])

    @cached_property
    def _covered(self) -> np.ndarray:
        """(N,) True for points behind the dot, of twice the size, of a nearer point, and not on its tangent plane.

        Of a cloud that is no surface none is: there is no far side.
        """
        if not self._is_surface:
            return np.zeros(len(self.coord), dtype=bool)
        count = min(COVERED_BY, len(self.coord))
        distance, other = cKDTree(self.screen).query(self.screen, k=count)
        distance, other = distance.reshape(-1, count), other.reshape(-1, count)
        reach = self._reach_3d[other]
        behind = self.depth[other] - self.depth[:, None]
        normal = self._tangents[0][other]
        off_plane = np.abs(np.einsum("nkd,nkd->nk", self.coord[other] - self.coord[:, None], normal))
        return ((distance < reach) & (behind > reach) & (off_plane > OFF_PLANE * reach)).any(1)

    @cached_property
    def _reach_3d(self) -> np.ndarray:
        """(N,) diameter of the dot of each point: about the spacing there."""
        k = min(5, len(self.coord))
        distance = cKDTree(self.coord).query(self.coord, k=k)[0].reshape(len(self.coord), k)[:, -1]
        return np.maximum(1.2 * distance, 0.5 * LEAST_REACH * float((self.high - self.low).max()))

    def _paint_pixels(self, axes: Any, colours: np.ndarray) -> None:
        nearest, inside = self._pixels
        image = np.ones((*nearest.shape, 4))
        image[..., 3] = 0
        image[inside] = colours[nearest[inside]]
        extent = (self.low[0], self.high[0], self.low[1], self.high[1])
        axes.imshow(image, origin="lower", extent=extent, interpolation="nearest", rasterized=True)

    @cached_property
    def _pixels(self) -> tuple[np.ndarray, np.ndarray]:
        """Nearest point of each pixel, and whether the pixel is near enough to it to take its value."""
        size = self.high - self.low
        step = float(size.max()) / PIXELS
        x, y = (np.arange(low + step / 2, high, step) for low, high in zip(self.low, self.high))
        grid = np.stack(np.meshgrid(x, y), -1)
        tree = cKDTree(self.screen)
        distance, nearest = tree.query(grid)
        k = min(NEIGHBORS + 1, len(self.screen))
        reach = tree.query(self.screen, k=k)[0].reshape(len(self.screen), k)[:, -1]
        return nearest, distance <= (0.6 * reach).clip(*(np.array([LEAST_REACH, MOST_REACH]) * size.max()))[nearest]


def tangents(coord: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, 3) direction in which the nearest neighbours of each point spread least, and (N,) how flat they lie: their
    variance along it over that along the next direction."""
    count = min(NEIGHBORS + 1, len(coord))
    own = coord[cKDTree(coord).query(coord, k=count)[1].reshape(-1, count)]
    own = own - own.mean(1, keepdims=True)
    variance, direction = np.linalg.eigh(np.einsum("nki,nkj->nij", own, own))
    return direction[:, :, 0], variance[:, 0] / np.maximum(variance[:, 1], 1e-300)


def is_surface(coord: np.ndarray) -> bool:
    """Whether points (N, 3) lie on a surface, rather than fill a volume."""
    return _flat(tangents(coord)[1])


def _flat(flatness: np.ndarray) -> bool:
    return float(np.median(flatness)) < FLAT


def camera_axes(up: str, elevation: float, azimuth: float) -> np.ndarray:
    """(3, 3) rows: right, up on the screen, and towards the camera."""
    vertical = "xyz".index(up)
    first, second = (vertical + 1) % 3, (vertical + 2) % 3
    e, a = np.radians(elevation), np.radians(azimuth)
    towards, upward = np.zeros(3), np.zeros(3)
    towards[[first, second, vertical]] = np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)
    upward[vertical] = 1.0
    right = np.cross(upward, towards)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(towards, right), towards])


def _coloured(values: np.ndarray, mappable: Any) -> np.ndarray:
    """(N, 4) colours; those of numbers that are not finite are transparent."""
    if values.ndim == 2:
        return values
    colours = np.array(mappable.to_rgba(values))
    colours[~np.isfinite(values)] = 0.0
    return colours


# Pictures of a predicted field: truth, prediction and error side by side.

WIDTH = 15.0  # inches, of three panels with their colour bars
PANEL = 4.1  # inches, of one panel without


def near_zero(coord: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions (N, d) from a round number nearby along each axis far from 0, and these numbers (d,): (map coordinates
    leave no room for the digits that differ)."""
    low, high = coord.min(0).astype(np.float64), coord.max(0).astype(np.float64)
    step = 10.0 ** np.ceil(np.log10(np.maximum(high - low, 1e-12)))
    origin = np.where(np.abs(low) >= 10 * step, np.floor(low / step) * step, 0.0)
    return coord - origin, origin


def draw_fields(
    path: Path,
    coord: np.ndarray,
    target: np.ndarray,
    pred: np.ndarray,
    names: Sequence[str],
    units: Sequence[str],
    title: str,
    up: str = "z",
    face: np.ndarray | None = None,
) -> None:
    """Write a PNG: one row a channel; truth and prediction on one colour scale (1st to 99th percentile of the truth).

    Args:
        coord: (N, 2 or 3) positions.
        target, pred: (N, K) in physical units.
        names, units: of the K channels.
        title: heading.
        up: the axis that points up, in 3-D.
        face: (F, 3 or 4) faces of a surface, to be painted instead of its points.
    """
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    near, origin = near_zero(coord)
    canvas = Canvas(near, face, up)
    rows = target.shape[1]
    height = float(np.clip(PANEL * canvas.aspect, 1.1, 6.0)) + (0.5 if canvas.solid else 0.9)
    figure = Figure(figsize=(WIDTH, height * rows + 0.5), layout="constrained")
    figure.suptitle(title)
    for k, (name, unit) in enumerate(zip(names, units, strict=True)):
        low, high = np.percentile(target[:, k], (1, 99))
        error = pred[:, k] - target[:, k]
        bound = max(float(np.percentile(np.abs(error), 99)), 1e-30)
        label = f"{name} [{unit}]" if unit else name
        field, signed = Normalize(low, max(high, low + 1e-30)), Normalize(-bound, bound)
        columns = (
            ("truth", target[:, k], "viridis", field),
            ("prediction", pred[:, k], "viridis", field),
            ("prediction - truth", error, "RdBu_r", signed),
        )
        for i, (heading, values, colours, norm) in enumerate(columns):
            axes: Any = figure.add_subplot(rows, 3, 3 * k + i + 1)
            dots = canvas.paint(axes, values, norm, colours)
            axes.set_title(f"{name}, {heading}" if rows > 1 else heading)
            if not canvas.solid:
                axes.tick_params(labelsize=8)
                axes.locator_params(axis="x", nbins=5)
                for axis, letter, start in zip((axes.xaxis, axes.yaxis), "xy", origin, strict=False):
                    if start:
                        axis.set_label_text(f"{letter} - {start:.15g}", fontsize=8)
            bar = figure.colorbar(dots, ax=axes, shrink=0.85, extend="both", pad=0.02)
            bar.set_label(label if i < 2 else f"error of {label}")
    write_png(path, figure, dpi=110)
