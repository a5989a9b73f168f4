"""Step 2.1: what review sent back becomes triplets, by a person, by the renderer, or by trying again."""

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageEnhance

from flenlib import params
from flenlib.dataset import layouts, triplets
from flenlib.dataset.images import open_image, read_provenance, save_picture
from flenlib.dataset.records import NOT_MEASURED, Dataset, ImageRecord
from flenlib.draw.editor import Editor
from flenlib.measure.identity import references
from flenlib.measure.measures import FACE_DISTANCE
from flenlib.mini import answers
from flenlib.mini.hand import Renderer
from flenlib.project import open_iteration
from flenlib.steps import Blocked
from flenlib.wheel import labels
from flenlib.wheel.editor import corrections, curate, train
from flenlib.wheel.editor import tries as retry
from flenlib.wheel.editor import triplets as pairs
from tests.studio import SHOTS, Ready, write_raw

CHARACTER = {"name": "tester", "trigger": "ohwx_char", "kind": "fictional", "age": "adult"}
EDITS = (("background", "forest"), ("lighting", "sunset"), ("camera", "higher"))
AFTER = {"background": {"background": "forest"}, "lighting": {"light": "sunset"}, "camera": {"height": "high"}}
HAND = Renderer()
MODELS = {"name": "renderer", "hash": "h", "precision": "fp32", "loras": []}


def wanted(**more):
    return params.check("corrections", {"hand": "renderer", "positive_share": 0.0, "minimum": 1, **more})


@pytest.fixture
def project(tmp_path):
    """Twelve sources and an edit of each, half of them sent back; nothing here needs a model."""
    project = open_iteration(CHARACTER, root=tmp_path)
    write_raw(project.data("source"))
    source = Dataset.open(project.data("source"), create=True)
    enriched = Dataset.open(project.data("enriched"), create=True)
    for number, path in enumerate(sorted(source.folder.glob("*.png"))):
        angle, expression, light, background = SHOTS[number]
        seen = {"angle": angle, "expression": expression, "light": light, "background": background}
        source.add(ImageRecord(path.name, angle=angle, expression=expression, attributes=seen))
        kind, value = EDITS[number % 3]
        name = f"{path.stem}__{kind}_{value}.png"
        save_picture(Image.new("RGB", (96, 96), (20 * number, 90, 90)), enriched.folder / name, {"made_by": "mini"})
        record = ImageRecord(name, kind="edit", depth=1, parent=source.images[-1].sha256, prompt="do it")
        record.attributes = {**seen, **AFTER[kind], "edit": kind, "edit_value": value}
        record.measurements = {"face_distance": NOT_MEASURED, "threshold": 0.4, "edit_done": 0}
        label = "good" if number % 2 else "needs_correction"
        record.label = {"label": label, "reasons": ["edit not done"], "reviewer": "auto"}
        enriched.add(record)
    source.save()
    enriched.save()
    return project


def finish(project, made, asked):
    """Put corrections together with good edits, as the notebook does."""
    source, enriched = sets(project)
    known = pairs.assemble(project, made, asked)
    return pairs.finish(project, [*known, *pairs.positives(project, source, enriched, asked, known)], asked)


def sets(project):
    return Dataset.open(project.data("source")), Dataset.open(project.data("enriched"))


def test_in_the_mini_studio_the_renderer_draws_what_was_asked(project):
    source, enriched = sets(project)
    made = corrections.by_hand(project, source, enriched, wanted(), HAND)
    assert len(made) == 6 and {t.by for t in made} == {"renderer"}
    for triplet in made:
        original, target = triplet.paths(project.data("corrections"))
        right = answers.answer(read_provenance(original), triplet.asked)
        assert np.array_equal(np.asarray(open_image(target)), np.asarray(right))
        assert triplet.issue == "edit not done" and triplet.iteration == "v1" and triplet.depth == 1
        assert (project.data("corrections") / triplet.before_image).is_file()
    assert made[0].edit_prompt == "Change background to forest, keep person identical"
    records = Dataset.open(project.data("corrections")).images
    assert {r.parent for r in records} <= {r.sha256 for r in source.images}


def test_before_and_after_are_measured_and_shown(project):
    source, enriched = sets(project)
    made = corrections.by_hand(project, source, enriched, wanted(), HAND)
    reference = references(source).training
    found = finish(project, corrections.measured(project, made, reference, HAND), wanted())
    assert (found.table["colour_difference_before"] > pairs.CLEAR).all() and (found.table["edit_done"] == 1).all()
    assert set(found.table["face_distance_before"]) == {NOT_MEASURED}
    assert all(c.holds for c in found.criteria), found.criteria
    assert pairs.sheet(found).width > 500
    assert triplets.read(found.folder, project.places) == found.triplets


