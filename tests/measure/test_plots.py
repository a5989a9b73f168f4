"""Plots are drawn, show what they must say in words, and leave no pyplot state behind."""

from __future__ import annotations

import io
import math
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from flenlib.measure import plots
from flenlib.measure.statistics import Interval

RECORDS = [SimpleNamespace(angle=angle, expression="sad", attributes={}) for angle in ("front", "front", "back", None)]
SHOWN = Interval(-0.1, -0.2, 0.0, 9)


def _log(steps: int) -> pd.DataFrame:
    bins = {f"bin_{number}": np.full(steps, number / 10) for number in range(10)}
    bins["bin_3"] = np.full(steps, np.nan)
    return pd.DataFrame({"step": range(1, steps + 1), "loss": 1.0, "lr": 1e-3, **bins})


@pytest.mark.parametrize(
    "figure",
    [
        plots.distance_histogram({"enriched": [0.2, None, 0.3], "random people": []}, {"threshold": 0.32}),
        plots.distance_histogram({}, {}),
        plots.loss_curves(_log(30)),
        plots.loss_curves(_log(0)),
        plots.coverage_heatmap(RECORDS),
        plots.coverage_heatmap([]),
        plots.interval_plot({"identity": SHOWN, "faces": Interval(math.nan, -math.inf, math.inf, 0)}),
    ],
)
def test_each_plot_is_drawn_and_shown_by_a_notebook(figure):
    assert isinstance(figure, Figure)
    assert figure._repr_png_().startswith(b"\x89PNG")
    figure.savefig(io.BytesIO(), format="svg")


def test_no_pyplot_figure_is_left_open():
    plots.interval_plot({"identity": SHOWN})
    assert plt.get_fignums() == []


def test_the_histogram_says_how_many_were_not_measured():
    figure = plots.distance_histogram({"enriched": [0.2, None, 0.3]}, {"threshold": 0.32})
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["enriched (n=2, 1 not measured)", "threshold: 0.320"]


def test_a_plot_can_be_drawn_into_axes_that_are_there():
    figure = Figure()
    axes = figure.subplots(1, 2)
    assert plots.interval_plot({"identity": SHOWN}, ax=axes[0]) is figure
    assert plots.distance_histogram({"a": [0.2]}, {}, ax=axes[1]) is figure
