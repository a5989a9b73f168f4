"""Step 2.3: editors are compared on the same edits, and the choice is said with its reason."""

import pytest
from PIL import Image

from flenlib import params
from flenlib.dataset import triplets
from flenlib.dataset.images import open_image, read_provenance, save_picture
from flenlib.dataset.records import Dataset
from flenlib.dataset.triplets import Triplet
from flenlib.draw import routes
from flenlib.draw.editor import Editor
from flenlib.draw.routes import Routes
from flenlib.measure.identity import references
from flenlib.mini import answers
from flenlib.mini.hand import Renderer
from flenlib.models import lora
from flenlib.project import open_iteration
from flenlib.wheel.editor import compare as adopt
from flenlib.wheel.editor import scores as scores
from tests.doors.conftest import loads
from tests.models.common import excite, load
from tests.studio import Ready
from tests.wheel.editor.test_corrections import CHARACTER, MODELS, project, sets

__all__ = ["loads", "project"]

REVIEW = params.check("review_enriched", {})


def wanted(**more):
    return params.check("compare_editors", {"edits_per_source": 1, "kinds": ["background", "lighting"], **more})


def measured(project, editors, source=None, review=REVIEW):
    """Return (tables, jobs) of editors given as functions of (picture, job)."""
    source = source or sets(project)[0]
    jobs = adopt.plan(project, source, [], wanted(), Editor(None, MODELS))
    reference, tables = references(source).training, {}
    for name, draw in editors.items():
        paths = []
        for job in jobs:
            paths.append(project.outputs / name / job.filename)
            save_picture(draw(source.path(job.parent), job), paths[-1], {"made_by": "mini"})
        tables[name] = scores.measure(source, jobs, paths, reference, 1.75, review, Renderer())
    return tables, jobs


def grey(path, job):
    return Image.new("RGB", (96, 96), "gray")


def right(path, job):
    return answers.answer(read_provenance(path), job.attributes)


def copy(path, job):
    return open_image(path)


@pytest.fixture
def compared(project):
    """The base editor draws grey; ours draws what was asked."""
    return measured(project, {"base": grey, "ours": right})[0]


@pytest.fixture
def photographs(project):
    """The same sources without a word of what they show: no judge knows whether an edit of one was done."""
    asked = {path.name: read_provenance(path) for path in sorted(project.data("source").glob("*.png"))}
    source = sets(project)[0]
    for record in source.images:
        path = source.path(record)
        open_image(path).save(path)
        record.sha256 = ""
    photos = Dataset.open(project.data("source"), create=True)
    photos.images = []
    for record in source.images:
        photos.add(record)
    photos.save()
    assert not any(answers.known(read_provenance(photos.path(r))) for r in photos.images)
    return project, photos, lambda path, job: answers.answer(asked[path.name], job.attributes)


def test_identity_edit_and_artefacts_are_measured_and_the_better_is_adopted(project, compared):
    table = scores.summary(compared)
    assert table.loc["ours", "accepted"] > 0.8 and table.loc["base", "accepted"] < 0.5
    assert table.loc["ours", "edit_done"] == 1 and table.loc["ours", "artefact"] < 0.5
    assert compared["base"]["artefact"].isna().all()  # no face, so nothing to be blurred
    choice = adopt.choose(compared, wanted())
    assert choice.name == "ours" and "ours is better than base" in choice.sentence
    assert all(c.holds for c in adopt.criteria(compared, choice))
    assert adopt.difference(compared, choice)[1] == "ours minus base"
    path = adopt.adopt(project, choice, {"base": Routes(), "ours": Routes()})
    assert path == project.adopted_editor and '"name": "ours"' in path.read_text()


def test_every_measure_has_a_paired_interval(compared):
    table = scores.intervals_table(compared).loc["ours"]
    names = {"accepted", "recognised", "edit_done", "unchanged", "artefact", "sharpness_kept", "face_distance"}
    assert set(table.index) == names | {"face_found"}
    assert table.loc["accepted", "low"] > 0 and table.loc["edit_done", "low"] > 0


def test_without_a_better_one_the_base_editor_stays_and_the_best_of_the_others_is_shown(compared):
    tables = {"base": compared["ours"], "ours": compared["base"]}
    choice = adopt.choose(tables, wanted())
    assert choice.name == "base" and "keeping the base editor" in choice.sentence
    found, title = adopt.difference(tables, choice)
    assert title == "ours minus base, not adopted" and found[scores.ACCEPTED].high < 0
    assert adopt.difference({"base": compared["base"]}, choice) == ({}, "nothing but the base editor was compared")
    assert adopt.choose(compared, wanted(adopt="base")).sentence == "the base editor stays, because the settings say so"
    chosen = adopt.choose(tables, wanted(adopt="ours"))
    assert chosen.name == "ours" and "is adopted, because the settings say so: " in chosen.sentence
    with pytest.raises(ValueError, match=r"adopt is 'mine'; compared were base, ours"):
        adopt.choose(compared, wanted(adopt="mine"))


