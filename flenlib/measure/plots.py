"""The plots of the steps. Each builds and returns its own Figure, so it works headlessly and leaves no global state.

In a notebook a Figure that ends a cell is shown; elsewhere ``figure.savefig(path)``.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flenlib.measure.coverage import Described, all_values, value_of
from flenlib.measure.statistics import Interval

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's palette, told apart by colour-blind readers too."""


class Plot(Figure):
    """A Figure that a notebook shows without pyplot or ``%matplotlib inline``."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=100)
        return buffer.getvalue()


def distance_histogram(
    values_by_name: Mapping[str, Sequence[float | None]], thresholds: Mapping[str, float], ax: Axes | None = None
) -> Figure:
    """Return overlaid histograms of face distances, a dashed line a threshold, and how many were not measured."""
    ax = _axes(ax, (7, 3.5))
    measured = {name: [v for v in values if v is not None] for name, values in values_by_name.items()}
    everything = [v for values in measured.values() for v in values] + list(thresholds.values())
    edges = np.linspace(0, max(everything, default=0.6) * 1.05, 31)
    for number, (name, values) in enumerate(measured.items()):
        missing = len(values_by_name[name]) - len(values)
        label = f"{name} (n={len(values)}" + (f", {missing} not measured)" if missing else ")")
        ax.hist(values, bins=edges, alpha=0.55, color=_colour(number), label=label)
    for number, (name, value) in enumerate(thresholds.items()):
        ax.axvline(value, linestyle="--", color=_colour(len(measured) + number), label=f"{name}: {value:.3f}")
    ax.set_xlabel("face distance (lower is nearer)")
    ax.set_ylabel("pictures")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize="small")
    return ax.figure


def loss_curves(log: pandas.DataFrame, watched: pandas.DataFrame | None = None, window: int = 20) -> Figure:
    """Return a training log as panels: loss and its running mean, loss by timestep bin, and what was watched.

    ``log`` has a row a step with columns ``step``, ``loss`` and ``lr``, and for the second panel columns named
    ``bin_0`` (nearest the picture) to ``bin_9`` (nearest the noise), empty where a step drew no such timestep.
    ``watched`` has a row a look with ``step``, ``validation`` (drawn beside the loss) and ``identity`` (mean face
    distance of the previews), empty where not measured; without an identity the third panel is the learning rate.
    """
    figure = _figure((12, 3.2))
    total, bins, last = figure.subplots(1, 3)
    total.plot(log["step"], log["loss"], color="0.8", linewidth=0.8)
    total.plot(log["step"], log["loss"].rolling(window, min_periods=1).mean(), color=COLOURS[0], label="training")
    total.set(title=f"loss, and mean of {window} steps", xlabel="step")
    columns = [name for name in log.columns if name.startswith("bin_")]
    bins.bar(range(len(columns)), [log[name].mean() for name in columns], color=COLOURS[0])
    bins.set(title="loss by timestep", xlabel="tenth of the way from picture to noise", xticks=range(len(columns)))
    _watched(total, watched, "validation", "held-out pictures")
    if _watched(last, watched, "identity", "previews"):
        last.set(title="face distance to held-out pictures", xlabel="step")
    else:
        last.plot(log["step"], log["lr"], color=COLOURS[1])
        last.set(title="learning rate", xlabel="step")
    return figure


def _watched(ax: Axes, watched: pandas.DataFrame | None, column: str, label: str) -> bool:
    """Draw one column of what was watched, where it was measured, and say whether it was at all."""
    if watched is None or watched.empty or watched[column].isna().all():
        return False
    measured = watched.dropna(subset=[column])
    ax.plot(measured["step"], measured[column].astype(float), "o-", color=COLOURS[1], label=label)
    ax.legend(fontsize="small")
    return True


def coverage_heatmap(records: Sequence[Described], rows: str = "angle", columns: str = "expression") -> Figure:
    """Return how many pictures there are of each value of two fields, as a grid of counts; gaps are written as 0."""
    pairs = pandas.DataFrame(
        [(value_of(record, rows) or "unknown", value_of(record, columns) or "unknown") for record in records],
        columns=["row", "column"],
    )
    table = pandas.crosstab(pairs["row"], pairs["column"])
    table = table.reindex(index=all_values(rows, table.index), columns=all_values(columns, table.columns), fill_value=0)
    figure = _figure((1.6 + 0.9 * len(table.columns), 1.2 + 0.4 * len(table)))
    ax = figure.add_subplot()
    ax.imshow(table.to_numpy(), cmap="Blues", vmin=0, vmax=max(1, table.to_numpy().max()), aspect="auto")
    ax.set_xticks(range(len(table.columns)), table.columns)
    ax.set_yticks(range(len(table)), table.index)
    for (i, j), count in np.ndenumerate(table.to_numpy()):
        dark = count > 0.6 * table.to_numpy().max()
        ax.text(j, i, str(count), ha="center", va="center", color="white" if dark and count else "black")
    ax.set(xlabel=columns, ylabel=rows)
    return figure


def interval_plot(intervals: Mapping[str, Interval], title: str = "", ax: Axes | None = None) -> Figure:
    """Return each named interval as a point with its bar, one a line, beside the zero that means no difference."""
    ax = _axes(ax, (7, 1 + 0.45 * len(intervals)))
    for line, interval in enumerate(intervals.values()):
        if np.isfinite([interval.mean_difference, interval.low, interval.high]).all():
            ax.plot([interval.low, interval.high], [line, line], color=COLOURS[0], linewidth=2)
            ax.plot(interval.mean_difference, line, "o", color=COLOURS[0])
        else:
            ax.text(0, line, "  not measured", va="center", color="0.4")
    ax.axvline(0, color="0.5", linewidth=1)
    ax.set_yticks(range(len(intervals)), [f"{name} (n={interval.n})" for name, interval in intervals.items()])
    ax.set_ylim(len(intervals) - 0.5, -0.5)
    ax.set(xlabel="mean difference", title=title)
    return ax.figure


def _figure(size: tuple[float, float]) -> Plot:
    return Plot(figsize=size, layout="constrained")


def _axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    return _figure(size).add_subplot() if ax is None else ax


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]
