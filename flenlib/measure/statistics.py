"""Intervals and plain sentences: is v2 better than v1, or is no difference shown?

Knows numbers only. In every comparison ``a`` is the first (older) side and ``b`` the second, the difference is
``b - a``, and a pair with a side that was not measured (None or NaN) is left out of it.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

FEWEST_PAIRS = 6
"""A two-sided sign test cannot reach p < 0.05 with fewer pairs, so nothing is concluded from fewer."""

Measured = Sequence[float | None]
Way = Literal["lower", "higher", "neither"]
"""Which way is better, as a `Measure` says it."""


@dataclass(frozen=True)
class Interval:
    """A mean difference (b - a) with its interval, and how many independent units (pairs or cells) it stands on."""

    mean_difference: float
    low: float
    high: float
    n: int
    level: float = 0.95

    @property
    def enough(self) -> bool:
        """Whether it stands on enough units for anything to be concluded."""
        return self.n >= FEWEST_PAIRS

    def shows_better(self, better: Way) -> bool:
        """Say whether ``b`` is shown to be better, where ``better`` says which way that is."""
        return self.enough and (self.high < 0 if better == "lower" else self.low > 0)

    def shows_worse(self, better: Way) -> bool:
        """Say whether ``b`` is shown to be worse."""
        return self.enough and (self.low > 0 if better == "lower" else self.high < 0)


def wilson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval (low, high) of a share; (0, 1) when nothing was tried (Wilson 1927).

    Raises ValueError when ``successes`` is not between 0 and ``n``.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} tries is not a share; give between 0 and {n}")
    if n == 0:
        return 0.0, 1.0
    z = stats.norm.ppf((1 + level) / 2)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def paired_bootstrap(a: Measured, b: Measured, seed: int = 0, level: float = 0.95, n: int = 10000) -> Interval:
    """Return the mean of ``b - a`` over pairs, with a percentile bootstrap interval from ``n`` resamples of the pairs.

    Infinitely wide for fewer than two measured pairs. Raises ValueError when the sides differ in length.
    """
    return cluster_bootstrap(a, b, range(len(a)), seed, level, n)


def cluster_bootstrap(
    a: Measured, b: Measured, cells: Sequence[Hashable], seed: int = 0, level: float = 0.95, n: int = 10000
) -> Interval:
    """Return the mean of ``b - a`` with an interval that resamples whole cells, such as 23 prompts of 4 seeds each.

    Pictures of one prompt resemble each other: resampling single pictures would make the interval too narrow.
    ``cells`` names each pair's cell; `Interval.n` counts the cells with a measured pair.
    Raises ValueError when the three differ in length.
    """
    differences = _differences(a, b)
    if len(cells) != len(differences):
        raise ValueError(f"{len(cells)} cells were given for {len(differences)} pairs; give one cell a pair")
    groups: dict[Hashable, list[float]] = {}
    for cell, difference in zip(cells, differences, strict=True):
        if not math.isnan(difference):
            groups.setdefault(cell, []).append(difference)
    if not groups:
        return Interval(math.nan, -math.inf, math.inf, 0, level)
    sums = np.array([sum(group) for group in groups.values()])
    counts = np.array([len(group) for group in groups.values()])
    mean = float(sums.sum() / counts.sum())
    if len(groups) < 2:
        return Interval(mean, -math.inf, math.inf, 1, level)
    chosen = np.random.default_rng(seed).integers(len(groups), size=(n, len(groups)))
    means = sums[chosen].sum(axis=1) / counts[chosen].sum(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high), len(groups), level)


def verdict(interval: Interval, better: Way, names: tuple[str, str] = ("v1", "v2")) -> str:
    """Return one plain sentence: the second is better or worse than the first, or no difference is shown."""
    first, second = names
    if not interval.enough:
        return f"no difference shown between {first} and {second}: n = {interval.n} measured, {FEWEST_PAIRS} are needed"
    facts = (
        f"mean difference {interval.mean_difference:+.3f}, "
        f"{interval.level:.0%} interval {interval.low:+.3f} to {interval.high:+.3f}, n = {interval.n}"
    )
    if interval.low <= 0 <= interval.high:
        return f"no difference shown between {first} and {second}: {facts}"
    word = "better" if interval.shows_better(better) else "worse"
    return f"{second} is {word} than {first}: {facts}"


def _differences(a: Measured, b: Measured) -> np.ndarray:
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} values cannot be paired; both sides must be of the same pictures")
    return _numbers(b) - _numbers(a)


def _numbers(values: Measured) -> np.ndarray:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)
