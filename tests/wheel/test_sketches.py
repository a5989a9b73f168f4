"""Both wheels on sketches in which no face is found: every step ends, and says that identity was not measured."""

from pathlib import Path

import pytest

from flenlib import params
from flenlib.dataset.records import NOT_MEASURED, Dataset
from flenlib.flow.wheel import WHEEL
from flenlib.project import open_iteration
from flenlib.steps import record
from tests.studio import write_sketches

pytestmark = pytest.mark.slow

FAST = {"steps": 2, "batch_size": 1, "rank": 2, "warmup": 0, "checkpoint_every": 2, "sample_every": 2}
FAST |= {"validate_every": 2, "targets": "attention", "optimizer": "adamw"}


def settings(folder, generator, editor):
    return params.Iteration.model_validate({
        "character": {"name": "sketch", "trigger": "ohwx_char", "kind": "fictional", "age": "adult"},
        "models": {"generator": str(generator), "editor": str(editor), "precision": "fp32", "device": "cpu"},
        "anyway": True,
        "curate": {"folder": str(folder), "minimum_size": 64, "expect_face": False},
        "enrich": {"edits_per_source": 1, "steps": 1, "tries": 1, "guidance": 1.0, "kinds": ["background"]},
        "review_enriched": {"reviewer": "auto", "accept_unmeasured": False},
        "train": FAST, "retrain": FAST,
        "generate": {"prompts": 4, "seeds_per_prompt": 1, "steps": 1},
        "review_synthetic": {"reviewer": "auto"},
        "card": {"seeds_per_cell": 1, "steps": 1},
        "corrections": {"hand": "tries", "labels": ["needs_correction", "reject"], "reviewer": "file",
                        "file": f"{folder}/picks.csv", "tries": 1,
                        "steps": 1, "guidance": 1.0, "minimum": 1},
        "train_editor": FAST | {"sampling_steps": 1, "guidance": 1.0},
        "compare_editors": {"edits_per_source": 1, "kinds": ["lighting"], "steps": 1, "guidance": 1.0},
    })  # fmt: skip


@pytest.fixture(scope="module")
def turned(tmp_path_factory, tiny_flux, tiny_qwen_edit):
    """The results of all steps of one iteration, by number, and its project."""
    root = tmp_path_factory.mktemp("sketches")
    asked = settings(write_sketches(root / "raw"), tiny_flux, tiny_qwen_edit)
    project, found = open_iteration(asked.character, root=root), {}
    for step in WHEEL.wanted(asked):
        if step.number == 21:  # a person picks every try: no policy can
            edits = Dataset.open(project.data("enriched")).images
            rows = [f"{Path(r.filename).stem}__0.png,good,\n" for r in edits]
            Path(asked.corrections.file).write_text("filename,label,reasons\n" + "".join(rows))
        if step.number:
            found[step.number] = step.run(project, asked)
            record.write(project, found[step.number], seconds=0.0)
    return found, project


def failed(result, words):
    """Return what the criterion with these words found; it must not hold."""
    criterion = next(c for c in result.criteria if words in c.name)
    assert not criterion.holds, criterion
    return criterion.found


def test_every_step_says_that_identity_was_not_measured(turned):
    found, _ = turned
    assert "not measured" in failed(found[11], "somebody else")
    assert failed(found[12], "identity kept") == "10 not measured"
    assert "not measured" in failed(found[16], "removed by identity")
    assert failed(found[18], "nearer to held-out sources than the base model") == NOT_MEASURED
    assert "n = 0 measured" in found[18].sentence and found[18].ship == "v1"
    assert "not measured" in failed(found[31], "first tries recognised")
    assert found[21].by == {"tries": 10}
    identity = next(c for c in found[23].criteria if "identity" in c.name)
    assert identity.holds == (found[23].adopted == "base")


def test_no_picture_has_a_face_distance_or_a_threshold(turned):
    _, project = turned
    for stage in ("enriched", "synthetic"):
        for each in Dataset.open(project.data(stage)).images:
            assert {each.measurements[name] for name in ("face_distance", "threshold")} == {NOT_MEASURED}
            assert isinstance(each.measurements["sharpness"], float), "what can be measured is"


def test_what_cannot_be_checked_is_sent_back_and_picked_by_no_policy(turned):
    found, project = turned
    assert found[13].labels == {"good": 0, "needs_correction": 10, "reject": 0}
    assert found[17].pristine == 0
    labels = {r.label["reasons"][0] for r in Dataset.open(project.data("synthetic")).images}
    assert labels == {"identity not measured; the strict review takes no picture it cannot check"}


def test_results_can_be_written_and_read(turned):
    found, _ = turned
    for result in found.values():
        assert type(result).model_validate_json(result.model_dump_json()).sentence == result.sentence
    assert found[16].threshold is None and found[12].thresholds == {}
