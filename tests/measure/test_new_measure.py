"""A measure is one object: one defined here shows in records, tables, plots, watch.csv, the card and the review."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from flenlib import params
from flenlib.content import Allowed
from flenlib.dataset.images import save_picture
from flenlib.dataset.journal import Journal
from flenlib.dataset.records import Dataset, ImageRecord
from flenlib.judge import card, compare
from flenlib.measure import identity, plots
from flenlib.measure.measures import MEASURES, SHARE, Measure
from flenlib.measure.statistics import Interval
from flenlib.project import open_iteration
from flenlib.review.desk import Desk
from flenlib.train.loop import Preview, train
from flenlib.wheel import curate
from tests.studio import write_raw
from tests.train.common import CHARACTER, draw, open_flux

RED = Measure(
    "redness", "picture", lambda seen: float(np.asarray(seen.image)[..., 0].mean()), unit="of 255", better="lower",
    form=".0f", limit="red_limit", badge=True,
)  # fmt: skip
BRIGHT = Measure("bright", "picture", lambda seen: np.asarray(seen.image).mean() > 99, unit=SHARE, better="higher")
REACH = Measure("reach", "set", lambda pictures: float(len(pictures)), better="higher")
WEIGHT = Measure("weight", "LoRA", lambda trained: 7.0, unit="kg", better="lower")
ALL = (*MEASURES, RED, BRIGHT, REACH, WEIGHT)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("home")
    project = open_iteration({"name": "t", "trigger": "ohwx_char", "kind": "fictional", "age": "adult"}, root=root)
    curate.curate(
        project, params.check("curate", {"folder": str(write_raw(root / "raw")), "minimum_size": 64}), measures=ALL
    )
    return project


def test_in_records_and_their_table(project):
    source = Dataset.open(project.data("source"))
    assert source.to_frame()["m_redness"].between(1, 254).all() and source.to_frame()["m_bright"].isin([0, 1]).all()
    drawn = Dataset.open(project.data("synthetic"), create=True)
    save_picture(Image.new("RGB", (48, 48), "red"), drawn.folder / "a.png", {"made_by": "mini"})
    drawn.add(ImageRecord("a.png"))
    identity.measure(drawn, drawn.images, identity.references(source).training, ALL)
    assert Dataset.open(drawn.folder).images[0].measurements["redness"] == 255
    assert drawn.images[0].measurements["face_distance"] == "not measured"


def test_on_the_model_card_and_in_its_comparison(project, tmp_path):
    settings, source = params.check("card", {"seeds_per_cell": 1}), Dataset.open(project.data("source"))
    paths = {}
    for name, red in (("v1", 200), ("v2", 100)):
        jobs = card.jobs(project, settings)
        paths[name] = [tmp_path / name / job.filename for job in jobs]
        for n, path in enumerate(paths[name]):
            save_picture(Image.new("RGB", (32, 32), (red + n, 0, n)), path, {"made_by": "mini"})
    tables = card.measure_all(project, settings, source, paths, ALL)
    summary = card.summary(tables, ALL)
    assert summary["redness"].to_dict() == {"v1": 211, "v2": 111} and set(summary["reach"]) == {23}
    assert card.cell_table(tables["v1"], ALL)["redness"].iloc[0] == 200
    found = compare.compare(tables, "v1", "v2", measures=ALL)
    assert found.intervals[RED].mean_difference == -100 and found.intervals[RED].shows_better(RED.better)
    assert {"redness", "bright", "reach"} <= set(compare.intervals_table(found).index)


def test_in_plots_with_its_name_and_unit(project):
    label = "redness (of 255, lower is better)"
    assert plots.histogram(RED, {"a": [1.0, None]}, {"limit": 9.0}).axes[0].get_xlabel() == label
    assert label in plots.interval_plot({RED: Interval(-1.0, -2.0, 0.0, 9)}).axes[0].get_title(loc="left")
    rows = pd.DataFrame({"angle": ["front"], "expression": ["sad"], "redness": [12.4]})
    assert "12" in [text.get_text() for text in plots.grid(RED, rows).axes[0].texts]


def test_in_watch_csv_and_the_plot_of_a_training(tiny_flux, tmp_path):
    samples = draw(tmp_path / "pictures", 3)
    settings = params.check("train", {"steps": 1, "batch_size": 1, "rank": 2, "warmup": 0, "sample_every": 1})
    how = {
        "held_out": samples[:1],
        "previews": [Preview(Allowed("ohwx person"), 3, CHARACTER, steps=1)],
        "measures": ALL,
    }
    result = train(open_flux(tiny_flux, transformer=False), samples[1:], settings, tmp_path / "lora", **how)
    header = (tmp_path / "lora" / "watch.csv").read_text().splitlines()[0].split(",")
    assert {"redness", "weight", "validation_loss"} <= set(header) and "recognised" not in header
    assert result.watched["weight"].iloc[-1] == 7 and result.watched["redness"].between(0, 255).all()
    panels = {ax.get_ylabel(): ax for ax in plots.loss_curves(result.log, result.watched, measures=ALL).axes}
    assert {RED.label, "weight (kg, lower is better)"} <= set(panels)


def test_as_a_badge_in_the_review(tmp_path):
    dataset = Dataset.open(tmp_path, create=True)
    limits = {"red_limit": 100}
    dataset.images = [
        ImageRecord("a.png", measurements={"redness": 255, "bright": 1} | limits),
        ImageRecord("b.png", measurements={"redness": "not measured"}),
    ]
    desk = Desk(dataset, Journal(tmp_path / "journal.jsonl"), measures=ALL)
    first, second = desk.describe("a.png"), desk.describe("b.png")
    title = "redness (of 255, lower is better)"
    assert first["badges"] == [{"name": "redness", "text": "255 / 100", "state": "beyond", "title": title}]
    assert [(m["name"], m["text"]) for m in first["measured"]] == [("redness", "255 / 100"), ("bright", "yes")]
    assert second["badges"][0]["text"] == "not measured" == second["badges"][0]["state"]
