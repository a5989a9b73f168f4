"""Step 1.8: is the refined LoRA better than step 1.4's? The same cells, prompts and seeds, paired; a plain sentence."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from flenlib.dataset.images import open_image
from flenlib.measure.quality import diversity
from flenlib.measure.statistics import FEWEST_PAIRS, Interval, cluster_bootstrap, paired_bootstrap, verdict
from flenlib.steps import Criterion


@dataclass(frozen=True)
class Comparison:
    """Two LoRAs on the model card: paired differences (second minus first) with intervals, and the sentence."""

    names: tuple[str, str]
    identity: Interval
    intervals: dict[str, Interval]
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
    tables: dict[str, pd.DataFrame], first: str, second: str, seed: int = 0, least_diversity: float = 0.9
) -> Comparison:
    """Compare two card tables picture by picture, resampling whole cells.

    Identity is the distance to held-out sources where both pictures show a face. The second ships only if its identity
    is measured and not shown to be worse, it does not show fewer faces, and its diversity is at least
    ``least_diversity`` of the first's.
    """
    pairs = tables[first].merge(tables[second], on=["cell", "seed"], suffixes=("_1", "_2"), validate="one_to_one")
    column = "held_out_distance"
    both = pairs.dropna(subset=[f"{column}_1", f"{column}_2"])
    identity = cluster_bootstrap(list(both[f"{column}_1"]), list(both[f"{column}_2"]), list(both["cell"]), seed)
    shown = [(pairs[f"faces_{side}"] > 0).astype(float).tolist() for side in (1, 2)]
    faces = cluster_bootstrap(*shown, list(pairs["cell"]), seed)
    within = [_diversity_by_cell(tables[name]) for name in (first, second)]
    intervals = {
        "face distance to held-out sources (lower is nearer)": identity,
        "pictures with a face (share)": faces,
        "diversity of a cell's seeds (colour difference)": paired_bootstrap(*within, seed=seed),
    }
    spread = {name: diversity([open_image(p) for p in tables[name]["path"]]) for name in (first, second)}
    ratio = spread[second] / spread[first] if spread[first] else float("nan")
    measured = identity.n >= FEWEST_PAIRS
    better, worse = measured and identity.high < 0, identity.low > 0
    fewer = faces.high < 0
    sentence = f"{verdict(identity, lower_is_better=True, names=(first, second))} (face distance to held-out sources)"
    if fewer:
        sentence += f"; but {second} shows fewer faces: {faces.mean_difference:+.0%}"
    ship = measured and not worse and not fewer and ratio >= least_diversity
    return Comparison(
        (first, second), identity, intervals, ratio, sentence, better and not fewer, ship, least_diversity
    )


def _diversity_by_cell(table: pd.DataFrame) -> list[float | None]:
    cells = table.groupby("cell", sort=True)["path"]
    return [diversity([open_image(path) for path in paths]) for _, paths in cells]


def base_gap(tables: dict[str, pd.DataFrame], name: str) -> Criterion:
    """Return whether a LoRA's median face distance to held-out sources is clearly below the base model's.

    Clearly: the interval of the paired mean difference, resampled by cells, lies below zero.
    """
    pairs = tables["base"].merge(tables[name], on=["cell", "seed"], suffixes=("_1", "_2"), validate="one_to_one")
    both = pairs.dropna(subset=["held_out_distance_1", "held_out_distance_2"])
    medians = [float(tables[n]["held_out_distance"].median()) for n in ("base", name)]
    found = f"median {medians[1]:.3f} against the base model's {medians[0]:.3f}"
    gap = cluster_bootstrap(list(both["held_out_distance_1"]), list(both["held_out_distance_2"]), list(both["cell"]))
    found += f"; paired difference {gap.mean_difference:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}] over {gap.n} cells"
    shown = gap.n >= FEWEST_PAIRS and gap.high < 0
    return Criterion(f"{name} nearer to held-out sources than the base model", shown, found)


def criteria(comparison: Comparison) -> list[Criterion]:
    """Return step 1.8's own criteria: an improvement shown, and the guard under which the second may be shipped."""
    first, second = comparison.names
    identity = comparison.identity
    found = f"paired difference {identity.mean_difference:+.3f} [{identity.low:+.3f}, {identity.high:+.3f}]"
    return [
        Criterion(f"{second} shows an improvement over {first}", comparison.better, found),
        Criterion(
            f"guard: {second} may be shipped: identity, faces not worse, diversity {comparison.least_diversity:.0%} of "
            f"{first}'s", comparison.ship,
            f"diversity {comparison.diversity_ratio:.0%}",
        ),
    ]  # fmt: skip


def intervals_table(comparison: Comparison) -> pd.DataFrame:
    """Return the paired differences as a table: mean, interval, pairs."""
    rows = [
        {"measure": name, "difference": i.mean_difference, "low": i.low, "high": i.high, "cells": i.n}
        for name, i in comparison.intervals.items()
    ]
    return pd.DataFrame(rows).set_index("measure").round(4)
