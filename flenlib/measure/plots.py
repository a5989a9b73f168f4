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
from matplotlib.ticker import MaxNLocator

from flenlib.measure.coverage import Described, all_values, value_of
from flenlib.measure.measures import MEASURES, VALIDATION_LOSS, Measure
from flenlib.measure.statistics import Interval

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's palette, told apart by colour-blind readers too."""


class Plot(Figure):
    """A Figure that a notebook shows without pyplot or ``%matplotlib inline``."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=100)
        return buffer.getvalue()


def histogram(
    measure: Measure, values_by_name: Mapping[str, Sequence[float | None]], limits: Mapping[str, float]
) -> Figure:
    """Return overlaid histograms of a measure, a dashed line a limit (NaN: none), and how many were not measured.

    The limit of a name that has a histogram is of its colour; others are black.
    """
    figure = _figure((9, 3.5))
    ax = figure.add_subplot()
    limits = {name: value for name, value in limits.items() if not np.isnan(value)}
    measured = {name: [v for v in values if v is not None] for name, values in values_by_name.items()}
    everything = [v for values in measured.values() for v in values] + list(limits.values())
    edges = np.linspace(0, max(everything, default=0.6) * 1.05, 31).tolist()
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(measured)}
    for name, values in measured.items():
        missing = len(values_by_name[name]) - len(values)
        label = f"{name} (n={len(values)}" + (f", {missing} not measured)" if missing else ")")
        ax.hist(values, bins=edges, alpha=0.55, color=colours[name], label=label)
    for name, value in limits.items():
        ax.axvline(value, linestyle="--", color=colours.get(name, "black"), label=f"{name}: {value:.3f}")
    ax.set_xlabel(measure.label)
    ax.set_ylabel("pictures")
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    if ax.get_legend_handles_labels()[0]:
        figure.legend(loc="outside right upper", fontsize="small")
    return figure


def loss_curves(
    log: pandas.DataFrame,
    watched: pandas.DataFrame | None = None,
    window: int = 20,
    measures: Sequence[Measure] = MEASURES,
) -> Figure:
    """Return a training log as panels: loss and its running mean, loss by timestep bin, and what was watched.

    ``log`` has a row a step with columns ``step``, ``loss`` and ``lr``, and for the second panel columns named
    ``bin_0`` (nearest the picture) to ``bin_9`` (nearest the noise), empty where a step drew no such timestep.
    ``watched`` has a row a look with ``step`` and a column a measure, empty where not measured: the loss on held-out
    pictures is drawn beside the loss, every other measure of which one way is better has a panel; without one of these
    the last panel is the learning rate.
    """
    shown = [m for m in measures if m.better != "neither" and m is not VALIDATION_LOSS and _is_measured(watched, m)]
    figure = _figure((4 * (2 + max(1, len(shown))), 3.2))
    total, bins, *panels = figure.subplots(1, 2 + max(1, len(shown)))
    total.plot(log["step"], log["loss"], color="0.8", linewidth=0.8)
    total.plot(log["step"], log["loss"].rolling(window, min_periods=1).mean(), color=COLOURS[0], label="training")
    total.set(title=f"loss, and mean of {window} steps", xlabel="step")
    columns = [name for name in log.columns if name.startswith("bin_")]
    bins.bar(range(len(columns)), [log[name].mean() for name in columns], color=COLOURS[0])
    bins.set(title="loss by timestep", xlabel="tenth of the way from picture to noise", xticks=range(len(columns)))
    if _is_measured(watched, VALIDATION_LOSS):
        _over_steps(total, watched, VALIDATION_LOSS)
        total.legend(fontsize="small")
    for ax, measure in zip(panels, shown, strict=False):
        _over_steps(ax, watched, measure)
        ax.set(title=measure.words, ylabel=measure.label, xlabel="step")
    if not shown:
        panels[0].plot(log["step"], log["lr"], color=COLOURS[1])
        panels[0].set(title="learning rate", xlabel="step")
    return figure


def _is_measured(watched: pandas.DataFrame | None, measure: Measure) -> bool:
    return watched is not None and measure.name in watched and bool(watched[measure.name].notna().any())


def _over_steps(ax: Axes, watched: pandas.DataFrame, measure: Measure) -> None:
    measured = watched.dropna(subset=[measure.name])
    ax.plot(measured["step"], measured[measure.name].astype(float), "o-", color=COLOURS[1], label=measure.words)


def coverage_heatmap(records: Sequence[Described], rows: str = "angle", columns: str = "expression") -> Figure:
    """Return how many pictures there are of each value of two fields, as a grid of counts; gaps are written as 0."""
    pairs = pandas.DataFrame(
        [(value_of(record, rows) or "unknown", value_of(record, columns) or "unknown") for record in records],
        columns=["row", "column"],
    )
    table = pandas.crosstab(pairs["row"], pairs["column"])
    table = table.reindex(index=all_values(rows, table.index), columns=all_values(columns, table.columns), fill_value=0)
    return _heatmap(table.rename_axis(index=rows, columns=columns), "{:.0f}", max(1, table.to_numpy().max()))


def grid(measure: Measure, table: pandas.DataFrame) -> Figure:
    """Return the median of a measure for each angle (rows) and expression (columns) as a grid; larger is darker.

    ``table`` has a row a picture with ``angle``, ``expression`` and the measure, NaN where not measured; where no
    picture of a cell was measured it says so.
    """
    cells = table.groupby(["angle", "expression"])[measure.name].median().unstack()
    cells = cells.reindex(index=all_values("angle", cells.index), columns=all_values("expression", cells.columns))
    darkest = float(np.nanmax([*table[measure.name], 1e-6]))
    figure = _heatmap(cells.loc[table["angle"].drop_duplicates()], f"{{:{measure.form}}}", darkest)
    figure.axes[0].set_title(measure.label)
    return figure


def _heatmap(table: pandas.DataFrame, form: str, darkest: float) -> Figure:
    """Return a grid of numbers, its axes named as the table's; a cell without a number reads *not measured*."""
    figure = _figure((1.6 + 0.95 * len(table.columns), 1.2 + 0.4 * len(table)))
    ax = figure.add_subplot()
    ax.imshow(table.to_numpy(dtype=float), cmap="Blues", vmin=0, vmax=darkest, aspect="auto")
    ax.set_xticks(range(len(table.columns)), table.columns)
    ax.set_yticks(range(len(table)), table.index)
    for (i, j), value in np.ndenumerate(table.to_numpy(dtype=float)):
        text, colour = (form.format(value), "black") if np.isfinite(value) else ("not\nmeasured", "0.4")
        size = "medium" if np.isfinite(value) else "x-small"
        ax.text(j, i, text, ha="center", va="center", size=size, color="white" if value > 0.6 * darkest else colour)
    ax.set(xlabel=table.columns.name, ylabel=table.index.name)
    return figure


