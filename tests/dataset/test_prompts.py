"""The grammar of prompts and the plans made of it."""

from collections import Counter

import pytest

from flenlib.dataset import prompts
from flenlib.words import EDITS


def test_captions_follow_the_templates():
    assert prompts.caption("ohwx_char person", expression="neutral") == (
        "photo of ohwx_char person, neutral expression, front view"
    )
    assert prompts.caption("ohwx_char person", angle=None, pose="sitting") == (
        "full body photo of ohwx_char person sitting on a chair"
    )
    full = prompts.caption(
        "ohwx_char person", angle="half-left", expression="sad", height="low", background="forest", light="sunset",
        outfit="suit", style="sketch",
    )  # fmt: skip
    assert full == (
        "sketch of ohwx_char person wearing a suit, sad, half-left view, low angle, forest background, sunset light"
    )


@pytest.mark.parametrize(
    "bad",
    [{"angle": "up"}, {"expression": "bored"}, {"pose": "x"}, {"height": "x"}, {"background": "x"}, {"light": "x"},
     {"outfit": "x"}, {"style": "x"}],
)  # fmt: skip
def test_a_word_outside_the_vocabulary_is_named(bad):
    ((name, value),) = bad.items()
    with pytest.raises(ValueError, match=f"{name} {value!r} is not known; it must be one of"):
        prompts.caption("ohwx_char person", **bad)


def test_edit_prompts():
    assert prompts.edit_prompt("background", "forest") == "Change background to forest, keep person identical"
    assert prompts.edit_prompt("camera", "slightly left").startswith("Change camera angle to slightly left")
    with pytest.raises(ValueError, match="edit kind 'hair' is not known"):
        prompts.edit_prompt("hair", "red")


def test_the_enrichment_plan_spreads_over_kinds_and_repeats_nothing():
    plan = prompts.enrichment_plan(6, seed=1)
    assert len(set(plan)) == 6
    kinds = Counter(kind for kind, _ in plan)
    assert set(kinds) == set(EDITS) and max(kinds.values()) <= 2
    assert plan == prompts.enrichment_plan(6, seed=1) != prompts.enrichment_plan(6, seed=2)


def test_the_enrichment_plan_can_be_used_up_but_not_exceeded():
    assert len(set(prompts.enrichment_plan(15, seed=0))) == 15
    assert len(prompts.enrichment_plan(3, 0, ("style",))) == 3
    with pytest.raises(ValueError, match="edits_per_source 16 is more than the 15 edits"):
        prompts.enrichment_plan(16, seed=0)
    with pytest.raises(ValueError, match="edit kind 'hair' is not known"):
        prompts.enrichment_plan(1, 0, ("hair",))


@pytest.mark.parametrize("wording", prompts.WORDINGS.values(), ids=prompts.WORDINGS)
def test_the_model_card_has_its_23_cells(wording):
    card = prompts.model_card("ohwx_char person", wording)
    assert len(card) == 23 == len({prompt.name for prompt in card}) == len({prompt.text for prompt in card})
    cells = {(p.wanted()["angle"], p.wanted()["expression"]) for p in card if p.wanted()["pose"] == "portrait"}
    assert len(cells) == 20
    assert [p.wanted()["pose"] for p in card[20:]] == ["t-pose", "standing", "sitting"]
    assert all("ohwx_char person" in prompt.text for prompt in card)


def test_published_models_are_asked_in_the_words_of_the_process_document():
    card = {prompt.name: prompt.text for prompt in prompts.model_card("ohwx_char person", prompts.PLAIN)}
    assert card["front_neutral"] == (
        "portrait of ohwx_char person, neutral expression, front view, clean background, studio lighting"
    )
    assert card["profile-left_smiling"] == (
        "portrait of ohwx_char person, smiling, profile-left view, clean background, studio lighting"
    )
    assert [card["t-pose"], card["standing"], card["sitting"]] == [
        "full body photo of ohwx_char person in T-pose, front view, white background",
        "full body photo of ohwx_char person standing, front view, neutral pose, clean background",
        "full body photo of ohwx_char person sitting on a chair, side view, clean background",
    ]
    novel = [prompt.text for prompt in prompts.novel_prompts("ohwx_char person", 640, 0, prompts.PLAIN)]
    assert any("in a spaceship" in text for text in novel) and not any("spaceship background" in text for text in novel)
    assert any(text.startswith("profile-left view of ohwx_char person, smiling, ") for text in novel)


def test_the_mini_studio_is_asked_in_its_own_grammar():
    asked = prompts.model_card("x y", prompts.GRAMMAR) + prompts.novel_prompts("x y", 640, 3, prompts.GRAMMAR)
    for prompt in asked:
        words = prompt.wanted() if prompt.name.startswith("novel") else prompt.wanted() | {"background": "clean"}
        if not prompt.name.startswith("novel") and words["pose"] == "portrait":
            words |= {"light": "studio", "lead": "portrait"}
        assert prompt.text == prompts.caption("x y", **words)


@pytest.mark.parametrize("wording", prompts.WORDINGS.values(), ids=prompts.WORDINGS)
def test_novel_prompts_are_all_different_and_repeatable(wording):
    novel = prompts.novel_prompts("ohwx_char person", 100, 3, wording)
    assert len({prompt.text for prompt in novel}) == 100
    assert novel == prompts.novel_prompts("ohwx_char person", 100, 3, wording)
    assert {prompt.wanted()["pose"] for prompt in novel} == set(prompts.POSES)
    assert len(prompts.novel_prompts("x y", 640, 0, wording)) == 640
    with pytest.raises(ValueError, match="641 prompts were asked for"):
        prompts.novel_prompts("x y", 641, 0, wording)
