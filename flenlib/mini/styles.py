"""Styles as image filters: what a finished photo looks like as an oil painting, a watercolor or a sketch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from flenlib.mini.surfaces import Array, smooth


def stylize(image: Array, style: str) -> Array:
    """Return a picture (size, size, 3) in 0..1 in a style; reach of the filters follows the size."""
    return _FILTERS[style](image)


def blur(image: Array, reach: int) -> Array:
    """Return the image after a box blur of ``2 * reach + 1`` pixels, edges repeated."""
    for axis in (0, 1):
        pad = [(0, 0)] * image.ndim
        pad[axis] = (reach + 1, reach)
        total = np.cumsum(np.pad(image, pad, "edge"), axis=axis, dtype=np.float64)
        width = 2 * reach + 1
        n = image.shape[axis]
        sums = np.take(total, np.arange(n) + width, axis) - np.take(total, np.arange(n), axis)
        image = (sums / width).astype(np.float32)
    return image


def _photo(image: Array) -> Array:
    return image


def _oil(image: Array) -> Array:
    """Flat strokes of strong colour: each pixel takes the mean of its calmest neighbouring square (Kuwahara)."""
    reach = max(1, image.shape[0] // 64)
    mean = blur(image, reach)
    spread = (blur(image**2, reach) - mean**2).sum(-1)
    best, calm = mean, spread
    n = image.shape[0]
    means, spreads = (np.pad(v, [(reach, reach)] * 2 + [(0, 0)] * (v.ndim - 2), "edge") for v in (mean, spread))
    for top in (0, 2 * reach):
        for left in (0, 2 * reach):
            other = spreads[top : top + n, left : left + n]
            better = other < calm
            best = np.where(better[..., None], means[top : top + n, left : left + n], best)
            calm = np.minimum(other, calm)
    grey = best.mean(-1, keepdims=True)
    rich = grey + 1.45 * (best - grey)
    return np.clip(rich * (1.08, 0.98, 0.82), 0, 1)


def _watercolor(image: Array) -> Array:
    paper = np.array([1.0, 0.985, 0.95], np.float32)
    n = image.shape[0]
    washed = 0.4 * blur(image, max(1, n // 96)) + 0.6 * image
    y, x = np.meshgrid(*2 * [np.linspace(-1, 1, n, dtype=np.float32)], indexing="ij")
    strength = 0.80 * smooth(1.30, 0.80, np.hypot(x, y))
    return paper * (1 - strength[..., None] * (1 - np.clip(1.15 * washed, 0, 1)))


def _sketch(image: Array) -> Array:
    """Pencil on paper: a colour dodge of the greys over their blur, so that edges stay and areas go white."""
    grey = image @ np.array([0.3, 0.59, 0.11], np.float32)
    around = blur(grey, max(2, image.shape[0] // 24))
    lines = np.clip((grey + 0.04) / (around + 0.04), 0, 1) ** 1.6
    tone = 0.80 * lines + 0.20 * (0.3 + 0.7 * grey)
    return np.clip(tone, 0, 1)[..., None] * np.array([0.98, 0.97, 0.93], np.float32)


_FILTERS: dict[str, Callable[[Array], Array]] = {
    "photo": _photo, "oil painting": _oil, "watercolor": _watercolor, "sketch": _sketch,
}  # fmt: skip
