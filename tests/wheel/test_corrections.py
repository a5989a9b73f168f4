"""Step 2.1: what review sent back becomes triplets, by a person, by the renderer, or by trying again."""

import numpy as np
import pytest
from PIL import Image

from flenlib import params
from flenlib.dataset import triplets
from flenlib.dataset.images import open_image, read_provenance, save_picture
from flenlib.dataset.records import NOT_MEASURED, Dataset, ImageRecord
from flenlib.mini import answers
from flenlib.project import open_iteration
from flenlib.wheel import corrections, labels, retry
from flenlib.wheel.identity import references
from tests.studio import SHOTS, write_raw

CHARACTER = {"name": "tester", "trigger": "ohwx_char", "kind": "fictional"}
EDITS = (("background", "forest"), ("lighting", "sunset"), ("camera", "higher"))
AFTER = {"background": {"background": "forest"}, "lighting": {"light": "sunset"}, "camera": {"height": "high"}}
MODELS = {"name": "renderer", "hash": "h", "precision": "fp32", "loras": []}


def told(**more):
    return params.check("corrections", {"hand": "renderer", "positive_share": 0.0, "minimum": 1, **more})


@pytest.fixture
def house(tmp_path):
    """Twelve sources and an edit of each, half of them sent back; nothing here needs a model."""
    house = open_iteration(CHARACTER, root=tmp_path)
    write_raw(house.data("source"))
    source = Dataset.open(house.data("source"), create=True)
    enriched = Dataset.open(house.data("enriched"), create=True)
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
    return house


def sets(house):
    return Dataset.open(house.data("source")), Dataset.open(house.data("enriched"))


def test_in_the_mini_studio_the_renderer_draws_what_was_asked(house):
    source, enriched = sets(house)
    made = corrections.by_hand(house, source, enriched, told())
    assert len(made) == 6 and {t.by for t in made} == {"renderer"}
    for triplet in made:
        original, target = triplet.paths(house.data("corrections"))
        right = answers.answer(read_provenance(original), triplet.asked)
        assert np.array_equal(np.asarray(open_image(target)), np.asarray(right))
        assert triplet.issue == "edit not done" and triplet.iteration == "v1" and triplet.depth == 1
        assert (house.data("corrections") / triplet.before_image).is_file()
    assert made[0].edit_prompt == "Change background to forest, keep person identical"
    records = Dataset.open(house.data("corrections")).images
    assert {r.parent for r in records} <= {r.sha256 for r in source.images}


def test_before_and_after_are_measured_and_shown(house):
    source, enriched = sets(house)
    made = corrections.by_hand(house, source, enriched, told())
    reference = references(source).training
    found = corrections.finish(house, corrections.measured(house, made, reference), told())
    assert (found.table["colour difference"] > corrections.CLEAR).all() and (found.table["edit done after"] == 1).all()
    assert set(found.table["face before"]) == {NOT_MEASURED}
    assert all(c.holds for c in found.criteria), found.criteria
    assert corrections.sheet(found).width > 500
    assert triplets.read(found.folder) == found.triplets


def test_a_persons_picture_issue_and_prompt_come_first(house):
    source, enriched = sets(house)
    first = corrections.sent_back(enriched, told())[0]
    save_picture(Image.new("RGB", (96, 96), "white"), enriched.folder / "corrected" / "mine.png", {"made_by": "person"})
    journal = labels.open_journal(enriched)
    said = {"issue": "nose too long", "corrected": "corrected/mine.png", "prompt": "keep the nose"}
    journal.append(first.filename, "needs_correction", reviewer="human", sha256=first.sha256, **said)
    made = corrections.by_hand(house, source, enriched, told(hand="person"))
    assert [(t.by, t.issue) for t in made] == [("person", "nose too long")] and "keep the nose" in made[0].improvement
    (enriched.folder / "corrected" / "mine.png").unlink()
    with pytest.raises(ValueError, match=r"corrected/mine\.png of .* does not exist"):
        corrections.by_hand(house, source, enriched, told(hand="person"))


