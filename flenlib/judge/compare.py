"""Step 1.8: is the refined LoRA better than step 1.4's? The same cells, prompts and seeds, paired; a plain sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from flenlib.dataset.images import open_image
from flenlib.dataset.records import NOT_MEASURED
from flenlib.measure.measures import DIVERSITY, FACE_FOUND, HELD_OUT_FACE_DISTANCE, MEASURES, Measure
from flenlib.measure.seen import Seen
from flenlib.measure.statistics import Interval, paired_bootstrap, verdict
from flenlib.measure.tables import difference_table, differences
from flenlib.steps import Criterion


@dataclass(frozen=True)
class Comparison:
    """Two LoRAs on the model card: paired differences (second minus first) with intervals, and the sentence."""

    names: tuple[str, str]
    intervals: dict[Measure, Interval]
    diversity_ratio: float
    sentence: str
    better: bool
    ship: bool
    least_diversity: float = 0.9

    @property
    def to_ship(self) -> str:
        """The name of the LoRA to use: the second where it may be shipped, else the first."""
        return self.names[1] if self.ship else self.names[0]


def compare(
    tables: Mapping[str, pd.DataFrame],
    first: str,
    second: str,
    seed: int = 0,
    least_diversity: float = 0.9,
    measures: Sequence[Measure] = MEASURES,
) -> Comparison:
    """Compare two card tables picture by picture, resampling whole cells; sets of pictures are compared by cells.

    Identity is the distance to held-out sources where both pictures show a face. The second ships only if its identity
    is measured and not shown to be worse, it does not show fewer faces, and its diversity is at least
    ``least_diversity`` of the first's.
    """
    one, other = _paired(tables, first, second)
    intervals = differences(one, other, list(one["cell"]), measures, seed)
    intervals |= {
        m: paired_bootstrap(_by_cell(tables[first], m), _by_cell(tables[second], m), seed=seed)
        for m in measures
        if m.applies_to == "set"
    }
    before, after = (DIVERSITY.take(_pictures(tables[name]["path"])) for name in (first, second))
    ratio = after / before if before and after is not None else float("nan")
    identity, faces = intervals[HELD_OUT_FACE_DISTANCE], intervals[FACE_FOUND]
    fewer = faces.shows_worse(FACE_FOUND.better)
    better = identity.shows_better(HELD_OUT_FACE_DISTANCE.better) and not fewer
    worse = identity.shows_worse(HELD_OUT_FACE_DISTANCE.better)
    sentence = f"{verdict(identity, HELD_OUT_FACE_DISTANCE.better, (first, second))} ({HELD_OUT_FACE_DISTANCE.words})"
    if fewer:
        sentence += f"; but {second} shows fewer faces: {faces.mean_difference:+.0%}"
    ship = identity.enough and not worse and not fewer and ratio >= least_diversity
    return Comparison((first, second), intervals, ratio, sentence, better, ship, least_diversity)


def _paired(tables: Mapping[str, pd.DataFrame], first: str, second: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return two cards' tables with their rows in one order, by cell and seed."""
    order = tables[first][["cell", "seed"]]
    return tables[first], order.merge(tables[second], on=["cell", "seed"], validate="one_to_one")


def _by_cell(table: pd.DataFrame, measure: Measure) -> list[float | None]:
    """Return a measure of a set for the pictures of each cell."""
    return [measure.take(_pictures(paths)) for _, paths in table.groupby("cell", sort=True)["path"]]


def _pictures(paths: Iterable[str]) -> list[Seen]:
    return [Seen(open_image(path)) for path in paths]


def base_gap(tables: Mapping[str, pd.DataFrame], name: str) -> Criterion:
    """Return whether a LoRA's median face distance to held-out sources is clearly below the base model's.

    Clearly: the interval of the paired mean difference, resampled by cells, lies below zero.
    """
    measure = HELD_OUT_FACE_DISTANCE
    one, other = _paired(tables, "base", name)
    gap = differences(one, other, list(one["cell"]), [measure])[measure]
    medians = [float(tables[n][measure.name].median()) for n in ("base", name)]
    found = f"median {medians[1]:.3f} against the base model's {medians[0]:.3f}"
    found += f"; paired difference {gap.mean_difference:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}] over {gap.n} cells"
    shown = gap.shows_better(measure.better)
    found = found if gap.n else NOT_MEASURED
    return Criterion(f"{name} nearer to held-out sources than the base model", shown, found)


def criteria(comparison: Comparison) -> list[Criterion]:
    """Return step 1.8's own criteria: an improvement shown, and the guard under which the second may be shipped."""
    first, second = comparison.names
    identity = comparison.intervals[HELD_OUT_FACE_DISTANCE]
    found = f"paired difference {identity.mean_difference:+.3f} [{identity.low:+.3f}, {identity.high:+.3f}]"
    found = found if identity.n else NOT_MEASURED
    return [
        Criterion(f"{second} shows an improvement over {first}", comparison.better, found),
        Criterion(
            f"guard: {second} may be shipped: identity, faces not worse, diversity {comparison.least_diversity:.0%} of "
            f"{first}'s", comparison.ship,
            f"diversity {comparison.diversity_ratio:.0%}",
        ),
    ]  # fmt: skip


def intervals_table(comparison: Comparison) -> pd.DataFrame:
    """Return the paired differences as a table: mean, interval, and how many cells."""
    return difference_table(comparison.intervals)
