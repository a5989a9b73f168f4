"""Notebook 21 by itself: a person picks among tries, and any cell can be run again."""

import nbformat
import papermill
import pytest

from flenlib.dataset import triplets
from flenlib.dataset.journal import Journal
from flenlib.dataset.records import Dataset
from flenlib.flow import WHEEL, run
from flenlib.models.settings import iteration
from flenlib.project import ROOT
from tests.wheel.editor.test_corrections import CHARACTER, project

__all__ = ["project"]


def test_a_person_picks_among_tries_and_any_cell_can_be_run_again(project, tmp_path, monkeypatch):
    monkeypatch.setenv("FLENWHEEL_HOME", str(tmp_path))
    asked = {"hand": "tries", "reviewer": "human", "minimum": 1, "tries": 2, "steps": 1, "guidance": 1.0}
    settings = iteration(character=CHARACTER, anyway=True, corrections=asked)
    with pytest.raises(run.StepFailed, match="12 of 12 pictures wait for a label"):
        run.run_step(project, WHEEL.find(21), settings)
    stopped = nbformat.read(project.outputs / "21_curate_corrections.ipynb", as_version=4)
    review = next(cell for cell in stopped.cells if "ReviewWidget(" in cell.source)
    assert all(output.output_type != "error" for output in review.outputs), "the widget is there when the step stops"
    assert "review of 12 pictures" in str(review.outputs)

    tries = Dataset.open(project.data("corrections") / "tries")
    journal = Journal(tries.folder / "journal.jsonl")
    for record in tries.images:
        label = "good" if record.filename.endswith("__0.png") else "reject"
        journal.append(record.filename, label, reviewer="human", sha256=record.sha256)
    notebook = nbformat.read(ROOT / "notebooks" / "21_curate_corrections.ipynb", as_version=4)
    twice = [cell for cell in notebook.cells for _ in range(2 if cell.cell_type == "code" else 1)]
    notebook.cells = [nbformat.from_dict({**cell, "id": f"cell-{number}"}) for number, cell in enumerate(twice)]
    notebook.cells = [
        c for n, c in enumerate(notebook.cells) if "parameters" not in c.metadata.get("tags", []) or n == 1
    ]
    nbformat.write(notebook, tmp_path / "twice.ipynb")
    values = {name: getattr(settings, name).model_dump() for name in ("character", "models", "corrections")}
    papermill.execute_notebook(
        tmp_path / "twice.ipynb", tmp_path / "done.ipynb", {**values, "iteration": "v1", "anyway": True}, cwd=str(ROOT),
        progress_bar=False, store_widget_state=False,
    )  # fmt: skip
    assert [pair.by for pair in triplets.read(project.data("corrections"), project.places)] == ["tries"] * 6
