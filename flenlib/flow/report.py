"""What one iteration came to: a short text, and one HTML page made of the executed notebooks without their code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nbformat
import pandas as pd

from flenlib.dataset.files import write_atomic
from flenlib.flow import copies
from flenlib.project import Project
from flenlib.steps import Flow, Step, criteria_table, record


def summary(project: Project, steps: Sequence[Step], flow: Flow) -> str:
    """Return, for each step, its sentence and criteria; then the tables of results, and what the flow says beside."""
    lines = [f"{project.character.name}, iteration {project.iteration}"]
    total = 0.0
    for step in steps:
        written = record.read(project, step.name)
        if written is None:
            lines.append(f"\n{step.name}: not finished")
            continue
        total += written.seconds
        lines.append(f"\n{step.name} ({written.seconds:.0f} s): {written.results['sentence']}")
        lines += [f"    {criterion}" for criterion in written.criteria]
    for part in flow.beside(project):
        lines += ["", part.to_string() if isinstance(part, pd.DataFrame) else part]
    lines.append(f"\n{total:.0f} s in all, counting the last run of each step")
    return "\n".join(lines)


def write_html(project: Project, steps: Sequence[Step], flow: Flow) -> Path:
    """Join the executed notebooks into one page without code and return its path.

    Of a step whose notebook was run elsewhere the page has the sentence and the criteria, and says so. Raises
    FileNotFoundError when no step has run yet.
    """
    from nbconvert import HTMLExporter

    book = nbformat.v4.new_notebook()
    book.cells = [cell for step in steps for cell in _cells(project, step)]
    if not book.cells:
        raise FileNotFoundError(f"no step has run in {project.outputs}; run `make iterate` or `make lab` first")
    beside = flow.beside(project)
    if beside:
        record.show_whole_tables()
        parts = [part.to_html() if isinstance(part, pd.DataFrame) else part for part in beside]
        book.cells.insert(0, nbformat.v4.new_markdown_cell("\n\n".join(["# In short", *parts])))
    exporter = HTMLExporter(
        exclude_input=True, exclude_input_prompt=True, exclude_output_prompt=True, embed_images=True
    )
    name = f"{project.character.name} {project.iteration}"
    body, _ = exporter.from_notebook_node(book, {"metadata": {"name": name}})
    path = project.outputs / "report.html"
    write_atomic(path, body.encode())
    return path


def _cells(project: Project, step: Step) -> list[nbformat.NotebookNode]:
    """Return the cells of a step's executed notebook, or one made of its record where that run is not in the notebook.

    There is none of a step that has not begun.
    """
    notebook, written = copies.read(project.notebook(step.name)), record.read(project, step.name)
    cells = notebook.cells if notebook else []
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    printed = "".join(output.text for output in outputs if output.get("name") == "stdout")
    if written is not None and written.results["sentence"] not in printed:
        return [nbformat.v4.new_markdown_cell(_from_record(step, written))]
    return [_without_widgets(cell) for cell in cells] if outputs else []


def _from_record(step: Step, written: record.Record) -> str:
    why = "*The executed copy of this notebook is not here: it ran elsewhere, or its page was closed while it ran.*"
    return "\n\n".join(
        [f"# {step.name}: {step.does}", why, written.results["sentence"], criteria_table(written.criteria).to_html()]
    )


def _without_widgets(cell: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Drop progress bars and other widget views: they are alive only in the notebook they ran in."""
    if cell.cell_type == "code":
        cell.outputs = [
            o for o in cell.outputs
            if o.get("name") != "stderr" and "application/vnd.jupyter.widget-view+json" not in o.get("data", {})
        ]  # fmt: skip
    return cell