def interval_plot(intervals: Mapping[Measure, Interval], title: str = "") -> Figure:
    """Return each measure's mean difference as a point with its bar beside the zero that means no difference.

    Each has an axis of its own: a distance, a share and a colour difference have no scale in common.
    """
    figure = _figure((7, 0.6 + 0.9 * len(intervals)))
    figure.suptitle(title)
    axes: list[Axes] = list(figure.subplots(len(intervals), 1, squeeze=False)[:, 0]) if intervals else []
    for ax, (measure, interval) in zip(axes, intervals.items(), strict=True):
        if np.isfinite([interval.mean_difference, interval.low, interval.high]).all():
            ax.plot([interval.low, interval.high], [0, 0], color=COLOURS[0], linewidth=2)
            ax.plot(interval.mean_difference, 0, "o", color=COLOURS[0])
        else:
            ax.text(0, 0, "  not measured", va="center", color="0.4")
        ax.axvline(0, color="0.5", linewidth=1)
        ax.margins(x=0.15)
        ax.set(yticks=[], ylim=(-1, 1))
        ax.set_title(f"{measure.label}, n={interval.n}", fontsize="medium", loc="left")
    if intervals:
        axes[-1].set_xlabel("mean difference")
    return figure


def bars(values: Mapping[str, Sequence[float]], names: Sequence[str], label: str) -> Plot:
    """Return stacked bars, one a name from top to bottom, a colour for each kind of value, the sum at its end."""
    figure = _figure((9, 1.0 + 0.32 * len(names)))
    ax = figure.add_subplot()
    left = np.zeros(len(names))
    for number, (kind, some) in enumerate(values.items()):
        ax.barh(names, some, left=left, color=COLOURS[number % len(COLOURS)], label=kind)
        left += np.asarray(some)
    for row, total in enumerate(left):
        ax.text(total, row, f" {total:.1f}", va="center", size="small")
    ax.invert_yaxis()
    ax.set_xlim(0, max(*left, 1e-6) * 1.1)
    ax.set_xlabel(label)
    ax.legend(fontsize="small")
    return figure


def _figure(size: tuple[float, float]) -> Plot:
    return Plot(figsize=size, layout="constrained")
