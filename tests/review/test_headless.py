"""Notebook 13 executed without a browser: the widget leaves no pictures in it, and pending pictures stop it."""

import numpy as np
import papermill
import pytest
from papermill.exceptions import PapermillExecutionError
from PIL import Image

from flenlib.project import ROOT
from flenlib.wheel import labels
from tests.review.test_desk import write

CHARACTER = {"name": "many", "trigger": "abc_char", "kind": "fictional", "age": "adult"}


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FLENWHEEL_HOME", str(tmp_path))
    write(tmp_path / "data" / "many" / "source" / "v1", 2)
    return tmp_path


def like_a_photograph(number):
    """Return a picture with detail at all scales, the finer the weaker, which JPEG finds as hard as a photograph."""
    chance, pixels = np.random.default_rng(number), np.zeros((128, 128, 3))
    for cells in (4, 8, 16, 32, 64, 128):
        layer = chance.normal(128, 40, (cells, cells, 3)).clip(0, 255).astype("uint8")
        pixels += (np.asarray(Image.fromarray(layer).resize((128, 128), Image.Resampling.BICUBIC)) - 128.0) / cells**0.8
    return Image.fromarray((128 + 50 * pixels / pixels.std()).clip(0, 255).astype("uint8"))


@pytest.mark.slow
def test_an_executed_review_of_200_pictures_stays_small(home):
    dataset = write(home / "data" / "many" / "enriched" / "v1", 200, like_a_photograph)
    values = {"character": CHARACTER, "review_enriched": {"reviewer": "human", "minimum_good": 1}}
    target = home / "out.ipynb"

    def run():
        papermill.execute_notebook(
            ROOT / "notebooks" / "13_review_enriched.ipynb", target, values, cwd=str(ROOT), progress_bar=False
        )

    with pytest.raises(PapermillExecutionError, match="200 of 200 pictures wait for a label"):
        run()
    assert target.stat().st_size < 300_000
    journal = labels.open_journal(dataset)
    for number, record in enumerate(dataset.images):
        label = ("good", "good", "reject")[number % 3]
        journal.append(record.filename, label, ["identity drift: face distance 0.61 over 0.20"], sha256=record.sha256)
    run()
    assert "review of 200 pictures, 200 decided" in target.read_text()
    assert target.stat().st_size < 300_000
