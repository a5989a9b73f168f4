"""Step 1.2's gate, with the renderer as the editor: drift is asked for again, the nearest try stays, lineage holds."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageFilter

from flenlib import params
from flenlib.dataset import captions
from flenlib.dataset.images import open_image
from flenlib.dataset.records import NOT_MEASURED, Dataset, ImageRecord
from flenlib.draw.editor import Editor
from flenlib.draw.pictures import Job
from flenlib.measure.identity import references
from flenlib.measure.measures import SHARPNESS_KEPT
from flenlib.mini.hand import Renderer
from flenlib.mini.people import person
from flenlib.mini.render import Scene, render
from flenlib.project import open_iteration
from flenlib.wheel import curate, enrich, labels
from tests.studio import Ready, write_raw

CHARACTER = {"name": "tester", "trigger": "ohwx_char", "kind": "fictional", "age": "adult"}
MODELS = {"name": "renderer", "hash": "h", "precision": "fp32", "source": "x", "loras": []}


class Draughtsman:
    """Draws the person asked for: the right one, or another at the first try."""

    def __init__(self, drifts):
        self.drifts, self.calls = drifts, []

    def sample(self, text, *, seed, steps, guidance, references):
        first = text + str(references[0].tobytes()[:9999]) not in self.calls
        self.calls.append(text + str(references[0].tobytes()[:9999]))
        someone = person(1_000_777 if self.drifts and first else 1_000_123)
        return Image.fromarray(render(someone, Scene(seed=seed % 1000)))


@pytest.fixture
def project(tmp_path):
    project = open_iteration(CHARACTER, root=tmp_path)
    curate.curate(project, params.check("curate", {"folder": str(write_raw(tmp_path / "raw")), "minimum_size": 64}))
    return project


def run(project, editor, review=None, **more):
    settings = params.check(
        "enrich", {"edits_per_source": 1, "kinds": ["background"], "steps": 1, "slack": 1.25, **more}
    )
    return enrich.enrich(
        project,
        Dataset.open(project.data("source")),
        Editor(Ready(editor), MODELS),
        settings,
        params.check("review_enriched", review or {}),
    )


def test_drift_is_asked_for_again_and_the_nearest_try_is_kept(project):
    drifting = Draughtsman(drifts=True)
    dataset = run(project, drifting, tries=2).dataset
    measured = [r for r in dataset.images if r.measurements["face_expected"]]
    assert measured and all(r.measurements["tries"] == 2 for r in measured)
    assert all(r.measurements["face_distance"] <= r.measurements["threshold"] for r in measured)
    assert len(drifting.calls) > len(dataset.images)

    again = Draughtsman(drifts=True)
    assert len(run(project, again, tries=2).dataset.images) == 10
    assert again.calls == []

    once = run(project, Draughtsman(drifts=True), tries=1).dataset
    assert all(r.measurements["face_distance"] > r.measurements["threshold"] for r in once.images)


class Behind(Draughtsman):
    """Draws the back of a head, of which no face can be expected in a style edit."""

    def sample(self, text, **_):
        self.calls.append(text)
        return Image.fromarray(render(person(1_000_123), Scene(angle="back", style="sketch", seed=len(self.calls))))


def test_the_gate_asks_what_the_review_will_ask(project, monkeypatch):
    monkeypatch.setattr(enrich, "edit_done", lambda *_: True)
    settings = {"tries": 2, "kinds": ["style"]}
    assert {r.measurements["tries"] for r in run(project, Behind(drifts=False), **settings).dataset.images} == {1}
    strict = run(project, Behind(drifts=False), {"accept_unmeasured": False}, **settings).dataset
    assert {r.measurements["tries"] for r in strict.images} == {2}


def test_every_edit_is_linked_and_says_what_it_should_show(project):
    dataset = run(project, Draughtsman(drifts=False)).dataset
    source = {r.sha256: r for r in Dataset.open(project.data("source")).images}
    for record in dataset.images:
        parent = source[record.parent]
        assert not parent.held_out and record.depth == 1 and record.kind == "edit"
        assert record.angle == parent.angle and record.attributes["background"] == record.attributes["edit_value"]
        assert record.attributes["background"] in record.caption and "ohwx_char person" in record.caption
        assert record.measurements["face_distance"] != NOT_MEASURED


def test_only_a_turned_head_without_a_face_to_measure_is_judged_by_its_sharpness(project, tmp_path):
    source = Dataset.open(project.data("source"))
    reference = references(source).training
    record = next(r for r in source.images if r.angle == "profile-left")
    sharp = open_image(source.path(record))
    soft = sharp.filter(ImageFilter.GaussianBlur(1))

    def judged(picture, kind="camera", value="higher", parent=record):
        job = Job("a.png", "p", 1, {}, parent, enrich.after(parent, kind, value))
        picture.save(tmp_path / "edit.png")
        seen = enrich.see(replace(job, picture=source.path(parent)), tmp_path / "edit.png", reference, 0.3)
        return SHARPNESS_KEPT.read(enrich.look(seen))

    assert judged(sharp) == 1 and judged(soft) < labels.SMEARED
    assert judged(soft, "lighting", "nighttime") is None and judged(soft, "style", "sketch") is None
    assert judged(soft, parent=replace(record, angle="back")) is None
    front = next(r for r in source.images if r.angle == "front")
    assert judged(open_image(source.path(front)), parent=front) is None, "its face distance says more"


def test_of_smeared_tries_the_sharper_is_kept():
    tries = [{"face_distance": NOT_MEASURED, "edit_done": 1, "sharpness_kept": kept} for kept in (0.2, 0.6, 0.4)]
    assert min(tries, key=enrich._faults) is tries[1]


def test_an_edit_of_a_picture_captioned_by_a_person_keeps_their_words():
    words = "ohwx_char, waist-up shot, wearing beige sweater and jeans, modern café background"
    character = params.check("character", CHARACTER)
    source = ImageRecord("a.png", caption=words, angle="front")
    asked = {"angle": "front", "edit": "background", "edit_value": "forest", "background": "forest"}
    assert enrich.caption_of(character, source, asked) == (
        "ohwx_char, waist-up shot, wearing beige sweater and jeans, forest background"
    )
    source.caption = captions.build(character, source)
    assert enrich.caption_of(character, source, asked) == "photo of ohwx_char person, front view, forest background"


def sources(count, held_out=2):
    return Dataset(Path(), "v1", [ImageRecord(f"{n}.png", angle="front", held_out=n < held_out) for n in range(count)])


@pytest.mark.parametrize(
    ("count", "settings", "each", "sentence"),
    [
        (12, {}, 5, "10 source pictures x 5 edits: 50 to draw"),
        (10, {}, 7, "8 source pictures x 7 edits: 56 to draw"),
        (20, {}, 5, "18 source pictures x 5 edits: 90 to draw"),
        (10, {"edits_per_source": 5}, 5, "add source pictures, or raise edits_per_source (up to 15)"),
        (10, {"kinds": ["style"]}, 3, "24 to draw, and the step wants 50: add source pictures, or add kinds of edit"),
        (4, {}, 15, "2 source pictures x 15 edits: 30 to draw, and the step wants 50"),
    ],
)
def test_as_many_edits_are_planned_as_make_fifty_or_it_is_said(tmp_path, count, settings, each, sentence):
    project = open_iteration(CHARACTER, root=tmp_path)
    settings, source = params.check("enrich", settings), sources(count)
    jobs = enrich.plan(project, source, settings, Editor(None, MODELS))
    assert len(jobs) == each * (count - 2)
    assert sentence in enrich.plan_sentence(source, settings)


def test_camera_edits_change_the_recorded_angle(project):
    settings = params.check("enrich", {"edits_per_source": 4, "kinds": ["camera"]})
    jobs = enrich.plan(project, Dataset.open(project.data("source")), settings, Editor(None, MODELS))
    turned = {(j.parent.angle, j.attributes["edit_value"]): j.attributes for j in jobs}
    assert turned["front", "slightly left"]["angle"] == "half-left"
    assert turned["half-left", "slightly right"]["angle"] == "front"
    assert turned["front", "higher"]["height"] == "high" and turned["front", "higher"]["angle"] == "front"


def test_of_a_photograph_it_can_only_be_told_that_nothing_was_done(project):
    source = Dataset.open(project.data("source"))
    record = next(r for r in source.images if r.angle == "front")
    words, someone = ("clean", "forest"), person(1_000_123)
    pictures = {word: Image.fromarray(render(someone, Scene(background=word))) for word in words}
    for word, picture in pictures.items():
        picture.save(project.root / f"{word}.png")
    job = Job("a.png", "p", 1, {}, record, enrich.after(record, "background", "forest"), project.root / "clean.png")
    known = references(source).training

    def judged(word, hand):
        found = enrich.look(enrich.see(job, project.root / f"{word}.png", known, 0.3, hand))
        return found["edit_done"], found["unchanged"], labels.edit_failed(found)

    for hand in (None, Renderer()):  # neither knows of a photograph whether an edit was done
        assert judged("clean", hand) == (NOT_MEASURED, 1, True) and judged("forest", hand) == (NOT_MEASURED, 0, False)
