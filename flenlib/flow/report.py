"""What one iteration came to: a short text, and one HTML page made of the executed notebooks without their code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nbformat
import pandas as pd

from flenlib.judge import progress
from flenlib.measure.statistics import wilson
from flenlib.project import Project
from flenlib.steps import record


def summary(project: Project, steps: Sequence[str]) -> str:
    """Return, for each step named, its sentence and criteria; then the table of LoRAs and the verdict."""
    lines = [f"{project.character.name}, iteration {project.iteration}"]
    total = 0.0
    for step in steps:
        written = record.read(project, step)
        if written is None:
            lines.append(f"\n{step}: not finished")
            continue
        total += written["seconds"]
        lines.append(f"\n{step} ({written['seconds']:.0f} s): {written['results'].get('sentence', '')}")
        lines += [f"    {record.Criterion(**c)}" for c in written["criteria"]]
    compared = record.read(project, "18_retrain_and_compare")
    if compared:
        table = pd.DataFrame(compared["results"]["table"]).set_index("LoRA")
        lines += ["", "On the model card (same prompts and seeds; distances: lower is nearer):", table.to_string(), ""]
        now = project.iteration
        lines += [f"{now} is step 1.4's LoRA; {now}_refined is step 1.8's: the same and {now}'s own pristine pictures."]
        lines += [compared["results"]["sentence"]]
    lines += _second_wheel(project)
    lines.append(f"\n{total:.0f} s in all, counting the last run of each step")
    return "\n".join(lines)


def _second_wheel(project: Project) -> list[str]:
    """Return the editors compared in step 2.3, and the iterations side by side: what review made of their edits."""
    lines = []
    compared = record.read(project, "23_compare_editors")
    if compared:
        table = pd.DataFrame(compared["results"]["table"]).set_index("editor")
        lines += ["", "Editors on the same sources, prompts and seeds:", table.to_string(), ""]
        lines += [compared["results"]["sentence"]]
    if project.before() is not None:
        lines += ["", "The iterations side by side:", iterations_table(project).to_string(), ""]
        found = progress.table(project)
        if len(found):
            lines += ["Sent back or rejected, of the edits drawn in both (differences paired, by source, 95 %):"]
            lines += [found.to_string()]
        lines += [progress.sentence(project)]
    return lines


def iterations_table(project: Project) -> pd.DataFrame:
    """Return a row for each iteration up to this one: the editor it used, and what review made of the edits.

    The share accepted has its 95 % Wilson interval.
    """
    rows, each = [], project
    while each is not None:
        enriched, reviewed = record.read(each, "12_enrich"), record.read(each, "13_review_enriched")
        labels = reviewed["results"]["labels"] if reviewed else {}
        loras = [Path(use["file"]).name for use in enriched["models"]["loras"]] if enriched else []
        count, good = sum(labels.values()), labels.get("good", 0)
        low, high = wilson(good, count)
        shares = {"accepted": good / count, "low": low, "high": high} if count else {}
        rows.append({"iteration": each.iteration, "editor": " + ".join(loras) or "base", "edits": count} | labels)
        rows[-1] |= {name: round(share, 3) for name, share in shares.items()}
        each = each.before()
    return pd.DataFrame(rows[::-1]).set_index("iteration")


def write_html(project: Project, steps: Sequence[str]) -> Path:
    """Join the executed notebooks into one page without code and return its path.

    Raises FileNotFoundError when no step has been executed yet.
    """
    from nbconvert import HTMLExporter

    book = nbformat.v4.new_notebook()
    for step in steps:
        path = project.outputs / f"{step}.ipynb"
        if path.is_file():
            book.cells += [_without_widgets(cell) for cell in nbformat.read(path, as_version=4).cells]
    if not book.cells:
        raise FileNotFoundError(f"no executed notebook in {project.outputs}; run `make iterate` first")
    if project.before() is not None:
        record.show_whole_tables()
        parts = ["# The iterations side by side", iterations_table(project).to_html()]
        found = progress.table(project)
        if len(found):
            parts += ["Sent back or rejected, of the edits drawn in both (differences paired, by source, 95 %):"]
            parts += [found.to_html()]
        book.cells.insert(0, nbformat.v4.new_markdown_cell("\n\n".join([*parts, progress.sentence(project)])))
    exporter = HTMLExporter(
        exclude_input=True, exclude_input_prompt=True, exclude_output_prompt=True, embed_images=True
    )
    body, _ = exporter.from_notebook_node(book, {"metadata": {"name": f"{project.character.name} {project.iteration}"}})
    path = project.outputs / "report.html"
    temporary = path.with_suffix(".tmp")
    temporary.write_text(body, encoding="utf-8")
    temporary.replace(path)
    return path


def _without_widgets(cell: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Drop progress bars and other widget views: they are alive only in the notebook they ran in."""
    if cell.cell_type == "code":
        cell.outputs = [
            o for o in cell.outputs
            if o.get("name") != "stderr" and "application/vnd.jupyter.widget-view+json" not in o.get("data", {})
        ]  # fmt: skip
    return cell
