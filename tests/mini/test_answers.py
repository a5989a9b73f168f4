"""The renderer as a hand that corrects and as a judge: it draws what was asked, and knows whether an edit was done."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from flenlib.dataset.images import read_provenance
from flenlib.mini import answers, draw_sources
from flenlib.mini.people import person
from flenlib.mini.render import Scene, render

FACTS = answers.facts(1_000_123, Scene(seed=4))


def test_a_rendered_source_can_be_drawn_again_and_changed(tmp_path):
    path = draw_sources(3, tmp_path, n=1)[0]
    known = read_provenance(path)
    assert answers.known(known) and known["made_by"] == "renderer"
    assert np.array_equal(np.asarray(answers.answer(known, {})), np.asarray(Image.open(path)))
    changed = answers.answer(known, {"background": "forest", "edit": "background", "edit_value": "forest"})
    scene = Scene(**known["scene"] | {"background": "forest"})
    assert np.array_equal(np.asarray(changed), render(person(known["person"]), scene))


def test_only_the_studios_own_pictures_have_answers():
    assert not answers.known({"made_by": "camera"})
    for odd in ({"person": "me"}, {"person": -1}, {"scene": 3}, {"scene": {"angle": [1]}}, {"scene": {"hat": "red"}},
                {"scene": {"seed": "x"}}, {"scene": None}):  # fmt: skip
        assert answers.known(FACTS) and not answers.known(FACTS | odd)
    with pytest.raises(ValueError, match="not drawn by the mini studio"):
        answers.answer({"made_by": "camera"}, {})


@pytest.mark.parametrize(
    ("question", "asked", "other"),
    [
        ("background", "forest", "beach"),
        ("light", "sunset", "nighttime"),
        ("style", "sketch", "oil painting"),
        ("angle", "half-left", "half-right"),
        ("height", "low", "high"),
    ],
)
def test_an_edit_is_done_when_it_shows_what_was_asked_for(question, asked, other):
    right = answers.answer(FACTS, {question: asked}).filter(ImageFilter.GaussianBlur(1.5))
    wrong = answers.answer(FACTS, {question: other}).filter(ImageFilter.GaussianBlur(1.5))
    assert answers.reached(FACTS, right, {question: asked}, question)
    assert not answers.reached(FACTS, wrong, {question: asked}, question)
    assert not answers.reached(FACTS, answers.answer(FACTS, {}), {question: asked}, question)
