"""Backgrounds made of a few soft shapes, each recognisable at a glance."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np

from flenlib.mini.surfaces import Array, paint, smooth


def background(name: str, seed: int, size: int) -> Array:
    """Return a background (size, size, 3) in 0..1; the seed moves its details."""
    rng = np.random.default_rng([7, seed])
    y, x = np.meshgrid(*2 * [(np.arange(size, dtype=np.float32) + 0.5) / size], indexing="ij")
    return _PAINTERS[name](rng, x, y).astype(np.float32)


def _fill(x: Array, color: tuple[float, float, float]) -> Array:
    return np.broadcast_to(np.array(color, np.float32), (*x.shape, 3)).copy()


def _box(x: Array, y: Array, left: float, top: float, right: float, bottom: float, soft: float = 0.012) -> Array:
    across = smooth(left - soft, left + soft, x) * smooth(right + soft, right - soft, x)
    return across * smooth(top - soft, top + soft, y) * smooth(bottom + soft, bottom - soft, y)


def _clean(rng: np.random.Generator, x: Array, y: Array) -> Array:
    return _fill(x, (0.90, 0.90, 0.89)) * (1.02 - 0.06 * y)[..., None]


def _studio(rng: np.random.Generator, x: Array, y: Array) -> Array:
    image = _fill(x, (0.20, 0.21, 0.23))
    spot = smooth(0.75, 0.05, np.hypot(x - rng.uniform(0.4, 0.6), y - 0.42))
    paint(image, 0.85 * spot, (0.52, 0.52, 0.54))
    return image


def _forest(rng: np.random.Generator, x: Array, y: Array) -> Array:
    image = _fill(x, (0.52, 0.68, 0.38))
    paint(image, smooth(0.35, 0.0, y), (0.20, 0.42, 0.18))
    paint(image, smooth(0.70, 0.85, y), (0.22, 0.36, 0.14))
    for center in np.arange(0.06, 1.05, 0.19) + rng.uniform(-0.04, 0.04, 6):
        width = rng.uniform(0.028, 0.05)
        paint(image, smooth(width + 0.015, width - 0.015, np.abs(x - center)), (0.24, 0.17, 0.10))
    for center in np.arange(0.0, 1.1, 0.22) + rng.uniform(-0.05, 0.05, 5):
        paint(image, 0.9 * smooth(0.17, 0.09, np.hypot(x - center, y - rng.uniform(0.0, 0.1))), (0.14, 0.36, 0.14))
    return image


def _beach(rng: np.random.Generator, x: Array, y: Array) -> Array:
    image = _fill(x, (0.50, 0.75, 0.95))
    paint(image, smooth(0.0, 0.45, y) * 0.5, (0.85, 0.92, 0.97))
    sea = 0.44 + rng.uniform(-0.03, 0.03)
    paint(image, smooth(sea - 0.01, sea + 0.01, y), (0.08, 0.45, 0.62))
    paint(image, smooth(sea + 0.16, sea + 0.22, y + 0.02 * np.sin(9 * x)), (0.92, 0.82, 0.58))
    sun = rng.choice((0.12, 0.88))
    paint(image, smooth(0.085, 0.06, np.hypot(x - sun, y - 0.13)), (1.0, 0.95, 0.62))
    return image


def _urban(rng: np.random.Generator, x: Array, y: Array) -> Array:
    image = _fill(x, (0.74, 0.80, 0.86))
    edges = np.array([-0.05, 0.20, 0.42, 0.62, 0.82, 1.05]) + rng.uniform(-0.03, 0.03, 6)
    for left, right in itertools.pairwise(edges):
        top, grey = rng.uniform(0.05, 0.32), rng.uniform(0.36, 0.55)
        paint(image, _box(x, y, left, top, right, 0.9), (grey, grey, grey * 1.04))
        for row in np.arange(top + 0.05, 0.82, 0.13):
            for column in (left + 0.035, (left + right) / 2 + 0.02):
                paint(image, _box(x, y, column, row, column + 0.065, row + 0.065), (0.95, 0.86, 0.55))
    paint(image, smooth(0.86, 0.89, y), (0.28, 0.28, 0.30))
    return image


def _spaceship(rng: np.random.Generator, x: Array, y: Array) -> Array:
    image = _fill(x, (0.16, 0.19, 0.26))
    for top in (0.10, 0.78):
        paint(image, _box(x, y, -1, top, 2, top + 0.06), (0.20, 0.85, 0.92))
    for center in (0.13, 0.87):
        at = center + rng.uniform(-0.02, 0.02)
        distance = np.hypot(x - at, y - 0.42)
        paint(image, smooth(0.16, 0.14, distance), (0.62, 0.66, 0.72))
        paint(image, smooth(0.115, 0.095, distance), (0.03, 0.03, 0.10))
    return image


def _library(rng: np.random.Generator, x: Array, y: Array) -> Array:
    image = _fill(x, (0.30, 0.17, 0.09))
    books = np.array(
        [[0.62, 0.16, 0.14], [0.16, 0.28, 0.48], [0.76, 0.58, 0.24], [0.18, 0.40, 0.26], [0.52, 0.34, 0.22]]
    )
    for top in (0.03, 0.28, 0.53, 0.78):
        for left in np.arange(0.01, 1.0, 0.09):
            color = books[rng.integers(len(books))]
            paint(image, _box(x, y, left, top + rng.uniform(0.0, 0.05), left + 0.078, top + 0.19), tuple(color))
    return image


def _desert(rng: np.random.Generator, x: Array, y: Array) -> Array:
    image = _fill(x, (0.98, 0.82, 0.56))
    paint(image, smooth(0.35, 0.0, y), (0.62, 0.78, 0.90))
    for height, color in ((0.46, (0.88, 0.56, 0.28)), (0.62, (0.78, 0.44, 0.20)), (0.80, (0.66, 0.35, 0.16))):
        line = height + 0.06 * np.sin(rng.uniform(3, 6) * x + rng.uniform(0, 6))
        paint(image, smooth(-0.01, 0.015, y - line), color)
    return image


_PAINTERS: dict[str, Callable[[np.random.Generator, Array, Array], Array]] = {
    "clean": _clean, "studio": _studio, "forest": _forest, "beach": _beach,
    "urban": _urban, "spaceship": _spaceship, "library": _library, "desert": _desert,
}  # fmt: skip
