"""Statistics against textbook values, known truths by simulation, and the sentences people read."""

from __future__ import annotations

import math

import numpy as np
import pytest

from flenlib.measure.statistics import (
    Interval,
    cluster_bootstrap,
    paired_bootstrap,
    verdict,
    wilson,
)


def test_wilson_matches_published_values():
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="5 successes of 3 tries"):
        wilson(5, 3)


def test_the_difference_is_second_minus_first_and_unmeasured_pairs_are_left_out():
    found = paired_bootstrap([0.5, 0.5, None, 0.5], [0.4, 0.3, 0.1, math.nan])
    assert found.mean_difference == pytest.approx(-0.15)
    assert found.n == 2


def test_the_same_seed_gives_the_same_interval():
    a, b = list(np.linspace(0, 1, 20)), list(np.linspace(0.1, 0.8, 20))
    assert paired_bootstrap(a, b, seed=3) == paired_bootstrap(a, b, seed=3)


def test_the_bootstrap_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for number in range(200):
        a = rng.normal(size=30)
        found = paired_bootstrap(a, a + rng.normal(0.1, 0.5, size=30), seed=number, n=500)
        hits += found.low <= 0.1 <= found.high
    assert 0.88 <= hits / 200 <= 0.99


def test_resampling_cells_is_wider_than_resampling_pictures_that_resemble_each_other():
    cells = np.repeat(np.arange(23), 4)
    a = np.zeros(92)
    b = np.random.default_rng(0).normal(0.05, 0.2, size=23)[cells]
    by_picture, by_cell = paired_bootstrap(a, b), cluster_bootstrap(a, b, cells)
    assert by_cell.n == 23
    assert by_cell.mean_difference == pytest.approx(by_picture.mean_difference)
    assert by_cell.high - by_cell.low > 1.5 * (by_picture.high - by_picture.low)


def test_sides_of_different_length_are_named():
    with pytest.raises(ValueError, match="2 and 1 values cannot be paired"):
        paired_bootstrap([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="1 cells were given for 2 pairs"):
        cluster_bootstrap([1.0, 2.0], [1.0, 2.0], ["front"])


def test_verdicts_are_plain_sentences():
    lower = Interval(-0.04, -0.06, -0.02, 23)
    better = "v2 is better than v1: mean difference -0.040, 95% interval -0.060 to -0.020, n = 23"
    assert verdict(lower, "lower") == better
    assert verdict(lower, "higher").startswith("v2 is worse than v1")
    assert verdict(Interval(0.04, 0.02, 0.06, 23), "lower", ("base", "v1")).startswith("v1 is worse than base")
    both = Interval(0.01, -0.02, 0.04, 23)
    assert verdict(both, "lower").startswith("no difference shown between v1 and v2: mean difference")


def test_nothing_is_concluded_from_too_few_pairs():
    found = paired_bootstrap([0.5] * 3, [0.1] * 3)
    assert verdict(found, "lower") == "no difference shown between v1 and v2: n = 3 measured, 6 are needed"
    assert verdict(paired_bootstrap([None], [0.1]), "lower").endswith("n = 0 measured, 6 are needed")
