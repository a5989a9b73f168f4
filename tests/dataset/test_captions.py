"""Captions from records, their faults, and the .txt beside an image."""

import pytest

from flenlib.dataset import captions
from flenlib.dataset.records import ImageRecord
from flenlib.params import Captions, Character

MAYA = Character(name="maya", trigger="ohwx_maya", class_noun="woman", kind="fictional", age="adult")


def test_a_caption_is_built_from_what_is_known():
    record = ImageRecord("a.png", angle="half-left", expression="smiling", attributes={"light": "sunset", "edit": "x"})
    assert captions.build(MAYA, record) == "photo of ohwx_maya woman, smiling, half-left view, sunset light"
    assert captions.build(MAYA, ImageRecord("a.png")) == "photo of ohwx_maya woman"
    assert captions.build(MAYA, {"angle": "front", "pose": "t-pose", "expression": None}) == (
        "full body photo of ohwx_maya woman in T-pose, front view"
    )


def test_a_records_own_angle_comes_before_the_one_asked_for():
    record = ImageRecord("a.png", angle="front", attributes={"angle": "back"})
    assert "front view" in captions.build(MAYA, record)


def test_a_word_outside_the_vocabulary_is_named():
    with pytest.raises(ValueError, match="light 'disco' is not known"):
        captions.build(MAYA, {"light": "disco"})


FACTS = {
    "domain": "front", "angle": "front", "framing": "waist-up", "outfit": "beige sweater and jeans",
    "background": "modern café", "light": "golden hour", "expression": "genuine smile", "pose": "looking at camera",
}  # fmt: skip


@pytest.mark.parametrize(
    ("table", "facts", "caption"),
    [
        (
            {}, FACTS,
            "ohwx_maya, waist-up shot, front view, wearing beige sweater and jeans, modern café background, "
            "genuine smile, looking at camera",
        ),
        (
            {"style": "sentences"}, FACTS,
            "A waist-up shot of ohwx_maya woman wearing a beige sweater and jeans, looking at camera, with a genuine "
            "smile, front view, in front of a modern café background.",
        ),
        ({"outfit": "omit", "background": "omit", "angle": "omit"}, FACTS,
         "ohwx_maya, waist-up shot, genuine smile, looking at camera"),
        ({"light": "describe", "framing": "omit"}, {"light": "sunset", "framing": "full body"},
         "ohwx_maya, sunset light"),
        ({"outfits": {"red_dress": 2}}, {"outfit": "Red dress", "framing": "full body"},
         "ohwx_maya, red_dress, full body shot"),
        ({}, {"domain": "realbody", "pose": "standing"}, "ohwx_maya, realistic_body, full body shot, standing"),
        ({"body_tag": ""}, {"domain": "realbody", "framing": "legs"}, "ohwx_maya, legs"),
        ({"style": "sentences"}, {"style": "oil painting", "expression": "neutral", "angle": "back"},
         "A photo of ohwx_maya woman, with a neutral expression, back view, as an oil painting."),
        ({"style": "template", "angle": "omit"}, {"angle": "back", "height": "low", "expression": "sad"},
         "photo of ohwx_maya woman, sad"),
    ],
)  # fmt: skip
def test_facts_become_captions_by_the_table(table, facts, caption):
    assert captions.build(MAYA, facts, Captions(**table)) == caption


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
    for content, said in ((b"Zo\xeb", "is not UTF-8"), ("Zoë".encode("utf-16"), "is UTF-16"), (b"Z\0o\0", "is UTF-16")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"caption file .*a\.txt {said}"):
            captions.read_txt(tmp_path / "a.png")
