"""Plots are drawn, show what they must say in words, and leave no pyplot state behind."""

from __future__ import annotations

import io
import math
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from flenlib.measure import plots
from flenlib.measure.measures import COLOUR_DIFFERENCE, FACE_DISTANCE, FACE_FOUND
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
        plots.histogram(FACE_DISTANCE, {"enriched": [0.2, None, 0.3], "random people": []}, {"threshold": 0.32}),
        plots.histogram(FACE_DISTANCE, {}, {}),
        plots.loss_curves(_log(30)),
        plots.loss_curves(_log(0)),
        plots.coverage_heatmap(RECORDS),
        plots.coverage_heatmap([]),
        plots.interval_plot({}),
        plots.interval_plot({FACE_DISTANCE: SHOWN, FACE_FOUND: Interval(math.nan, -math.inf, math.inf, 0)}),
    ],
)
def test_each_plot_is_drawn_and_shown_by_a_notebook(figure):
    assert isinstance(figure, Figure)
    assert figure._repr_png_().startswith(b"\x89PNG")
    figure.savefig(io.BytesIO(), format="svg")


def test_no_pyplot_figure_is_left_open():
    plots.interval_plot({FACE_DISTANCE: SHOWN})
    assert plt.get_fignums() == []


def test_the_histogram_says_how_many_were_not_measured():
    figure = plots.histogram(FACE_DISTANCE, {"enriched": [0.2, None, 0.3]}, {"threshold": 0.32})
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["enriched (n=2, 1 not measured)", "threshold: 0.320"]


def test_a_threshold_has_the_colour_of_its_histogram_and_the_legend_covers_no_bar():
    figure = plots.histogram(FACE_DISTANCE, {"a": [0.2], "b": [0.3]}, {"b": 0.35, "random people": 0.5})
    bars = figure.axes[0].containers[1][0].get_facecolor()[:3]
    lines = figure.axes[0].get_lines()
    assert to_rgb(lines[0].get_color()) == bars and to_rgb(lines[1].get_color()) == (0, 0, 0)
    figure._repr_png_()  # lays it out
    assert figure.legends[0].get_window_extent().x0 >= figure.axes[0].get_window_extent().x1


def test_intervals_of_different_units_have_an_axis_each():
    found = {FACE_DISTANCE: Interval(-0.01, -0.02, 0.0, 9), COLOUR_DIFFERENCE: Interval(-1.0, -2.4, 0.5, 9)}
    near, far = plots.interval_plot(found).axes
    assert near.get_title(loc="left") == "face distance (lower is better), n=9"
    assert "Delta E 1976" in far.get_title(loc="left")
    assert near.get_xlim()[0] > -0.03 and near.get_xlim()[1] < 0.01 and far.get_xlim()[0] < -2.4


def test_the_grid_says_how_far_and_where_nothing_was_measured():
    rows = [("front", "sad", 0.3), ("front", "sad", 0.5), ("half-left", "sad", math.nan), ("front", "smiling", 0.2)]
    figure = plots.grid(FACE_DISTANCE, pd.DataFrame(rows, columns=["angle", "expression", "face_distance"]))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["front", "half-left"]
    assert texts.count("0.40") == 1 and texts.count("0.20") == 1 and texts.count("not\nmeasured") == len(texts) - 2