def test_a_persons_picture_issue_and_prompt_come_first(project):
    source, enriched = sets(project)
    first = corrections.sent_back(enriched, wanted())[0]
    save_picture(Image.new("RGB", (96, 96), "white"), enriched.folder / "corrected" / "mine.png", {"made_by": "person"})
    journal = labels.open_journal(enriched)
    said = {"issue": "nose too long", "corrected": "corrected/mine.png", "prompt": "keep the nose"}
    journal.append(first.filename, "needs_correction", reviewer="human", sha256=first.sha256, **said)
    made = corrections.by_hand(project, source, enriched, wanted(hand="person"), HAND)
    assert [(t.by, t.issue) for t in made] == [("person", "nose too long")] and "keep the nose" in made[0].improvement
    (enriched.folder / "corrected" / "mine.png").unlink()
    with pytest.raises(ValueError, match=r"corrected/mine\.png of .* does not exist"):
        corrections.by_hand(project, source, enriched, wanted(hand="person"), HAND)


def test_a_person_who_has_not_corrected_enough_is_asked_in_one_sentence(project):
    source, enriched = sets(project)
    asked = wanted(hand="person", minimum=10)
    made = corrections.by_hand(project, source, enriched, asked, HAND)
    with pytest.raises(labels.PendingReview, match=r"6 of 6 edits wait for a correction: open 13_review_enriched"):
        corrections.open_cases(enriched, asked, made)
    record = corrections.sent_back(enriched, asked)[1]
    journal = labels.open_journal(enriched)
    journal.append(record.filename, "needs_correction", reviewer="human", sha256=record.sha256, prompt="better words")
    cases = corrections.open_cases(enriched, wanted(hand="person"), made)
    assert [r.filename for r in cases] == [record.filename]
    jobs = retry.jobs(project, source, enriched, cases, wanted(hand="person", tries=2), Editor(None, MODELS))
    assert [(j.prompt, case) for j, case in jobs] == [("better words", cases[0])] * 2
    assert jobs[0][0].seed != jobs[1][0].seed


def test_a_source_that_was_deleted_is_named(project):
    source, enriched = sets(project)
    source.path(source.images[0]).unlink()
    with pytest.raises(ValueError, match=rf"{source.images[0].filename}.* is no longer in .*source"):
        corrections.by_hand(project, source, enriched, wanted(), HAND)


def test_the_renderer_cannot_correct_a_photograph(project):
    source, enriched = sets(project)
    path = source.path(source.images[0])
    save_picture(open_image(path), path, {"made_by": "camera"})
    with pytest.raises(ValueError, match="the renderer does not know maya_00"):
        corrections.by_hand(project, source, enriched, wanted(), HAND)


def test_good_edits_are_mixed_in_at_the_share_that_was_told_of_what_is_learnt(project):
    source, enriched = sets(project)
    for record in enriched.images:
        record.measurements["edit_done"] = 1
    enriched.save()
    made = corrections.by_hand(project, source, enriched, wanted(), HAND)
    asked = wanted(positive_share=0.5, held_out_share=0.34)
    found = finish(project, made, asked)
    good = [t for t in found.triplets if t.positive]
    assert sum(t.held_out for t in found.triplets) == 2 and len(good) == 4, "half of what is learnt, not of all"
    assert all(t.by == "editor" and not t.held_out for t in good)
    assert {t.kind for t in good} == {"background", "lighting", "camera"}
    assert found.criteria[0].found == "6, 2 of them held out; 4 good edits beside them; the process asks for 10"
    assert all(c.holds for c in found.criteria), found.criteria


def test_nothing_is_learnt_from_a_source_that_is_held_out(project):
    """All good edits here are of the first source: where its correction is held out, none of them is learnt."""
    source, enriched = sets(project)
    for record in enriched.labelled("good"):
        record.parent, record.measurements["edit_done"] = source.images[0].sha256, 1
    made, found = corrections.by_hand(project, source, enriched, wanted(), HAND), set()
    for seed in range(12):
        asked = wanted(positive_share=0.4, held_out_share=0.5, seed=seed)
        known = pairs.assemble(project, made, asked)
        held = {t.source_image for t in known if t.held_out}
        good = pairs.positives(project, source, enriched, asked, known)
        assert len(held) == 3 and len(good) == (0 if made[0].source_image in held else 2)
        found.add(len(good))
    assert found == {0, 2}


