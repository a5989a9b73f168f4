"""Captions from records, their faults, and the .txt beside an image."""

import pytest

from flenlib.dataset import captions
from flenlib.dataset.records import ImageRecord
from flenlib.params import Character

MAYA = Character(name="maya", trigger="ohwx_maya", class_noun="woman", kind="fictional", age="adult")


def test_a_caption_is_built_from_what_is_known():
    record = ImageRecord("a.png", angle="half-left", expression="smiling", attributes={"light": "sunset", "edit": "x"})
    assert captions.build(MAYA, record) == "photo of ohwx_maya woman, smiling, half-left view, sunset light"
    assert captions.build(MAYA, ImageRecord("a.png")) == "photo of ohwx_maya woman"
    assert captions.build(MAYA, {"angle": "front", "pose": "t-pose", "expression": None}) == (
        "full body photo of ohwx_maya woman in T-pose, front view"
    )
    assert captions.lint(captions.build(MAYA, record), MAYA) == []


def test_a_records_own_angle_comes_before_the_one_asked_for():
    record = ImageRecord("a.png", angle="front", attributes={"angle": "back"})
    assert "front view" in captions.build(MAYA, record)


def test_a_word_outside_the_vocabulary_is_named():
    with pytest.raises(ValueError, match="light 'disco' is not known"):
        captions.build(MAYA, {"light": "disco"})


@pytest.mark.parametrize(
    ("caption", "faults"),
    [
        ("photo of ohwx_maya woman, front view", []),
        ("  ", ["the caption is empty"]),
        ("photo of a woman", ["trigger 'ohwx_maya' is missing"]),
        ("photo of OHWX_Maya woman", ["trigger 'ohwx_maya' is missing (written differently)"]),
        ("photo of ohwx_maya2 woman", ["trigger 'ohwx_maya' is missing (written differently)"]),
        ("ohwx_maya woman, ohwx_maya", ["trigger 'ohwx_maya' is there 2 times"]),
        ("photo of ohwx_maya", ["class noun 'woman' is missing"]),
        ("photo of ohwx_maya, womanly", ["class noun 'woman' is missing"]),
        ("ohwx_maya woman" + ", tall" * 60, ["too long: 122 words and marks, at most 75 are read"]),
        ("ohwx_maya woman\nfront", ["it holds line breaks or control characters"]),
        ("ohwx_maya woman\x07", ["it holds line breaks or control characters"]),
    ],
)
def test_lint(caption, faults):
    assert captions.lint(caption, MAYA) == faults


@pytest.mark.parametrize(
    ("caption", "now"),
    [
        ("ohwx_maya, waist-up shot", "ohwx_maya, waist-up shot"),
        ("A woman in red, waist-up shot", "ohwx_maya woman in red, waist-up shot"),
        ("photo of the person and a person", "photo of ohwx_maya woman and a person"),
        ("a womanly dress", "ohwx_maya, a womanly dress"),
        ("photo of OHWX_Maya woman", "ohwx_maya, photo of OHWX_Maya woman"),
    ],
)
def test_a_missing_trigger_is_added_and_no_word_lost(caption, now):
    assert captions.with_trigger(caption, MAYA) == now and captions.has_trigger(now, MAYA)


def test_txt_beside_the_image(tmp_path):
    assert captions.read_txt(tmp_path / "a.png") is None
    path = captions.write_txt(tmp_path / "a.png", " photo of Zoë \n")
    assert path == tmp_path / "a.txt" and captions.read_txt(tmp_path / "a.png") == "photo of Zoë"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"caption file .*a\.txt is not UTF-8"):
        captions.read_txt(tmp_path / "a.png")
