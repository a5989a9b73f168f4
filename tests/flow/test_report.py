"""The report: steps in the flow's order, the editors' table, and what review made of each iteration's edits."""

import nbformat
import pytest

from flenlib.flow import WHEEL, report
from flenlib.project import open_iteration
from flenlib.steps import record
from flenlib.wheel import progress, results
from tests.results import leave

CHARACTER = {"name": "tester", "trigger": "ohwx_char", "kind": "fictional", "age": "adult"}


@pytest.fixture
def second(tmp_path):
    first, second = (open_iteration(CHARACTER, version, root=tmp_path) for version in ("v1", "v2"))
    leave(first, results.Enrich, models={"loras": []})
    leave(first, results.ReviewEnriched, labels={"good": 40, "needs_correction": 8, "reject": 2})
    leave(second, results.Enrich, models={"loras": [{"file": "/x/qwen_char_lora_v1.safetensors", "sha256": "0"}]})
    leave(second, results.ReviewEnriched, labels={"good": 46, "needs_correction": 3, "reject": 1})
    table = [{"editor": "base", "accepted": 0.7}, {"editor": "ours", "accepted": 0.9}]
    leave(second, results.CompareEditors, table=table, sentence="ours is adopted")
    return second


def executed(project, *printed):
    """Write a notebook 12 that printed these sentences."""
    outputs = [nbformat.v4.new_output("stream", text=f"{sentence}\n") for sentence in printed]
    cells = [nbformat.v4.new_markdown_cell("# Edits"), nbformat.v4.new_code_cell("finish()", outputs=outputs)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), project.outputs / "12_enrich.ipynb")


def steps(*numbers):
    return [WHEEL.find(number) for number in numbers]


def test_iterations_stand_side_by_side(second):
    table = progress.iterations_table(second)
    assert list(table.index) == ["v1", "v2"] and list(table["needs_correction"]) == [8, 3]
    assert list(table["editor"]) == ["base", "qwen_char_lora_v1.safetensors"]
    text = report.summary(second, steps(12, 23), WHEEL)
    assert "ours is adopted" in text and "side by side" in text and "needs_correction" in text


def test_the_page_begins_with_them(second):
    executed(second, "done")
    page = report.write_html(second, steps(12), WHEEL).read_text()
    assert page.index("The iterations side by side") < page.index(">Edits<") and "needs_correction" in page


def test_an_iteration_that_was_not_reviewed_yet_has_no_counts(tmp_path):
    project = open_iteration(CHARACTER, "v2", root=tmp_path)
    assert progress.iterations_table(project)["edits"].tolist() == [0, 0]


def test_the_names_of_the_loras_are_said(tmp_path):
    project = open_iteration(CHARACTER, "v2", root=tmp_path)
    leave(project, results.RetrainAndCompare, table=[{"LoRA": "v2"}, {"LoRA": "v2_refined"}], sentence="better")
    text = report.summary(project, steps(18), WHEEL)
    assert "v2 is step 1.4's LoRA; v2_refined is step 1.8's: the same and v2's own pristine pictures." in text


@pytest.mark.parametrize("printed", [None, [], ["another run's sentence"]])
def test_a_step_that_ran_elsewhere_is_shown_by_its_record(second, printed):
    """No copy, one that Lab opened and nobody ran, and one whose outputs are another run's."""
    if printed is not None:
        executed(second, *printed)
    page = report.write_html(second, steps(12), WHEEL).read_text()
    assert "12_enrich: 1.2 edits, gated by face identity" in page and "done" in page
    assert "executed copy of this notebook is not here" in page and ">Edits<" not in page


def test_a_step_that_stopped_is_shown_and_one_that_has_not_begun_is_not(second):
    record.run_file(second, "12_enrich").unlink()
    executed(second, "reached the third cell")
    page = report.write_html(second, steps(12), WHEEL).read_text()
    assert "reached the third cell" in page
    executed(second)
    with pytest.raises(FileNotFoundError, match="no step has run"):
        report.write_html(second, steps(12), WHEEL)