def test_a_good_edit_that_is_its_source_again_teaches_nothing(project):
    source, enriched = sets(project)
    for record in enriched.labelled("good"):
        record.measurements["edit_done"] = NOT_MEASURED
        parent = corrections.source_of(source, record)
        save_picture(open_image(source.path(parent)), enriched.path(record), {"made_by": "mini"})
    made = corrections.by_hand(project, source, enriched, wanted(), HAND)
    asked = wanted(positive_share=0.5)
    assert pairs.positives(project, source, enriched, asked, pairs.assemble(project, made, asked)) == []


def test_good_edits_are_not_corrections(project):
    source, enriched = sets(project)
    made = corrections.by_hand(project, source, enriched, wanted(), HAND)
    enough = finish(project, made, wanted(positive_share=0.5, minimum=7)).criteria[0]
    assert enough.blocking and not enough.holds and enough.found.startswith("6, 1 of them held out")


def test_too_few_are_refused_and_an_earlier_iterations_are_kept(project, tmp_path):
    source, enriched = sets(project)
    made = corrections.by_hand(project, source, enriched, wanted(), HAND)
    with pytest.raises(Blocked, match="needs at least 10 corrections; it found 6"):
        curate.result(finish(project, made, wanted(minimum=10))).check()
    assert curate.result(finish(project, made, wanted(minimum=10))).check(anyway=True).by["renderer"] == 6
    finish(project, made, wanted(held_out_share=0.0))
    later = open_iteration(CHARACTER, "v2", root=tmp_path)
    found = pairs.finish(later, pairs.assemble(later, [], wanted()), wanted())
    assert len(found.triplets) == 6 and found.triplets[0].target_image.startswith("../v1/")
    assert sum(t.held_out for t in found.triplets) == 1
    with pytest.raises(Blocked, match="it found 0"):
        curate.result(pairs.finish(later, pairs.assemble(later, [], wanted(earlier=False)), wanted())).check()


def test_a_later_good_edit_does_not_replace_a_persons_correction(project, tmp_path):
    """The next iteration's editor draws the same edit well: what a person made of it stays."""
    source, enriched = sets(project)
    finish(project, corrections.by_hand(project, source, enriched, wanted(), HAND), wanted())
    later = open_iteration(CHARACTER, "v2", root=tmp_path)
    again, drawn = (Dataset.open(later.data(stage), create=True) for stage in ("source", "enriched"))
    for old, new in ((source, again), (enriched, drawn)):
        for record in old.images:
            facts = read_provenance(old.path(record))
            save_picture(open_image(old.path(record)), new.folder / record.filename, facts)
            new.add(record)
    for record in drawn.images:
        record.label["label"], record.measurements["edit_done"], record.depth = "good", 1, 2
    asked = wanted(positive_share=0.5, held_out_share=0.0)
    known = pairs.assemble(later, [], asked)
    found = pairs.finish(later, [*known, *pairs.positives(later, again, drawn, asked, known)], asked)
    assert sum(t.by == "renderer" for t in found.triplets) == 6 and sum(t.positive for t in found.triplets) == 6
    assert {t.depth for t in found.triplets if t.positive} == {2}
    for share, good in ((0.5, 6), (0.0, 0)):  # of the good edits that were handed down no more stay than are wanted
        third = pairs.assemble(open_iteration(CHARACTER, "v3", root=tmp_path), [], wanted(positive_share=share))
        assert sum(t.positive for t in third) <= good


def test_imported_pairs_that_are_there_already_are_refused(project, tmp_path, monkeypatch):
    monkeypatch.setenv("FLENWHEEL_HOME", str(tmp_path))
    source, enriched = sets(project)
    made = corrections.by_hand(project, source, enriched, wanted(), HAND)
    found = finish(project, made, wanted(export=["diffsynth"], held_out_share=0.0))
    layouts.export(found.folder, found.triplets, tmp_path / "given", "musubi-tuner")
    with pytest.raises(ValueError, match="the same correction is there twice"):
        finish(project, made, wanted(pairs=["given"]))
    later = open_iteration(CHARACTER, "v2", root=tmp_path)
    again = pairs.finish(later, pairs.assemble(later, [], wanted(pairs=["given"])), wanted())
    assert [t.by for t in again.triplets] == ["import"] * 6, "imported again they replace those handed down"
    assert again.table["edit"].str.startswith("Change").all()


def test_an_export_follows_the_triplets(project):
    source, enriched = sets(project)
    made = corrections.by_hand(project, source, enriched, wanted(), HAND)
    asked = wanted(export=["diffsynth"], held_out_share=0.0)
    finish(project, made[:3], asked)
    finish(project, made, asked)
    assert len(layouts.read(project.data("corrections") / "pairs" / "diffsynth")) == 6


