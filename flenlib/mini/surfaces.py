"""Surfaces as dense grids of points: rings, ellipsoids, capsules and tubes, with normals and colours.

Knows geometry only. x points to the picture's right, y up, z to the camera; a grid's rows go up (v) and its columns
go round (a), starting at the front and turning towards +x.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Part:
    """Points of one surface: positions, outward normals and colours, each (n, 3) float32."""

    points: Array
    normals: Array
    colors: Array
    gloss: float = 0.05
    two_sided: bool = False

    def where(self, keep: Array) -> Part:
        """Return the part without the points at which ``keep`` (n,) is false."""
        return replace(self, points=self.points[keep], normals=self.normals[keep], colors=self.colors[keep])


def smooth(low: float | Array, high: float | Array, x: Array) -> Array:
    """Return the smoothstep of x: 0 at ``low``, 1 at ``high``; ``low`` may be the larger."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def bump(x: Array, width: float | Array) -> Array:
    """Return exp(-(x / width)^2)."""
    return np.exp(-np.square(x / width))


def paint(colors: Array, mask: Array, color: tuple[float, float, float] | Array) -> None:
    """Blend ``color`` into ``colors`` (..., 3) in place, as strongly as ``mask`` (...) says."""
    at = np.nonzero(mask > 0.003)  # most masks touch few points
    old = colors[at]
    colors[at] = old + mask[at].astype(np.float32)[:, None] * (np.asarray(color, np.float32) - old)


def angles(columns: int) -> Array:
    """Return the angle of each column, (columns,) in -pi..pi with 0 at the front."""
    return np.linspace(-np.pi, np.pi, columns, endpoint=False, dtype=np.float32)


@lru_cache(maxsize=32)
def sphere(rows: int, columns: int) -> Array:
    """Return the unit sphere as a grid (rows, columns, 3) with its poles on the y axis."""
    lat = np.linspace(-np.pi / 2 + 0.01, np.pi / 2 - 0.01, rows, dtype=np.float32)[:, None]
    a = angles(columns)[None]
    return np.stack(np.broadcast_arrays(np.cos(lat) * np.sin(a), np.sin(lat), np.cos(lat) * np.cos(a)), -1)


def normals_of(grid: Array) -> Array:
    """Return outward unit normals of a grid (rows, columns, 3) that is closed in its columns."""
    du = np.roll(grid, -1, 1) - np.roll(grid, 1, 1)
    dv = np.empty_like(grid)
    dv[1:-1] = grid[2:] - grid[:-2]
    dv[0], dv[-1] = grid[1] - grid[0], grid[-1] - grid[-2]
    n = np.empty_like(grid)
    n[..., 0] = du[..., 1] * dv[..., 2] - du[..., 2] * dv[..., 1]
    n[..., 1] = du[..., 2] * dv[..., 0] - du[..., 0] * dv[..., 2]
    n[..., 2] = du[..., 0] * dv[..., 1] - du[..., 1] * dv[..., 0]
    return n / (np.sqrt(np.einsum("...i,...i", n, n)) + 1e-9)[..., None]


def as_part(
    grid: Array, colors: Array | tuple[float, float, float], gloss: float = 0.05, two_sided: bool = False
) -> Part:
    """Return a grid (rows, columns, 3) as a part; ``colors`` is one colour or one for each point."""
    colors = np.broadcast_to(np.asarray(colors, np.float32), grid.shape)
    flat = (-1, 3)
    return Part(grid.reshape(flat), normals_of(grid).reshape(flat), colors.reshape(flat).copy(), gloss, two_sided)


def ellipsoid(center: tuple[float, float, float], radii: tuple[float, float, float], color: Any, detail: float) -> Part:
    """Return an ellipsoid; ``detail`` is points per head unit."""
    big = max(radii)
    grid = sphere(max(8, int(3.4 * big * detail)), max(12, int(6.8 * big * detail)))
    return as_part(grid * np.array(radii, np.float32) + np.array(center, np.float32), color)


def capsule(start: Any, end: Any, radius_start: float, radius_end: float, color: Any, detail: float) -> Part:
    """Return a capsule between two points whose radius goes from one value to the other."""
    start, end = np.asarray(start, np.float32), np.asarray(end, np.float32)
    length = float(np.linalg.norm(end - start))
    up = (end - start) / length
    helper = np.array([0, 0, 1], np.float32) if abs(up[2]) < 0.8 else np.array([1, 0, 0], np.float32)
    right = np.cross(up, helper)
    right /= np.linalg.norm(right)
    front = np.cross(right, up)
    big = max(radius_start, radius_end)
    caps = max(5, int(1.8 * big * detail))
    lat = np.linspace(0.02, np.pi / 2, caps, dtype=np.float32)
    along = np.linspace(0, 1, max(3, int(1.3 * length * detail)), dtype=np.float32)
    radius = radius_start + (radius_end - radius_start) * along
    axial = np.concatenate([-radius_start * np.cos(lat), along * length, length + radius_end * np.cos(lat[::-1])])
    radial = np.concatenate([radius_start * np.sin(lat), radius, radius_end * np.sin(lat[::-1])])
    a = angles(max(12, int(8.5 * big * detail)))
    ring = np.sin(a)[:, None] * right + np.cos(a)[:, None] * front
    return as_part(start + axial[:, None, None] * up + radial[:, None, None] * ring[None], color)


def rings(profile: Array, rows: int, columns: int) -> Array:
    """Return a grid of stacked ellipses (rows, columns, 3) along a profile.

    The profile's rows, from low to high, are (y, half width, half depth, middle z).
    """
    profile = np.asarray(profile, np.float32)
    steps = np.linalg.norm(np.diff(profile[:, :3], axis=0), axis=1)
    at = np.concatenate([[0], np.cumsum(steps)])
    fine = np.linspace(0, at[-1], rows)
    y, width, depth, middle = (_smoothed(np.interp(fine, at, column), rows // 12) for column in profile.T)
    a = angles(columns)
    s, c = np.sin(a), np.cos(a)
    grid = np.empty((rows, columns, 3), np.float32)
    grid[..., 0] = width[:, None] * s
    grid[..., 1] = y[:, None]
    grid[..., 2] = middle[:, None] + depth[:, None] * c
    return grid


def _smoothed(values: Array, reach: int) -> Array:
    if reach < 1:
        return values
    kernel = np.hanning(2 * reach + 3)[1:-1]
    # Extend along the end slopes, so that smoothing does not pull the ends inwards.
    left = 2 * values[0] - values[1 : reach + 1][::-1]
    right = 2 * values[-1] - values[-reach - 1 : -1][::-1]
    return np.convolve(np.concatenate([left, values, right]), kernel / kernel.sum(), "valid")
