"""Triplets: what is kept of a correction, and the sentence for each way it can be wrong."""

import json
from dataclasses import replace

import pytest
from PIL import Image

from flenlib.dataset import triplets
from flenlib.dataset.images import save_picture
from flenlib.dataset.triplets import Triplet


def picture(path, colour, size=(32, 48)):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_picture(Image.new("RGB", size, colour), path, {"made_by": "import"})
    return path


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "corrections" / "v1"


def make(folder, count=10):
    made = []
    for n in range(count):
        picture(folder.parent.parent / "source" / "v1" / f"s{n}.png", (n, 0, 0))
        picture(folder / f"t{n}.png", (n, 90, 0))
        triplet = Triplet(f"../../source/v1/s{n}.png", "Change background to forest", f"t{n}.png", issue="nose changed")
        made.append(triplets.hashed(folder, triplet))
    return made


def test_what_is_written_is_read_back_and_passes(folder):
    made = make(folder)
    path = triplets.write(folder, made)
    assert triplets.read(folder, [folder.parents[1]]) == made
    triplets.check(folder, made)
    first = json.loads(path.read_text())["triplets"][0]
    assert {"source_image", "edit_prompt", "target_image", "issue", "improvement"} <= first.keys()
    assert not first["source_image"].startswith("/")


def test_the_documents_own_schema_is_read(folder):
    folder.mkdir(parents=True)
    five = {"source_image": "a.png", "edit_prompt": "do", "target_image": "b.png", "issue": "i", "improvement": "m"}
    (folder / triplets.FILE).write_text(json.dumps([five | {"unknown": 1}]))
    assert triplets.read(folder) == [Triplet("a.png", "do", "b.png", "i", "m")]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "damaged or cut short"),
        ("{}", "no list of triplets"),
        ('[{"source_image": "a"}]', "triplet 1: edit_prompt is None"),
        ('[{"source_image": "a", "edit_prompt": "b", "target_image": "c", "depth": "x"}]', "depth is 'x'"),
        ("[4]", "must be an object"),
    ],
)
def test_a_damaged_file_is_named(folder, content, words):
    folder.mkdir(parents=True)
    (folder / triplets.FILE).write_text(content)
    with pytest.raises(ValueError, match=words) as error:
        triplets.read(folder)
    assert str(folder / triplets.FILE) in str(error.value)


def test_a_missing_file_says_which_step_makes_it(folder):
    with pytest.raises(FileNotFoundError, match=r"step 2\.1"):
        triplets.read(folder)


def test_a_target_that_is_missing(folder):
    made = make(folder)
    (folder / "t3.png").unlink()
    with pytest.raises(ValueError, match=r"target .*t3.png does not exist"):
        triplets.check(folder, made)


def test_a_source_that_was_deleted(folder):
    made = make(folder)
    made[2].paths(folder)[0].unlink()
    with pytest.raises(ValueError, match=r"source .*s2.png does not exist.*t2.png was made from it"):
        triplets.check(folder, made)


def test_a_target_of_another_size(folder):
    made = make(folder)
    picture(folder / "t4.png", "red", (48, 32))
    with pytest.raises(ValueError, match=r"target .*t4.png is 48 x 32 pixels and its source s4.png 32 x 48"):
        triplets.check(folder, made)
    picture(folder / "t4.png", "red", (64, 96))  # the same shape: editors draw at their own size
    triplets.check(folder, [replace(made[4], target_sha256="", source_sha256="")], minimum=1)
    picture(folder / "before.png", "red", (32, 48))
    with pytest.raises(ValueError, match=r"before\.png, which it replaces, 32 x 48"):
        triplets.check(folder, [replace(made[4], target_sha256="", before_image="before.png")], minimum=1)


def test_the_same_correction_twice(folder):
    made = make(folder)
    again = replace(made[0], target_image="t1.png", target_sha256="", edit_prompt="Change background  to forest")
    with pytest.raises(ValueError, match=r"t1.png corrects .*s0.png .*and so does t0.png: the same correction"):
        triplets.check(folder, [*made, again])