class Stubborn:
    """An editor whose first try of each edit is another picture, the second the source again, the third darker."""

    def __init__(self):
        self.asked = []
        self.loras = []

    def sample(self, text, *, seed, steps, guidance, references):
        self.asked.append(text)
        darker = ImageEnhance.Brightness(references[0]).enhance(0.7)
        return (_shaded((255, 255, 255)), references[0], darker)[(len(self.asked) - 1) % 3]


@pytest.fixture
def tried(project):
    """Return the sets, what was asked and the tries, of which edit done is not measured, as of a photograph's."""
    source, enriched = sets(project)
    asked = wanted(hand="tries", tries=3)
    cases = corrections.open_cases(enriched, asked, [])[:3]
    reference = references(source).training
    tries = retry.draw(project, source, enriched, cases, Editor(Ready(Stubborn()), MODELS), asked, reference)
    for record in tries.images:
        record.measurements["edit_done"] = NOT_MEASURED
    return source, enriched, asked, tries


def test_a_try_that_is_its_source_again_is_never_picked_by_the_policy(project, tried):
    source, enriched, asked, tries = tried
    assert [corrections.source_again(r) for r in tries.images] == [False, True, False] * 3
    copies = [r for r in tries.images if corrections.source_again(r)]
    assert any(r.measurements[FACE_DISTANCE.name] != NOT_MEASURED for r in copies)
    settings = params.Review(reviewer="auto")
    labels.apply(tries, labels.collect(tries, settings, retry.policy(tries)), settings, project.outputs)
    assert {tuple(r.label["reasons"]) for r in copies} == {("the source again: nothing was edited",)}
    made = corrections.picked(project, source, enriched, tries, asked)
    assert made and all(t.by == "tries" and "picked by auto" in t.improvement for t in made)
    picked = {t.target_sha256 for t in made}
    assert picked <= {r.sha256 for r in tries.images if r.filename.endswith("__2.png")}
    assert all(t.paths(project.data("corrections"))[1].is_file() for t in made)


def test_of_a_persons_good_tries_a_copy_comes_last(project, tried):
    source, enriched, asked, tries = tried
    journal = labels.open_journal(tries)
    for record in tries.images:
        journal.append(record.filename, "good", reviewer="human", sha256=record.sha256)
    labels.apply(tries, journal, params.Review(reviewer="human"), project.outputs)
    made = corrections.picked(project, source, enriched, tries, asked)
    copies = {r.sha256 for r in tries.images if corrections.source_again(r)}
    assert len(made) == 3 and not copies & {t.target_sha256 for t in made}


class Deep:
    """Routes as an adopted editor's: its LoRA was taught targets three generations from a real picture."""

    depth = 3

    def recipe(self, character, kind, value, instead=""):
        return [{"prompt": f"{kind} {value}: {instead}", "loras": ["own"]}]

    def draw(self, editor, kind, value, picture, prompts, **how):
        return editor.sample(*prompts, references=(picture,), **how)


def test_tries_are_drawn_through_the_routes_of_step_12_and_know_their_depth(project):
    source, enriched = sets(project)
    asked = wanted(hand="tries", tries=1)
    cases = corrections.open_cases(enriched, asked, [])[:1]
    stubborn = Stubborn()
    editor, reference = Editor(Ready(stubborn), MODELS, Deep()), references(source).training
    tries = retry.draw(project, source, enriched, cases, editor, asked, reference)
    assert stubborn.asked == ["background forest: do it. Do not change the face"]
    assert [r.depth for r in tries.images] == [4]
    assert read_provenance(tries.path(tries.images[0]))["settings"]["passes"][0]["loras"] == ["own"]
    retry.draw(project, source, enriched, cases, editor, asked, reference)
    assert len(stubborn.asked) == 1, "a finished try stays"
    tries.images[0].label = {"label": "good", "reasons": [], "reviewer": "human"}
    (made,) = corrections.picked(project, source, enriched, tries, asked)
    assert made.depth == 4 and Dataset.open(project.data("corrections")).images[0].depth == 4


def _shaded(colour):
    """Return a picture of a colour that fades: one colour all over is what a broken model draws."""
    return ImageChops.multiply(
        Image.new("RGB", (96, 96), colour), Image.linear_gradient("L").resize((96, 96)).convert("RGB")
    )


