"""Tables of measured pictures, one column a measure: what they come to, and how two of them differ.

A table has one row a picture; NaN is *not measured*. Other columns than measures are left alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import pandas as pd

from flenlib.measure.measures import MEASURES, SHARE, Measure, among
from flenlib.measure.statistics import Interval, cluster_bootstrap


def sums(table: pd.DataFrame, measures: Sequence[Measure] = MEASURES) -> dict[str, float]:
    """Return what each measure comes to over a table: the share of pictures, or the median of what was measured."""
    return {
        m.name: float(table[m.name].mean() if m.unit == SHARE else table[m.name].median())
        for m in among(table.columns, measures)
    }


def differences(
    first: pd.DataFrame,
    second: pd.DataFrame,
    cells: Sequence[Hashable],
    measures: Sequence[Measure] = MEASURES,
    seed: int = 0,
) -> dict[Measure, Interval]:
    """Return the paired difference (second minus first) of every measure of which one way is better.

    Rows are paired by their place; whole ``cells`` (one name a row) are resampled.
    """
    judged = [m for m in among(first.columns, measures) if m.better != "neither"]
    return {m: cluster_bootstrap(list(first[m.name]), list(second[m.name]), cells, seed) for m in judged}


def difference_table(intervals: Mapping[Measure, Interval]) -> pd.DataFrame:
    """Return paired differences as a table: mean, interval, and on how many independent units they stand."""
    rows = [
        {"measure": m.name, "difference": i.mean_difference, "low": i.low, "high": i.high, "n": i.n}
        for m, i in intervals.items()
    ]
    return pd.DataFrame(rows, columns=["measure", "difference", "low", "high", "n"]).set_index("measure").round(4)
