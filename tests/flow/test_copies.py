"""Working copies of the notebooks: made, left alone, renewed, and a person's changes kept."""

import nbformat
import pytest

from flenlib import params
from flenlib.flow import WHEEL, copies
from flenlib.flow.run import StepFailed, run_step
from flenlib.project import open_iteration
from flenlib.steps import record
from flenlib.wheel import results
from tests.results import leave

CHARACTER = {"name": "tester", "trigger": "ohwx_char", "kind": "fictional", "age": "adult"}
STEP = WHEEL.find(12)


@pytest.fixture
def project(tmp_path):
    return open_iteration(CHARACTER, root=tmp_path)


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """Shipped notebooks of our own, to change: copies of the real ones."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    notebook = nbformat.read(copies.NOTEBOOKS / f"{STEP.name}.ipynb", as_version=4)
    nbformat.write(notebook, folder / f"{STEP.name}.ipynb")
    monkeypatch.setattr(copies, "NOTEBOOKS", folder)
    return folder / f"{STEP.name}.ipynb"


def settings(**sections):
    return params.Iteration(character=CHARACTER, **sections)


def renew(project, settings):
    copies.renew(project, [STEP], settings)
    return nbformat.read(project.notebook(STEP.name), as_version=4)


def change(path, change_cells):
    notebook = nbformat.read(path, as_version=4)
    change_cells(notebook.cells)
    nbformat.write(notebook, path)


def give_outputs(cells):
    for cell in cells:
        if cell.cell_type == "code":
            cell.update(outputs=[nbformat.v4.new_output("stream", text=f"of {cell.id}")], execution_count=1)


def with_outputs(notebook):
    return {cell.id for cell in notebook.cells if cell.get("outputs")}


def aside(project):
    return sorted(path.name for path in project.outputs.glob("*.yours*"))


def test_a_copy_is_the_shipped_notebook_with_the_parameters(project):
    notebook = renew(project, settings(enrich=params.Enrich(seed=99)))
    nbformat.validate(notebook)
    values = {}
    for cell in notebook.cells:
        if {"parameters", "injected-parameters"} & set(cell.metadata.get("tags", [])):
            exec(cell.source, values)
    assert values["character"]["name"] == "tester" and values["enrich"]["seed"] == 99
    assert params.check("models", values["models"]) == settings().models
    original = nbformat.read(copies.NOTEBOOKS / f"{STEP.name}.ipynb", as_version=4)
    assert {cell.id for cell in original.cells} < {cell.id for cell in notebook.cells}


def test_a_copy_that_is_up_to_date_is_left_alone(project, shipped):
    renew(project, settings())
    path = project.notebook(STEP.name)
    change(path, give_outputs)
    change(path, lambda cells: cells.append(nbformat.v4.new_code_cell("my = 1")))
    before = path.read_bytes()
    renew(project, settings())
    assert path.read_bytes() == before and aside(project) == []


def test_a_copy_is_renewed_when_notebook_or_parameters_change(project, shipped):
    renew(project, settings())
    change(shipped, lambda cells: cells[0].update(source="# Another title"))
    assert renew(project, settings()).cells[0].source == "# Another title"
    notebook = renew(project, settings(enrich=params.Enrich(seed=99)))
    assert any("99" in cell.source for cell in notebook.cells) and aside(project) == []


def test_what_a_person_changed_is_kept_aside_and_said(project, shipped, capsys):
    path = project.notebook(STEP.name)
    for number, name in enumerate(("12_enrich.yours.ipynb", "12_enrich.yours-2.ipynb")):
        renew(project, settings(enrich=params.Enrich(seed=number)))
        change(path, lambda cells, name=name: cells.append(nbformat.v4.new_code_cell(f"my = {name!r}")))
        renew(project, settings(enrich=params.Enrich(seed=number + 1)))
        assert f"it is kept as {name}" in capsys.readouterr().out
        assert nbformat.read(project.outputs / name, as_version=4).cells[-1].source == f"my = {name!r}"
    assert "my = " not in path.read_text() and len(aside(project)) == 2


def test_a_half_written_copy_is_kept_aside(project):
    path = project.notebook(STEP.name)
    path.parent.mkdir(parents=True)
    path.write_text('{"cells": [{"cell_')
    assert len(renew(project, settings()).cells) > 5
    assert aside(project) == ["12_enrich.yours.ipynb"]


@pytest.mark.parametrize("done", [True, False])
def test_outputs_of_a_run_that_stands_stay_with_the_cells_that_made_them(project, shipped, monkeypatch, done):
    monkeypatch.setattr("flenlib.flow.stamps.is_done", lambda *_: done)
    renew(project, settings())
    change(project.notebook(STEP.name), give_outputs)
    all_code = with_outputs(nbformat.read(project.notebook(STEP.name), as_version=4))
    change(shipped, lambda cells: cells[0].update(source="# Another title"))
    change(shipped, lambda cells: cells[-2].update(source="clock.finish(other)"))
    notebook = renew(project, settings())
    last = nbformat.read(shipped, as_version=4).cells[-2].id
    injected = {cell.id for cell in notebook.cells if "injected-parameters" in cell.metadata.get("tags", [])}
    assert len(all_code) > 3
    assert with_outputs(notebook) == (all_code & {c.id for c in notebook.cells} - {last} - injected if done else set())


def test_a_run_by_make_keeps_a_persons_changes_aside_and_leaves_a_copy_lab_can_go_on_with(project, shipped, capsys):
    renew(project, settings())
    path = project.notebook(STEP.name)
    change(path, lambda cells: cells.append(nbformat.v4.new_code_cell("my = 1")))
    source = "print('hello')\nraise RuntimeError('stop here')"
    change(shipped, lambda cells: cells.__setitem__(slice(2, None), [nbformat.v4.new_code_cell(source)]))
    leave(project, results.Enrich)
    with pytest.raises(StepFailed, match="12_enrich: stop here"):
        run_step(project, STEP, settings())
    assert record.read(project, STEP.name) is None
    assert aside(project) == ["12_enrich.yours.ipynb"]
    executed = path.read_bytes()
    assert b"hello" in executed and b"papermill-error" not in executed
    copies.renew(project, [STEP], settings())
    assert path.read_bytes() == executed


def test_outputs_of_a_shipped_notebook_stay_where_they_are(project, shipped):
    """Somebody ran it in notebooks/, perhaps for another character: its pictures are nobody else's."""
    change(shipped, give_outputs)
    assert with_outputs(renew(project, settings())) == set()
