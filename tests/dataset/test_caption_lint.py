"""The faults of captions: one rule a row, with its severity and what mends it."""

import pytest

from flenlib import params
from flenlib.dataset.caption_lint import Captioned, Tokens, errors, lint
from flenlib.dataset.records import ImageRecord
from flenlib.models.tokens import tokens_of
from flenlib.params import Captions, Character
from flenlib.steps import Blocked, check_lint

MAYA = Character(name="maya", trigger="ohwx_maya", class_noun="woman", kind="fictional", age="adult")


def faults(*captions, table=None, character=MAYA, tokens=None, **known):
    pictures = [Captioned(f"{n}.png", caption, **known) for n, caption in enumerate(captions)]
    return lint(pictures, character, table or Captions(), tokens)


@pytest.mark.parametrize(
    ("caption", "known", "rule", "severity", "fix"),
    [
        ("  ", {}, "missing", "error", None),
        ("photo of a woman", {}, "no trigger", "error", "photo of ohwx_maya woman"),
        ("photo of OHWX_Maya", {}, "no trigger", "error", "ohwx_maya, photo of OHWX_Maya"),
        ("ohwx_maya, tall, ohwx_maya", {}, "trigger repeated", "warning", "ohwx_maya, tall"),
        ("smiling, ohwx_maya", {}, "trigger late", "warning", "ohwx_maya, smiling"),
        ("ohwx_maya,\nfront", {}, "control characters", "error", "ohwx_maya, front"),
        ("o\0h\0w\0x\0", {}, "control characters", "error", "ohwx"),
        ("ohwx_maya, brown hair, in a hat", {}, "identity words", "warning", "ohwx_maya, in a hat"),
        ("ohwx_maya, right profile view", {"angle": "profile-left"}, "wrong angle", "error", None),
        ("ohwx_maya, front view", {"angle": "back"}, "wrong angle", "error", None),
        ("ohwx_maya, close-up portrait", {"framing": "standing"}, "wrong framing", "error", None),
        ("ohwx_maya, full body shot", {"framing": "close-up"}, "wrong framing", "error", None),
        ("ohwx_maya, legs", {"concept": "maya_realbody"}, "no body tag", "warning", "ohwx_maya, realistic_body, legs"),
    ],
)
def test_a_fault_of_one_caption(caption, known, rule, severity, fix):
    (found,) = faults(caption, **known)
    assert (found.rule, found.severity, found.fix, found.picture) == (rule, severity, fix, "0.png")
    assert "0.png" in found.sentence


@pytest.mark.parametrize(
    ("caption", "known"),
    [
        ("photo of ohwx_maya woman, smiling, half-left view, sunset light", {"angle": "half-left"}),
        ("ohwx_maya, over-shoulder shot, looking back at camera", {"angle": "front"}),
        (
            "ohwx_maya, three-quarter view, light blue shirt, tan jacket",
            {"angle": "half-right", "framing": "half body"},
        ),
        ("ohwx_maya, waist-up portrait", {"framing": "portrait"}),
        ("ohwx_maya, profile view", {"angle": "profile-right"}),
    ],
)
def test_a_good_caption_has_none(caption, known):
    assert faults(caption, **known) == []


def test_an_estimated_angle_contradicts_nobody():
    record = ImageRecord("a.png", caption="ohwx_maya, back view", angle="front", extra={"angle_estimated": "front"})
    assert lint([Captioned.of(record)], MAYA, Captions()) == []
    record.extra.clear()
    assert [f.rule for f in lint([Captioned.of(record)], MAYA, Captions())] == ["wrong angle"]


def test_the_table_says_which_words_are_identity():
    described = Captions(glasses="describe", hair="describe")
    assert faults("ohwx_maya, brown hair, round glasses", table=described) == []
    (found,) = faults("ohwx_maya, brown hair, round glasses", table=Captions(hair="describe"))
    assert found.fix == "ohwx_maya, brown hair"


def test_what_stands_in_nearly_all_captions_is_learnt_as_the_trigger_is():
    texts = [f"ohwx_maya, {'brown hair, ' * (n < 4)}in the {place}" for n, place in enumerate("abcde")]
    found = {f.rule: f for f in faults(*texts)}
    assert (
        found["identity bound to words"].severity == "error" and "4 of 5" in found["identity bound to words"].sentence
    )
    assert "'brown hair' stands in 4 of 5" in found["shared fragment"].sentence
    assert {f.rule for f in faults(*texts[2:])} == {"identity words"}, "of few captions it is chance"
    (same,) = faults("ohwx_maya, smiling", "ohwx_maya, sad", "ohwx_maya, smiling")
    assert same.rule == "duplicates" and "0.png, 2.png" in same.sentence


def test_a_text_is_counted_with_the_models_own_tokenizer():
    tokens = tokens_of("mini-flux")
    assert tokens.limit == 32 and tokens.count("photo of a person") == 4
    (found,) = faults("ohwx_maya" + ", smiling" * 40, tokens=tokens)
    assert found.rule == "too long" and f"{tokens.count('ohwx_maya') + 40} tokens" in found.sentence
    assert "reads 32" in found.sentence


@pytest.mark.parametrize(
    ("trigger", "rule", "severity"),
    [
        ("dragon", None, None), ("summer", "ordinary trigger", "error"), ("Woman", "ordinary trigger", "error"),
        ("zq7_mia", "digits in the trigger", "warning"), ("ohwx_" * 5, "long trigger", "warning"),
    ],
)  # fmt: skip
def test_what_may_stand_for_a_character(trigger, rule, severity):
    character = MAYA.model_copy(update={"trigger": trigger})
    found = faults(f"{trigger}, smiling", character=character, tokens=Tokens(len, 1000))
    assert [(f.rule, f.severity) for f in found if f.picture == ""] == ([(rule, severity)] if rule else [])


def test_outfits_are_counted():
    table = params.check("captions", {"outfits": {"red_dress": "2-3", "suit": 1, "hoodie": [1, 4]}})
    found = faults("ohwx_maya, red_dress, smiling", "ohwx_maya, hoodie, sad", table=table)
    assert [f.sentence for f in found] == [
        "outfit red_dress is in 1 captions; 2-3 are wanted", "outfit suit is in 0 captions; 1 are wanted",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("outfits", "said"),
    [
        ({"red_dress": 20, "Red_Dress": 3}, "outfit Red_Dress is named twice"),
        ({"red dress": 20}, "one word such as red_dress"),
        ({"suit": "30-20"}, "outfit suit asks for 30-20 pictures"),
    ],
)
def test_outfits_that_are_wrong_are_one_sentence(outfits, said):
    with pytest.raises(ValueError, match=said) as raised:
        params.check("captions", {"outfits": outfits})
    assert "\n" not in str(raised.value)


def test_errors_stop_a_training_with_how_many_and_the_first_unless_it_goes_on_anyway():
    found = faults("", "ohwx_maya, front view", "ohwx_maya, sad", angle="back")
    assert len(errors(found)) == 2
    with pytest.raises(Blocked, match=r"2 faults, the first: 0\.png has no caption.*`anyway: true`"):
        check_lint(found)
    check_lint(found, anyway=True)
    check_lint([f for f in found if f.severity == "warning"])