def test_a_try_is_tied_to_its_edit_whatever_the_sources_are_called(tmp_path):
    """The edit of one source bears the name of another source: maya.png at sunset, and maya__lighting_sunset.png."""
    project = open_iteration(CHARACTER, root=tmp_path)
    source = Dataset.open(project.data("source"), create=True)
    enriched = Dataset.open(project.data("enriched"), create=True)
    for number, name in enumerate(("maya.png", "maya__lighting_sunset.png")):
        save_picture(_shaded((90 * number, 9, 9)), source.folder / name, {"made_by": "camera"})
        source.add(ImageRecord(name))
        edit = f"{name.removesuffix('.png')}__lighting_sunset.png"
        save_picture(_shaded((9, 90 * number, 90)), enriched.folder / edit, {"made_by": "mini"})
        asked = {"edit": "lighting", "edit_value": "sunset", "light": "sunset"}
        label = {"label": "needs_correction", "reasons": ["x"], "reviewer": "human"}
        record = ImageRecord(edit, parent=source.images[-1].sha256, prompt="do", caption=name, label=label)
        record.attributes, record.measurements = asked, {"threshold": 0.4, "face_expected": 0}
        enriched.add(record)
    source.save(), enriched.save()
    asked = wanted(hand="tries", tries=2)
    cases = corrections.open_cases(enriched, asked, [])
    editor, reference = Editor(Ready(Stubborn()), MODELS), references(source).training
    tries = retry.draw(project, source, enriched, cases, editor, asked, reference)
    assert len(tries.images) == 4
    for record in tries.images:
        case = enriched.of_hash(record.extra["corrects"])
        assert record.parent == case.parent and record.caption == case.caption
        assert record.filename.startswith(case.filename.removesuffix(".png"))
        record.label = {"label": "good", "reasons": [], "reviewer": "human"}
    for triplet, case in zip(corrections.picked(project, source, enriched, tries, asked), cases, strict=True):
        original, _ = triplet.paths(project.data("corrections"))
        assert original == source.path(source.of_hash(case.parent)) and case.filename in triplet.before_image
    assert {r.extra["corrects"] for r in Dataset.open(tries.folder).images} == {r.sha256 for r in cases}


@pytest.mark.parametrize("corrected", ["../../../../../secret.png", "{root}/secret.png", "link.png"])
def test_a_corrected_picture_outside_the_project_is_refused(project, tmp_path, corrected):
    save_picture(Image.new("RGB", (96, 96), "white"), tmp_path / "secret.png", {"made_by": "person"})
    source, enriched = sets(project)
    (enriched.folder / "link.png").symlink_to(tmp_path / "secret.png")
    first = corrections.sent_back(enriched, wanted())[0]
    said = {"corrected": corrected.format(root=tmp_path)}
    labels.open_journal(enriched).append(first.filename, "needs_correction", sha256=first.sha256, **said)
    with pytest.raises(ValueError, match=r"the journal of .*enriched/v1 names .*, which lies outside of"):
        corrections.by_hand(project, source, enriched, wanted(hand="person"), HAND)


def test_pictures_of_triplets_lie_in_the_project_or_in_folders_that_were_named(project, tmp_path, monkeypatch):
    monkeypatch.setenv("FLENWHEEL_HOME", str(tmp_path))
    for name in ("given/a.png", "others/b.png"):
        save_picture(Image.new("RGB", (96, 96), "red" if "a" in name else "blue"), tmp_path / name, {})
    given = triplets.Triplet("a.png", "do it", str(tmp_path / "others" / "b.png"))
    triplets.write(tmp_path / "given", [given])
    with pytest.raises(ValueError, match=r"given/triplets\.json, triplet 1 names .*others/b\.png, which lies outside"):
        pairs.assemble(project, [], wanted(pairs=["given"]))
    rows = tmp_path / "rows" / "rows.jsonl"
    rows.parent.mkdir()
    rows.write_text('{"image_path": "../given/a.png", "control_path": "../others/b.png", "caption": "do it"}\n')
    with pytest.raises(ValueError, match=r"rows\.jsonl, row 1 names .*others/b\.png, which lies outside"):
        pairs.assemble(project, [], wanted(pairs=["rows"]))
    asked = wanted(pairs=["given"], pictures=["others"], held_out_share=0.0)
    (pair,) = pairs.finish(project, pairs.assemble(project, [], asked), asked).triplets
    folder = project.data("corrections")
    assert all(path.is_relative_to(folder / "imported") for path in pair.paths(folder))
    assert triplets.read(folder, project.places) == [pair]
    triplets.write(folder, [given])
    with pytest.raises(ValueError, match=r"triplet 1 names .*others/b\.png, which lies outside"):
        train.read_triplets(project)
