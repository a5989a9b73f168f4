"""Step 1.1: what is usable is imported, what is not is left out with reasons, and the raw folder is only read."""

import hashlib

import pytest
from PIL import Image, ImageFilter

from flenlib import params
from flenlib.dataset.records import Dataset
from flenlib.project import open_iteration
from flenlib.wheel import curate as step
from tests.studio import write_raw

CHARACTER = {"name": "tester", "trigger": "ohwx_char", "kind": "fictional"}


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return write_raw(tmp_path_factory.mktemp("raw"))


def settings(folder, **more):
    return params.check("curate", {"folder": str(folder), **more})


def test_twelve_pictures_become_a_source_dataset(raw, tmp_path):
    house = open_iteration(CHARACTER, root=tmp_path)
    curated = step.curate(house, settings(raw))
    assert all(c.holds for c in curated.criteria), [str(c) for c in curated.criteria]
    dataset = Dataset.open(house.data("source"))
    assert len(dataset.images) == 12
    assert sum(r.held_out for r in dataset.images) == 2
    assert all(r.measurements["faces_found"] == 1 for r in dataset.images if r.held_out)
    first = dataset.get("maya_00_front_neutral.png")
    assert (first.angle, first.expression, first.depth, first.kind) == ("front", "neutral", 0, "source")
    assert first.caption == "photo of ohwx_char person, neutral expression, front view"
    assert dataset.path(first).with_suffix(".txt").read_text().strip() == first.caption


def test_bad_pictures_are_left_out_with_reasons_and_raw_is_untouched(raw, tmp_path):
    folder = tmp_path / "bad"
    folder.mkdir()
    for path in sorted(raw.glob("*.png")):
        (folder / path.name).write_bytes(path.read_bytes())
    good = sorted(raw.glob("*.png"))
    (folder / "text.jpg").write_text("this is no picture")
    (folder / "empty.png").write_bytes(b"")
    (folder / "cut.png").write_bytes(good[0].read_bytes()[:800])
    Image.open(good[1]).resize((20, 20)).save(folder / "tiny_front.png")
    Image.open(good[2]).filter(ImageFilter.GaussianBlur(4)).save(folder / "blurred_front.png")
    Image.open(good[3]).save(folder / "again_front_angry.png", compress_level=1)
    before = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}
    table = step.curate(open_iteration(CHARACTER, root=tmp_path), settings(folder)).table
    reasons = table["reasons"]
    assert "not a picture" in reasons["text.jpg"]
    assert "empty" in reasons["empty.png"]
    assert "damaged" in reasons["cut.png"]
    assert "too small: 20 px, want 64" in reasons["tiny_front.png"]
    assert "blurred" in reasons["blurred_front.png"] or "no face" in reasons["blurred_front.png"]
    assert "duplicate of" in reasons["again_front_angry.png"] or "duplicate of" in reasons["maya_03_front_angry.png"]
    assert int(table["usable"].sum()) == 12
    assert before == {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def test_curating_again_keeps_what_a_person_edited(raw, tmp_path):
    house = open_iteration(CHARACTER, root=tmp_path)
    dataset = step.curate(house, settings(raw)).dataset
    dataset.images[0].caption = "photo of ohwx_char person, with a hat"
    dataset.save()
    again = step.curate(house, settings(raw)).dataset
    assert again.images[0].caption == "photo of ohwx_char person, with a hat"
    assert [r.sha256 for r in again.images] == [r.sha256 for r in dataset.images]


def test_captions_follow_a_new_trigger_and_edits_in_the_txt(raw, tmp_path):
    dataset = step.curate(open_iteration(CHARACTER, root=tmp_path), settings(raw)).dataset
    beside = dataset.path(dataset.images[0]).with_suffix(".txt")
    beside.write_text("photo of ohwx_char person, laughing\n")
    again = step.curate(open_iteration(CHARACTER, root=tmp_path), settings(raw))
    assert again.dataset.images[0].caption == "photo of ohwx_char person, laughing"
    renamed = step.curate(open_iteration(CHARACTER | {"trigger": "zq7_mia"}, root=tmp_path), settings(raw))
    assert all("zq7_mia person" in r.caption for r in renamed.dataset.images) and renamed.criteria[2].holds


def test_another_seed_draws_another_person(tmp_path):
    house = open_iteration(CHARACTER, root=tmp_path)
    first = step.gather(house, params.check("curate", {"seed": 1}))
    assert step.gather(house, params.check("curate", {"seed": 2})) != first


def test_too_few_pictures_are_said_not_hidden(raw, tmp_path):
    folder = tmp_path / "few"
    folder.mkdir()
    for path in sorted(raw.glob("*front_neutral*.png")):
        (folder / path.name).write_bytes(path.read_bytes())
    criteria = step.curate(open_iteration(CHARACTER, root=tmp_path), settings(folder)).criteria
    assert not criteria[0].holds and criteria[0].found == "2"
    assert not criteria[1].holds


def test_a_missing_folder_is_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        step.curate(open_iteration(CHARACTER, root=tmp_path), settings(tmp_path / "nowhere"))