def test_a_person_who_has_not_corrected_enough_is_asked_in_one_sentence(house):
    source, enriched = sets(house)
    asked = told(hand="person", minimum=10)
    made = corrections.by_hand(house, source, enriched, asked)
    with pytest.raises(labels.PendingReview, match=r"6 of 6 edits wait for a correction: open 13_review_enriched"):
        corrections.open_cases(enriched, asked, made)
    record = corrections.sent_back(enriched, asked)[1]
    journal = labels.open_journal(enriched)
    journal.append(record.filename, "needs_correction", reviewer="human", sha256=record.sha256, prompt="better words")
    cases = corrections.open_cases(enriched, told(hand="person"), made)
    assert [r.filename for r in cases] == [record.filename]
    jobs = retry.jobs(source, enriched, cases, told(hand="person", tries=2), MODELS)
    assert [j.prompt for j in jobs] == ["better words"] * 2 and jobs[0].seed != jobs[1].seed


def test_a_source_that_was_deleted_is_named(house):
    source, enriched = sets(house)
    source.path(source.images[0]).unlink()
    with pytest.raises(ValueError, match=rf"{source.images[0].filename}.* is no longer in .*source"):
        corrections.by_hand(house, source, enriched, told())


def test_the_renderer_cannot_correct_a_photograph(house):
    source, enriched = sets(house)
    path = source.path(source.images[0])
    save_picture(open_image(path), path, {"made_by": "camera"})
    with pytest.raises(ValueError, match="not drawn by the mini studio"):
        corrections.by_hand(house, source, enriched, told())


def test_good_edits_are_mixed_in_at_the_share_that_was_told(house):
    source, enriched = sets(house)
    for record in enriched.images:
        record.measurements["edit_done"] = 1
    made = corrections.by_hand(house, source, enriched, told())
    kept = corrections.positives(house, source, enriched, told(positive_share=0.4), len(made))
    assert len(kept) == 4 and all(t.positive and t.by == "editor" for t in kept)
    assert {t.kind for t in kept} == {"background", "lighting", "camera"}
    found = corrections.finish(house, [*made, *kept], told(positive_share=0.4, held_out_share=0.2))
    assert sum(t.held_out for t in found.triplets) == 2


def test_too_few_are_refused_and_an_earlier_iterations_are_kept(house, tmp_path):
    source, enriched = sets(house)
    made = corrections.by_hand(house, source, enriched, told())
    with pytest.raises(ValueError, match=r"corrections/v1/triplets\.json holds 6 triplets to learn from and 10 are"):
        corrections.finish(house, made, told(minimum=10))
    corrections.finish(house, made, told(held_out_share=0.0))
    later = open_iteration(CHARACTER, "v2", root=tmp_path)
    found = corrections.finish(later, [], told(held_out_share=0.0))
    assert len(found.triplets) == 6 and found.triplets[0].target_image.startswith("../v1/")
    with pytest.raises(ValueError, match="holds 0 triplets"):
        corrections.finish(later, [], told(earlier=False))


class Stubborn:
    """An editor of which only the second try shows what was asked, and of the right person."""

    def __init__(self):
        self.calls = 0

    def sample(self, text, *, seed, steps, guidance, references):
        self.calls += 1
        if self.calls % 2:
            return Image.new("RGB", (96, 96), "gray")
        return references[0]


def test_tries_are_picked_by_the_stated_policy(house):
    source, enriched = sets(house)
    asked = told(hand="tries", tries=2)
    cases = corrections.open_cases(enriched, asked, [])[:2]
    assert "front" in (cases[0].attributes["angle"], cases[1].attributes["angle"])
    reference = references(source).training
    tries = retry.draw(house, source, enriched, cases, Stubborn(), asked, MODELS, reference)
    for record in tries.images:
        record.measurements["edit_done"] = NOT_MEASURED
    settings = params.Review(reviewer="auto")
    labels.apply(tries, labels.collect(tries, settings, retry.policy(tries)), settings, house.outputs)
    made = corrections.picked(house, source, enriched, tries, asked)
    assert made and all(t.by == "tries" and "picked by auto" in t.improvement for t in made)
    assert all(t.paths(house.data("corrections"))[1].is_file() for t in made)
