"""The report: the editors' table, and what review made of each iteration's edits, side by side."""

import nbformat
import pytest

from flenlib.flow import report
from flenlib.project import open_iteration
from flenlib.steps.record import run_file, write_json

CHARACTER = {"name": "tester", "trigger": "ohwx_char", "kind": "fictional"}


def step(project, name, results, models=None):
    write_json(run_file(project, name), {"results": results, "criteria": [], "seconds": 1.0, "models": models or {}})


@pytest.fixture
def second(tmp_path):
    first, second = (open_iteration(CHARACTER, version, root=tmp_path) for version in ("v1", "v2"))
    step(first, "12_enrich", {}, {"loras": []})
    step(first, "13_review_enriched", {"labels": {"good": 40, "needs_correction": 8, "reject": 2}})
    step(second, "12_enrich", {}, {"loras": [{"file": "/x/qwen_char_lora_v1.safetensors", "sha256": "0"}]})
    step(second, "13_review_enriched", {"labels": {"good": 46, "needs_correction": 3, "reject": 1}})
    table = [{"editor": "base", "accepted": 0.7}, {"editor": "ours", "accepted": 0.9}]
    step(second, "23_compare_editors", {"table": table, "sentence": "ours is adopted"})
    return second


def test_iterations_stand_side_by_side(second):
    table = report.iterations_table(second)
    assert list(table.index) == ["v1", "v2"] and list(table["needs_correction"]) == [8, 3]
    assert list(table["editor"]) == ["base", "qwen_char_lora_v1.safetensors"]
    text = report.summary(second, ["12_enrich", "23_compare_editors"])
    assert "ours is adopted" in text and "side by side" in text and "needs_correction" in text


def test_the_page_begins_with_them(second):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Edits")])
    nbformat.write(book, second.outputs / "12_enrich.ipynb")
    page = report.write_html(second, ["12_enrich"]).read_text()
    assert "The iterations side by side" in page and "needs_correction" in page


def test_an_iteration_that_was_not_reviewed_yet_has_no_counts(tmp_path):
    project = open_iteration(CHARACTER, "v2", root=tmp_path)
    assert report.iterations_table(project)["edits"].tolist() == [0, 0]


def test_the_names_of_the_loras_are_said(tmp_path):
    project = open_iteration(CHARACTER, "v2", root=tmp_path)
    step(project, "18_retrain_and_compare", {"table": [{"LoRA": "v2"}, {"LoRA": "v2_refined"}], "sentence": "better"})
    text = report.summary(project, ["18_retrain_and_compare"])
    assert "v2 is step 1.4's LoRA; v2_refined is step 1.8's: the same and v2's own pristine pictures." in text
