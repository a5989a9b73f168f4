"""What review sent back in two iterations: edits the editor learnt are told apart, and pairs have intervals."""

import pytest
from PIL import Image

from flenlib.dataset import triplets
from flenlib.dataset.images import save_picture, sha256
from flenlib.dataset.prompts import edit_prompt
from flenlib.dataset.records import Dataset, ImageRecord
from flenlib.dataset.triplets import Triplet
from flenlib.flow import WHEEL, report
from flenlib.project import open_iteration
from flenlib.wheel import progress, results
from tests.results import leave

CHARACTER = {"name": "tester", "trigger": "ohwx_char", "kind": "fictional", "age": "adult"}
VALUES = ("forest", "beach")
SOURCES = 8


def iteration(home, version, good, values=VALUES):
    """An iteration of 8 sources with two edits each; ``good`` says which (source, value) are."""
    project = open_iteration(CHARACTER, version, root=home)
    source, enriched = (Dataset.open(project.data(stage), create=True) for stage in ("source", "enriched"))
    for n in range(SOURCES):
        name = f"maya_{n}.png"
        save_picture(Image.new("RGB", (16, 16), (n, 0, 0)), source.folder / name, {"made_by": version})
        source.add(ImageRecord(name))
        for value in values:
            edit = f"maya_{n}__background_{value}.png"
            save_picture(Image.new("RGB", (16, 16), (n, 9, len(value))), enriched.folder / edit, {"made_by": "mini"})
            label = "good" if (n, value) in good else "needs_correction"
            entry = {"label": label, "reasons": ["drift"], "reviewer": "auto"}
            attributes = {"edit": "background", "edit_value": value}
            enriched.add(ImageRecord(edit, parent=source.images[n].sha256, label=entry, attributes=attributes))
    source.save()
    enriched.save()
    counts = {label: len(enriched.labelled(label)) for label in ("good", "needs_correction")}
    leave(project, results.ReviewEnriched, labels=counts)
    leave(project, results.Enrich, models={"loras": []})
    return project


def adopt(first, second, learnt):
    """The first iteration's editor LoRA learnt these (source, value) and drew the second's edits."""
    folder = first.data("corrections")
    folder.mkdir(parents=True)
    pairs = [
        Triplet(
            triplets.relative(first.data("source") / f"maya_{n}.png", folder), edit_prompt("background", value), "t.png"
        )
        for n, value in learnt
    ]
    triplets.write(folder, pairs)
    first.editor_lora.write_bytes(b"a lora")
    used = [{"file": str(first.editor_lora), "sha256": sha256(first.editor_lora), "weight": 1.0}]
    leave(second, results.Enrich, models={"loras": used})


@pytest.fixture
def turned(tmp_path):
    """Of 16 edits v1 sends back all of forest; v2's editor learnt six of these and mends those alone."""
    beaches = {(n, "beach") for n in range(SOURCES)}
    first = iteration(tmp_path, "v1", beaches)
    mended = {(n, "forest") for n in range(6)}
    second = iteration(tmp_path, "v2", beaches | mended)
    adopt(first, second, mended)
    return second


def test_what_was_learnt_is_told_apart(turned):
    table = progress.table(turned)
    assert table["n"].to_dict() == {"among its triplets": 6, "not among them": 10, "all": 16}
    assert table.loc["among its triplets", ["sent back v1", "sent back v2"]].tolist() == [1, 0]
    assert table.loc["not among them", "difference"] == 0 and table.loc["all", "difference"] == pytest.approx(-0.375)
    assert table.loc["all", "sources"] == 8 and table.loc["all", "low"] <= -0.375 <= table.loc["all", "high"]
    said = progress.sentence(turned)
    assert "6 of the 16 edits both drew were among the triplets of v2's editor" in said
    assert "no difference shown between v1 and v2" in said


def test_the_report_says_it_in_one_small_table(turned):
    text = report.summary(turned, [], WHEEL)
    assert "The iterations side by side" in text and "among its triplets" in text and "which is no test of it" in text
    assert max(map(len, text.splitlines()[-12:-1])) < 300
    sides = progress.iterations_table(turned)
    assert sides.loc["v2", "accepted"] == 0.875 and 0.6 < sides.loc["v2", "low"] < 0.875 < sides.loc["v2", "high"]


def test_an_editor_that_learnt_nothing_is_tested_by_all_edits(tmp_path):
    iteration(tmp_path, "v1", set())
    second = iteration(tmp_path, "v2", {(n, v) for n in range(SOURCES) for v in VALUES})
    assert list(progress.table(second).index) == ["not among them", "all"]
    assert progress.sentence(second).startswith("share sent back: v2 is better than v1")


def test_iterations_without_a_common_edit_do_not_compare(tmp_path):
    iteration(tmp_path, "v1", set())
    second = iteration(tmp_path, "v2", set(), values=("library",))
    assert progress.table(second).empty and "drew no edit in common" in progress.sentence(second)
    assert "drew no edit in common" in report.summary(second, [], WHEEL)