def test_an_editor_that_hands_the_source_back_is_never_adopted(photographs):
    """No face is nearer to the source than its own, and of a photograph nothing else is measured."""
    project, photos, drawn = photographs
    tables, _ = measured(project, {"base": drawn, "copies": copy}, photos)
    table = scores.summary(tables)
    assert table["edit_done"].isna().all()
    assert table.loc["copies", "unchanged"] == 1 and table.loc["copies", "accepted"] == 0
    assert table.loc["base", "unchanged"] == 0.25  # a quarter was asked for what it shows already
    assert table.loc["base", "accepted"] > 0.5
    assert adopt.choose(tables, wanted()).name == "base"
    failed = [c.name for c in adopt.criteria(tables, adopt.Choice("copies", "")) if not c.holds]
    assert "no more sources handed back unedited than by the base editor" in failed


def test_what_a_source_shows_already_need_not_change(project):
    """The renderer knows; an edit that asked for the light there was is done by leaving it."""
    tables, jobs = measured(project, {"base": copy})
    table = tables["base"]
    assert {*table["unchanged"] + table["edit_done"]} == {1.0} and 0 < table["edit_done"].sum() < len(jobs)


def test_accepted_is_what_the_iterations_own_review_would_accept(project):
    lenient, strict = (
        measured(project, {"ours": right}, review=params.check("review_enriched", {"accept_unmeasured": value}))[0][
            "ours"
        ]
        for value in (True, False)
    )
    faceless = lenient["face_distance"].isna()
    assert faceless.any() and lenient["accepted"][faceless].all() and not strict["accepted"][faceless].any()


def test_sources_that_no_training_saw_are_told_apart(project):
    source = sets(project)[0]
    for record in source.images[:2]:
        record.held_out = True
    table = scores.by_source(measured(project, {"base": grey, "ours": right}, source)[0])
    assert table["edits"].to_dict() == {
        (name, kind): count for name in ("base", "ours") for kind, count in (("in training", 10), ("held out", 2))
    }


def test_no_triplets_edit_is_compared(project):
    """Not one that was learnt, not one a checkpoint was chosen by, and not one imported from another folder."""
    source, _ = sets(project)
    first = adopt.plan(project, source, [], wanted(), Editor(None, MODELS))
    folder = project.data("corrections")
    learnt, held, imported = first[:3]
    again = project.data("corrections") / "imports" / "a.png"
    save_picture(open_image(source.path(imported.parent)), again, {"made_by": "import"})
    pairs = [
        Triplet(triplets.relative(source.path(learnt.parent), folder), learnt.prompt, "x.png", kind="background"),
        Triplet(triplets.relative(source.path(held.parent), folder), held.prompt, "y.png", held_out=True),
        Triplet("imports/a.png", f" {imported.prompt.upper()}", "z.png"),
    ]
    second = adopt.plan(project, source, pairs, wanted(), Editor(None, MODELS))
    names = {job.filename for job in second}
    assert len(second) == len(first) == 12 and not names & {job.filename for job in (learnt, held, imported)}


def test_as_many_edits_are_drawn_as_the_kinds_offer(project):
    source, _ = sets(project)
    assert len(adopt.plan(project, source, [], wanted(edits_per_source=4), Editor(None, MODELS))) == 4 * 12
    with pytest.raises(ValueError, match=r"edits_per_source 9 is more than the 8 edits of kinds background, lighting"):
        adopt.plan(project, source, [], wanted(edits_per_source=9), Editor(None, MODELS))


def test_strategies_need_what_they_name(project):
    models = params.check("models", {})
    with pytest.raises(ValueError, match=r"name LoRAs in compare_editors\.community"):
        adopt.candidates(project, models, wanted(strategies=["use"]))
    with pytest.raises(FileNotFoundError, match=r"qwen_char_lora_v1\.safetensors does not exist"):
        adopt.candidates(project, models, wanted(strategies=["train"]))
    assert list(adopt.candidates(project, models, wanted(strategies=[]))) == ["base"]


@pytest.fixture
def trained(project, tiny_qwen_edit):
    """The same project with an editor LoRA of its own."""
    editor = load(tiny_qwen_edit, "qwen_edit")
    lora.attach(editor, 2, 2, "attention", seed=0)
    excite(editor)
    editor.save(project.editor_lora, metadata={})
    lora.unstack(editor)
    return project, Editor(Ready(editor), MODELS)


def test_the_four_strategies(trained):
    project, _ = trained
    given = [f"multiple-angles={project.editor_lora}:0.9", f"next-scene={project.editor_lora}"]
    found = adopt.candidates(
        project, params.check("models", {}), wanted(strategies=["use", "combine", "train", "hybrid"], community=given)
    )
    assert list(found) == ["base", "multiple-angles-0.9", "next-scene-0.75", "combined", "ours", "hybrid"]
    assert [len(way.uses) for way in found.values()] == [0, 1, 1, 2, 1, 3]


