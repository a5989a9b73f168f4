"""Notebook 13 executed without a browser: the widget leaves no pictures in it, and pending pictures stop it."""

import papermill
import pytest
from papermill.exceptions import PapermillExecutionError

from flenlib.project import ROOT
from flenlib.wheel import labels
from tests.review.test_desk import write

CHARACTER = {"name": "many", "trigger": "abc_char", "kind": "fictional"}


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FLENWHEEL_HOME", str(tmp_path))
    write(tmp_path / "data" / "many" / "source" / "v1", 2)
    return tmp_path


def test_an_executed_review_of_200_pictures_stays_small(home):
    dataset = write(home / "data" / "many" / "enriched" / "v1", 200)
    told = {"character": CHARACTER, "review_enriched": {"reviewer": "human", "minimum_good": 1}}
    target = home / "out.ipynb"

    def run():
        papermill.execute_notebook(
            ROOT / "notebooks" / "13_review_enriched.ipynb", target, told, cwd=str(ROOT), progress_bar=False
        )

    with pytest.raises(PapermillExecutionError, match="200 of 200 pictures wait for a label"):
        run()
    assert target.stat().st_size < 300_000
    journal = labels.open_journal(dataset)
    for record in dataset.images:
        journal.append(record.filename, "good", sha256=record.sha256)
    run()
    assert "review of 200 pictures, 200 decided" in target.read_text()
    assert target.stat().st_size < 300_000
