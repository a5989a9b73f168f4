"""The captions' desk: proposals, changes that are on disk, undo, replacement after a preview, and other hands."""

import pytest
from PIL import Image

from flenlib.dataset import captions
from flenlib.dataset.records import Dataset, ImageRecord
from flenlib.params import Captions, Character
from flenlib.review.caption_widget import CaptionWidget
from flenlib.review.captions import CaptionDesk, difference

MAYA = Character(name="maya", trigger="ohwx_maya", class_noun="woman", kind="fictional", age="adult")
WORDS = ["ohwx_maya, brown hair, in a hat, ohwx_maya", "ohwx_maya, in a red hat", "ohwx_maya, smiling"]


@pytest.fixture
def desk(tmp_path):
    dataset = Dataset.open(tmp_path, create=True)
    for n, words in enumerate(WORDS):
        Image.new("RGB", (40, 40), (40 * n, 90, 90)).save(tmp_path / f"{n}.png")
        dataset.add(ImageRecord(f"{n}.png", caption=words))
    dataset.save()
    return CaptionDesk(dataset, MAYA, Captions())


def on_disk(desk):
    return [record.caption for record in Dataset.open(desk.dataset.folder).images]


def test_a_proposal_mends_all_that_a_rule_can_mend_and_changes_nothing(desk):
    shown = desk.describe("0.png")
    assert shown["proposed"] == "ohwx_maya, in a hat" and len(shown["findings"]) == 2
    assert [piece for piece in shown["difference"] if piece[0] != "same"] == [
        ("cut", ", brown hair"), ("cut", ", ohwx_maya"),
    ]  # fmt: skip
    assert desk.describe("2.png")["proposed"] == WORDS[2] and desk.names(faulty=True) == ["0.png"]
    assert on_disk(desk) == WORDS


def test_changes_are_kept_taken_back_and_the_next_desk_knows_them(desk):
    desk.write({"0.png": "ohwx_maya, in a hat"})
    desk.write({"1.png": "ohwx_maya, hat", "2.png": " ohwx_maya,  laughing "})
    assert on_disk(desk) == ["ohwx_maya, in a hat", "ohwx_maya, hat", "ohwx_maya, laughing"]
    assert captions.read_txt(desk.dataset.folder / "2.png") == "ohwx_maya, laughing"
    later = CaptionDesk(Dataset.open(desk.dataset.folder), MAYA, Captions())
    assert later.undo().names == ["1.png", "2.png"] and on_disk(later)[1:] == WORDS[1:]
    assert later.undo().names == ["0.png"] and on_disk(later) == WORDS
    assert later.undo().said == "there is nothing to undo"


def test_what_somebody_has_changed_since_stays_when_a_step_is_taken_back(desk):
    desk.write({"1.png": "ohwx_maya, hat", "2.png": "ohwx_maya, laughing"})
    desk.dataset.get("1.png").caption = "ohwx_maya, by hand"
    answer = desk.undo()
    assert answer.names == ["2.png"] and "1 had been changed since and stay" in answer.said
    assert on_disk(desk)[1:] == ["ohwx_maya, by hand", WORDS[2]]


def test_words_are_replaced_whole_after_a_preview(desk):
    made = desk.replace("in a red hat", "")
    assert made == {"1.png": "ohwx_maya"} and on_disk(desk) == WORDS
    assert desk.replace("HAT", "cap").keys() == {"0.png", "1.png"} and desk.replace("ha", "x") == {}
    desk.write(desk.replace("hat", "cap"))
    assert on_disk(desk)[1] == "ohwx_maya, in a red cap" and desk.undo().names == ["0.png", "1.png"]
    with pytest.raises(ValueError, match="say which words"):
        desk.replace(" ", "x")


def test_what_is_refused_or_empty_stays_as_it_was(desk):
    answer = desk.write({"1.png": "ohwx_maya, nude", "2.png": "ohwx_maya, sad"})
    assert answer.names == ["2.png"] and "refused" in answer.refused["1.png"]
    assert on_disk(desk)[1:] == [WORDS[1], "ohwx_maya, sad"]
    with pytest.raises(ValueError, match=r"caption of 0\.png is empty"):
        desk.write({"0.png": " "})


def test_the_difference_put_together_is_both_texts():
    before, after = "ohwx, brown hair, in a hat", "ohwx, in a red hat."
    pieces = difference(before, after)
    assert "".join(text for kind, text in pieces if kind != "new") == before
    assert "".join(text for kind, text in pieces if kind != "cut") == after


def test_a_widget_without_a_browser_says_what_it_is(desk):
    assert repr(CaptionWidget(desk.dataset, MAYA, Captions())) == "captions of 3 pictures, 2 findings"
