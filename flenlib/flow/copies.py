"""An iteration's own copies of the shipped notebooks, with its parameters: what Lab opens and what papermill executes.

A copy's metadata holds a hash of its cells as they were made, so that a shipped notebook or parameters that have
changed since, and changes a person made, are told apart.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from flenlib.dataset.files import write_atomic
from flenlib.flow import stamps
from flenlib.params import FlowSettings
from flenlib.project import ROOT, Project
from flenlib.steps import Step

NOTEBOOKS = ROOT / "notebooks"


def parameters(step: Step, settings: FlowSettings) -> dict[str, object]:
    """Return what a notebook's parameters cell is given: the character, the iteration, models and the step's sections.

    Every notebook is given the models, because the defaults of its other sections depend on them.
    """
    values = {"character": settings.character.model_dump(), "iteration": settings.iteration, "anyway": settings.anyway}
    wanted = ("models", *step.sections)
    return values | {name: section.model_dump() for name, section in settings if name in wanted}


def read(path: Path) -> NotebookNode | None:
    """Return a notebook, or None when there is none. One that cannot be read has no cells and no metadata."""
    if not path.is_file():
        return None
    try:
        return nbformat.read(path, as_version=4)
    except nbformat.reader.NotJSONError:
        return nbformat.v4.new_notebook()


def renew(project: Project, steps: Iterable[Step], settings: FlowSettings) -> None:
    """Bring the copies up to date with the shipped notebooks and these settings.

    A copy that is up to date is left as it is, outputs and a person's changes included. In a new copy of a step that
    is done, cells that have not changed keep their outputs.
    """
    for step in steps:
        fresh, there = made(step, settings), read(project.notebook(step.name))
        if there is not None and _mark(there) == _mark(fresh):
            continue
        if there is not None and stamps.is_done(project, step, settings):
            _keep_outputs(there, fresh)
        write(project, step, fresh)


def made(step: Step, settings: FlowSettings) -> NotebookNode:
    """Return a shipped notebook with its parameters filled in as papermill fills them in, and with its hash.

    Outputs stay behind: the shipped notebook may have been run where it stands, for another character.
    """
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    shipped = load_notebook_node(str(NOTEBOOKS / f"{step.name}.ipynb"))
    for cell in shipped.cells:
        if cell.cell_type == "code":
            cell.update(outputs=[], execution_count=None)
    notebook = parameterize_notebook(shipped, parameters(step, settings))
    notebook.metadata["flenwheel"] = {"made": _hash(notebook)}
    return notebook


def write(project: Project, step: Step, notebook: NotebookNode) -> Path:
    """Write a step's copy and return its path; one that a person changed is kept beside it under a name of its own.

    So is one that cannot be read, as a full disk leaves it: it may hold what a person wrote.
    """
    path = project.notebook(step.name)
    there = read(path)
    if there is not None and _mark(there) != _hash(there):
        aside = next(other for other in _names_aside(path) if not other.exists())
        path.rename(aside)
        why = "was changed since it was made" if there.cells else "is damaged or cut short"
        print(f"{path} {why}: it is kept as {aside.name}", flush=True)
    write_atomic(path, nbformat.writes(notebook).encode())
    return path


def without_error_marks(path: Path) -> None:
    """Remove the two cells papermill adds around an error: it is seen where it happened, and nobody wrote them."""
    from papermill.execute import remove_error_markers

    write_atomic(path, nbformat.writes(remove_error_markers(nbformat.read(path, as_version=4))).encode())


def _names_aside(path: Path) -> Iterable[Path]:
    yield path.with_suffix(".yours.ipynb")
    yield from (path.with_suffix(f".yours-{number}.ipynb") for number in itertools.count(2))


def _keep_outputs(before: NotebookNode, fresh: NotebookNode) -> None:
    ran = {(cell.get("id"), cell.source): cell for cell in before.cells if cell.cell_type == "code"}
    for cell in fresh.cells:
        if same := ran.get((cell.id, cell.source)):
            cell.update(outputs=same.outputs, execution_count=same.execution_count)


def _mark(notebook: NotebookNode) -> str | None:
    return notebook.metadata.get("flenwheel", {}).get("made")


def _hash(notebook: NotebookNode) -> str:
    cells = [(cell.cell_type, cell.source) for cell in notebook.cells]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()
