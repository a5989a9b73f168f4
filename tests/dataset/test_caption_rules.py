"""The editing rules: what says who somebody is goes, what a picture shows stays."""

import pytest

from flenlib.dataset import caption_rules
from flenlib.params import Captions, Character

GRACE = Character(name="grace", trigger="grace_char", class_noun="woman", kind="fictional", age="adult")
PROMPT = (
    "Golden hour sunlight creating warm backlight, grace_char wearing soft beige cashmere sweater and high-waisted "
    "jeans, waist-up shot in modern minimalist café, warm wooden furniture and plants softly blurred in background, "
    "looking at camera with genuine warm smile, eyes bright and engaged, joyful content mood, shot on Canon EOS R5, "
    "85mm f/1.8, natural bokeh, professional lifestyle photography"
)
DESCRIBED = (
    "This is a close-up portrait of a young woman with fair skin and freckles. She has shoulder-length blonde hair, "
    "green eyes and full lips. She is wearing a light blue shirt and a tan jacket, and is smiling softly at the "
    "camera. The background is a blurred park. Soft lighting illuminates her face."
)


@pytest.mark.parametrize(
    ("table", "text", "caption"),
    [
        ({}, "A woman with long brown hair and blue eyes wearing a red dress", "grace_char, wearing red dress"),
        ({}, "A woman wearing a red dress, full body shot, urban street, confident pose, looking at camera",
         "grace_char, full body shot, wearing red dress, urban street background, confident pose, looking at camera"),
        ({}, PROMPT, "grace_char, waist-up shot, wearing beige sweater and jeans, modern café background, "
         "genuine smile, joyful mood, looking at camera"),
        ({}, DESCRIBED, "grace_char, close-up portrait, wearing light blue shirt and tan jacket, park background, "
         "smiling softly at the camera"),
        ({"style": "sentences"}, DESCRIBED, "This is a close-up portrait of grace_char woman. She is wearing a light "
         "blue shirt and a tan jacket, and is smiling softly at the camera. The background is a blurred park."),
        ({"style": "sentences"}, "A photo of a woman on a bench in a park, she is wearing round glasses and a coat",
         "A photo of grace_char woman on a bench in a park, she is wearing a coat"),
        ({"hair": "describe", "outfit": "omit"}, "A woman with long red hair in a coat",
         "grace_char, long red hair"),
        ({}, "a bearded man in his thirties", "grace_char"),
        ({}, "", "grace_char"),
    ],
)  # fmt: skip
def test_a_description_becomes_a_caption(table, text, caption):
    assert caption_rules.edit(text, GRACE, Captions(**table)).after == caption


def test_what_was_left_out_is_said_with_its_kind():
    found = caption_rules.edit("A woman with long brown hair and blue eyes, natural bokeh", GRACE, Captions()).removed
    assert found == (("hair", "with long brown hair"), ("eyes", "and blue eyes"), ("detail", "natural bokeh"))


def test_an_edited_caption_is_edited_to_itself():
    for text in (PROMPT, DESCRIBED):
        once = caption_rules.edit(text, GRACE, Captions()).after
        assert caption_rules.edit(once, GRACE, Captions()).after == once