def test_a_lora_for_speed_in_use_is_on_every_editor_and_is_no_editor_of_its_own(trained):
    project, _ = trained
    file = project.editor_lora
    models = params.check("models", {"editor_loras": [f"lightning-8={file}"]})
    settings = wanted(strategies=["use", "combine", "train", "hybrid"], community=[f"relight={file}"], steps=8)
    found = adopt.candidates(project, models, settings)
    assert list(found) == ["base", "relight-1", "combined", "ours", "hybrid"]
    assert all(way.scheduler and "lightning-8" in [use.name for use in way.uses] for way in found.values())
    kept = adopt.adopt(project, adopt.Choice("ours", "it is better"), found).read_text()
    assert "lightning-8=" in kept
    both = params.check("models", {"editor_loras": [f"lightning-8={file}", f"skin={file}"]})
    assert [use.name for use in adopt.candidates(project, both, wanted())["current"].uses] == ["lightning-8", "skin"]


def test_two_strengths_are_two_editors_and_two_of_one_name_are_refused(trained, tmp_path):
    project, _ = trained
    models, file = params.check("models", {}), project.editor_lora
    given = [f"multiple-angles={file}:0.9", f"multiple-angles={file}:0.6"]
    found = adopt.candidates(project, models, wanted(strategies=["use"], community=given))
    assert list(found) == ["base", "multiple-angles-0.9", "multiple-angles-0.6"]
    others = [tmp_path / name / "pytorch_lora_weights.safetensors" for name in "ab"]
    for path in others:
        path.parent.mkdir()
        path.write_bytes(file.read_bytes())
    with pytest.raises(ValueError, match=r"two of the editors to compare are called 'pytorch_lora_weights-1'"):
        adopt.candidates(project, models, wanted(strategies=["use"], community=[str(path) for path in others]))


def test_the_editor_in_use_is_compared_and_stays_unless_another_is_better(trained, compared):
    first, _ = trained
    routes.adopt(first, "ours", [adopt.community.parse(f"{first.editor_lora}:0.7")], "stack", "it is better")
    second = open_iteration(CHARACTER, "v2", root=first.root)
    second.editor_lora.parent.mkdir(parents=True)
    second.editor_lora.write_bytes(first.editor_lora.read_bytes())
    models = params.check("models", {"editor_loras": ["adopted"]})
    found = adopt.candidates(second, models, wanted())
    assert list(found) == ["base", "current", "ours"] and found["current"].uses[0].weight == 0.7
    tables = {"base": compared["base"], "current": compared["ours"], "ours": compared["ours"]}
    choice = adopt.choose(tables, wanted())
    assert choice.name == "current" and "keeping the current editor" in choice.sentence
    assert set(scores.intervals_table(tables).index.get_level_values("editor")) == {"base", "ours"}
    kept = adopt.adopt(second, choice, found).read_text()
    assert "{root}" in kept and "qwen_char_lora_v1.safetensors:0.7" in kept
    worse = {"base": compared["ours"], "current": compared["base"], "ours": compared["base"]}
    assert adopt.choose(worse, wanted()).name == "base"
    with pytest.raises(ValueError, match=r"belongs into models\.editor_loras alone"):
        adopt.candidates(second, models, wanted(strategies=["use"], community=["adopted"]))


def test_every_editor_draws_every_job_once(trained, capsys, loads):
    project, editor = trained
    source, _ = sets(project)
    settings = wanted(strategies=["use"], steps=1, guidance=1.0, community=[f"relight={project.editor_lora}:0.5"])
    models = params.check("models", {})
    found, jobs = adopt.candidates(project, models, settings), adopt.plan(project, source, [], settings, editor)[:2]
    drawn = adopt.draw(project, editor, found, jobs, settings)
    assert "relight-0.5: the page of relight asks for a lightning LoRA beside it" in capsys.readouterr().out
    assert {name: len(paths) for name, paths in drawn.items()} == {"base": 2, "relight-0.5": 2}
    assert scores.sheet(source, jobs, drawn).width > 300
    stamps = [path.stat().st_mtime_ns for paths in drawn.values() for path in paths]
    loads.clear()
    again = adopt.draw(project, editor, found, jobs, settings)
    assert loads == [], "what is all drawn needs no model"
    assert stamps == [path.stat().st_mtime_ns for paths in again.values() for path in paths]
    with pytest.raises(ValueError, match="'lightning-4' samples in 4 steps"):
        fast = wanted(strategies=["use"], steps=1, guidance=1.0, community=[f"lightning-4={project.editor_lora}"])
        adopt.draw(project, editor, adopt.candidates(project, models, fast), jobs, fast)