def test_fewer_than_the_minimum(folder):
    made = make(folder)
    with pytest.raises(ValueError, match=r"triplets.json holds 9 corrections and 10 are needed .good edits do not"):
        triplets.check(folder, made[:9])
    with pytest.raises(ValueError, match="holds 1 corrections"):
        triplets.check(folder, [made[0], *(replace(t, positive=True) for t in made[1:])])
    triplets.check(folder, [*made[:9], replace(made[9], held_out=True)])


def test_the_same_correction_under_another_name_is_there_twice(folder, tmp_path):
    """Another trainer's copy of a source is the same source: what counts is its pixels."""
    made = make(folder)
    picture(tmp_path / "control.png", (0, 0, 0))
    again = replace(made[0], source_image=str(tmp_path / "control.png"), edit_prompt="change background to  forest")
    with pytest.raises(ValueError, match=r"t0.png corrects .*control.png .*the same correction is there twice"):
        triplets.check(folder, [*made, replace(again, source_sha256="")])


def test_whole_sources_are_held_out_and_their_good_edits_left_out(folder):
    made = make(folder, 8)
    more = [replace(t, edit_prompt="Change lighting to sunset") for t in made]
    good = [replace(t, edit_prompt="Change style", positive=True) for t in made]
    found = triplets.hold_out(folder, [*made, *more, *good], share=0.25, seed=3)
    held = {t.source_image for t in found if t.held_out}
    assert len(held) == 2 and sum(t.held_out for t in found) == 4
    assert not held & {t.source_image for t in found if not t.held_out}
    assert len(found) == 22 and not any(t.positive and t.held_out for t in found)
    fewer = triplets.hold_out(
        folder, [t for t in [*made, *more] if t.source_image in held or "s1" in t.source_image], 0.5, 3
    )
    assert held >= {t.source_image for t in fewer if t.held_out}, "who is held out does not depend on who else is there"


def test_one_is_held_out_where_there_are_two_sources_and_none_of_one(folder):
    made = make(folder, 10)
    assert sum(t.held_out for t in triplets.hold_out(folder, made, share=0.01)) == 1
    assert not any(t.held_out for t in triplets.hold_out(folder, made, share=0.0))
    assert not any(t.held_out for t in triplets.hold_out(folder, made[:1], share=0.9))
    assert sum(t.held_out for t in triplets.hold_out(folder, made[:2], share=0.9)) == 1
    twice = [*made[:2], *(replace(t, edit_prompt="Change lighting to sunset") for t in made[:2])]
    assert sum(t.held_out for t in triplets.hold_out(folder, twice, share=0.01)) == 2


def test_a_picture_changed_since(folder):
    made = make(folder)
    picture(folder / "t5.png", "blue")
    with pytest.raises(ValueError, match=r"t5.png has changed since"):
        triplets.check(folder, made)


def test_a_target_that_is_no_picture(folder):
    made = make(folder)
    (folder / "t5.png").write_text("no")
    with pytest.raises(ValueError, match=r"t5.png is not a picture"):
        triplets.check(folder, made)


def test_a_newer_iteration_keeps_the_older_corrections_it_does_not_replace(folder):
    older = make(folder, 3)
    later = folder.parent / "v2"
    picture(later / "n0.png", "white")
    newer = [Triplet("../../source/v1/s0.png", older[0].edit_prompt, "n0.png")]
    merged = triplets.merge(older, newer, later, folder)
    assert [t.target_image for t in merged] == ["../v1/t1.png", "../v1/t2.png", "n0.png"]
    triplets.check(later, merged, minimum=3)
    older[1].paths(folder)[1].unlink()
    assert len(triplets.merge(older, newer, later, folder)) == 2


def test_a_good_edit_never_replaces_a_correction(folder):
    older = make(folder, 2)
    later = folder.parent / "v2"
    picture(later / "n0.png", "white")
    good = Triplet("../../source/v1/s0.png", older[0].edit_prompt, "n0.png", positive=True)
    merged = triplets.merge(older, [good], later, folder)
    assert [t.target_image for t in merged] == ["../v1/t0.png", "../v1/t1.png"]
    both = triplets.merge([replace(older[0], positive=True)], [good], later, folder)
    assert [t.target_image for t in both] == ["n0.png"], "of two good edits the newer stays"
    better = triplets.merge([replace(older[0], positive=True)], [replace(good, positive=False)], later, folder)
    assert [t.target_image for t in better] == ["n0.png"]
