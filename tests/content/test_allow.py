"""What the gate refuses and lets through: by category, form, age, language and rating. Terms only."""

import logging

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flenlib.content import Allowed, Refused, allow, lists, rating, rules
from flenlib.content.normalise import fold, latin
from flenlib.dataset import prompts
from flenlib.params import Character

MAYA = {"name": "maya", "trigger": "ohwx_maya", "kind": "fictional"}
OFF = Character(**MAYA, age="adult")
ON = Character(**MAYA, age="adult", rating="adult")
MINOR = Character(**MAYA, age="minor")
UNSTATED = Character(**MAYA, age="unstated")
ADULT = "asks for adult content and the profile of 'maya' has rating general"
STRICT = r"strict rules hold for (a minor|an age that is not stated)|involving a minor"
OF_A_MINOR = "asks for sexual content involving a minor"


@pytest.mark.parametrize(
    "text",
    ["nude", "naked", "genitals", "intercourse", "no clothes", "without any clothes", "wearing nothing",
     "clothes off", "removing her shirt", "bare breasts", "skinny dipping", "birthday suit", "NSFW",
     "uncensored", "xxx", "18+ \U0001f51e"],
)  # fmt: skip
def test_adult_words_are_refused_unless_the_profile_allows_them(text):
    with pytest.raises(Refused, match=ADULT):
        allow(OFF, text)
    assert allow(ON, text) == text
    for character in (MINOR, UNSTATED):
        with pytest.raises(Refused, match=r"minor|strict rules"):
            allow(character, text)


@pytest.mark.parametrize(
    "text",
    ["n u d e", "n-u-d-e", "n.u.d.e", "n_u_d_e", "nu-de", "nu de", "n\u200bu\u200bd\u200be", "nu\u00adde",
     "nu\u034fde", "n\ufe0fude", "NUDE", "NuDe", "n\u00fcd\u00e9", "n\u0336u\u0336d\u0336e",
     "\uff4e\uff55\uff44\uff45", "\U0001d4c3\U0001d4ca\U0001d4b9\u212f", "\u24dd\u24e4\u24d3\u24d4",
     "\U0001f15d\U0001f164\U0001f153\U0001f154", "\U0001f1f3\U0001f1fa\U0001f1e9\U0001f1ea",
     "\u0274\u1d1c\u1d05\u1d07", "\u043fud\u0435", "\u0578\u057d\u0501\u0435", "\u03b7ude", "nud3", "n4k3d",
     "n@ked", "$exual", "n*de", "n**e", "nuuude", "nnnuuudddeee", "NakedWoman", "(nude)", "nude!!!",
     "xx.nude.xx", "p0rn", "s e x u a l", "n\nu\nd\ne"],
)  # fmt: skip
def test_disguises_are_undone(text):
    with pytest.raises(Refused, match=ADULT):
        allow(OFF, text)


@pytest.mark.parametrize(
    "text",
    ["nackt", "ohne Kleidung", "nue", "sans vêtements", "desnuda", "sin ropa", "nuda", "senza vestiti",
     "sem roupa", "naakt", "nago", "голая", "гoлaя", "г о л а я", "без одежды", "çıplak", "عارية", "بدون ملابس",
     "नग्न", "बिना कपड़ों", "裸体", "裸 体", "沒穿衣服", "全裸", "服を脱ぐ", "알몸", "옷을 벗은", "naken",
     "nøgen", "alaston", "meztelen", "γυμνή", "ערומה", "برهنه", "khỏa thân", "telanjang", "เปลือย", "гола",
     "nahá žena"],
)  # fmt: skip
def test_languages(text):
    with pytest.raises(Refused, match=ADULT):
        allow(OFF, text)


def test_at_least_ten_languages_in_their_scripts_each_with_a_source():
    files = [yaml.safe_load(path.read_text()) for path in lists.FOLDER.glob("*.yaml")]
    assert len(files) >= 15 and all(len(content["source"]) > 20 for content in files)
    assert all({"adult", "minor", "strict", "allow"} <= content.keys() for content in files)


@pytest.mark.parametrize(
    "who",
    ["teen", "17-year-old", "12 yo", "12yo", "14 y/o", "aged 15", "age: 9", "twelve year old", "fifteen",
     "under 18", "<18", "under eighteen", "not yet 18", "younger than 16", "school_girl girl", "schoolgirl",
     "7th grader", "grade 8", "year 9 pupil", "high school", "kindergarten", "s c h o o l g i r l", "t33n",
     "tеen", "born in 2015", "girl", "14 Jahre alt", "vierzehnjährig", "8. Klasse", "quinze ans", "lycéenne",
     "14 años", "de catorce años", "quindici anni", "14 anos", "veertien jaar", "czternaście lat",
     "четырнадцать лет", "школьница", "14 yaşında", "on dört yaşında", "عمرها 14", "طفلة", "१४ साल", "चौदह साल",
     "14岁", "十四岁", "初中生", "14歳", "女子高生", "14살", "열네 살", "여고생", "fjorton år", "14 tuổi",
     "\U0001f467"],
)  # fmt: skip
def test_sexual_content_with_a_minor_is_refused_whatever_the_profile_says(who):
    for character in (ON, OFF):
        with pytest.raises(Refused, match=OF_A_MINOR):
            allow(character, f"nude, {who}")


@pytest.mark.parametrize(
    "who",
    ["27 years old woman", "24yo", "twenty four years old", "vingt-quatre ans", "二十四岁", "24歳", "aged 30",
     "the girl next door, aged 30", "woman, 10 years ago", "minor scratches", "35mm, f/16", "16:9"],
)  # fmt: skip
def test_other_numbers_and_ages_are_not_a_minors(who):
    assert allow(ON, f"nude, {who}")


def test_a_childs_class_noun_counts_as_words_do():
    for noun in ("girl", "child", "schoolboy"):
        with pytest.raises(Refused, match=OF_A_MINOR):
            allow(Character(**MAYA, class_noun=noun, age="adult", rating="adult"), "nude portrait")


@pytest.mark.parametrize("text", ["jailbait", "lolicon", "barely legal", "児童ポルノ", "l0lic0n"])
def test_words_that_say_both_are_refused_alone(text):
    with pytest.raises(Refused, match=OF_A_MINOR):
        allow(ON, text)


@pytest.mark.parametrize(
    "text",
    ["photo of ohwx_maya person, front view", "a girl on a beach", "Essex, 12 years old project",
     "nude lipstick", "naked eye astronomy", "minor scratches", "the girl next door, aged 30", "10 years ago",
     "breast pocket", "chicken breast", "blue tits on a feeder", "moby dick", "cockpit, scunthorpe, sussex",
     "grand teton", "man in swim trunks", "bare shoulders, evening dress", "child with a kite",
     "knight kneeling", "zombie, blood, horror", "no hat, white shirt", "remove the shirt logo", "penisola",
     "mit bloßem Auge", "à l'œil nu", "肉眼, 裸眼, 画面中出现一只猫", "個性的な帽子, パチンコ, フェラーリ",
     "누드톤 립스틱", "outputs/maya/v1/char_lora_v1.safetensors:0.8", "multiple-angles:0.9", "same-sex couple",
     "sex education", "strip of film", "a girl in a bikini", ""],
)  # fmt: skip
def test_innocent_texts_pass_unchanged(text):
    allowed = allow(OFF, text)
    assert allowed == text and isinstance(allowed, Allowed)


@pytest.mark.parametrize(
    "text",
    ["bikini", "lying on bed", "bathing", "spread legs", "tight shorts", "tongue out", "lingerie", "kneeling",
     "wet shirt", "Badeanzug", "sur le lit", "купальник", "泳衣", "水着", "수영복", "n@ked", "h@!r#*d", "ნახატი",
     "наked"],
)  # fmt: skip
def test_the_strict_rules_hold_for_a_minor_and_an_age_not_stated(text):
    for character in (MINOR, UNSTATED):
        with pytest.raises(Refused, match=STRICT):
            allow(character, text)


def test_words_that_say_under_18_bring_the_strict_rules():
    assert allow(OFF, "woman in a bikini") and allow(OFF, "child on a beach")
    with pytest.raises(Refused, match="strict rules hold for words that say under 18"):
        allow(OFF, "12-year-old in a bikini")


@pytest.mark.parametrize(
    "text",
    ["boy playing football", "school uniform, backpack", "12 years old, reading", "red dress, snow",
     "birthday candles", "Kind im Garten", "女の子, 公園"],
)  # fmt: skip
def test_a_minor_can_be_drawn(text):
    assert allow(MINOR, text) == text and allow(UNSTATED, text) == text


@pytest.mark.parametrize("character", [OFF, MINOR, UNSTATED], ids=lambda c: c.age)
def test_the_kits_own_prompts_pass_for_everybody(character):
    texts = [p.text for w in prompts.WORDINGS.values() for p in prompts.model_card(character.subject, w)]
    texts += [p.text for w in prompts.WORDINGS.values() for p in prompts.novel_prompts(character.subject, 200, 1, w)]
    texts += [prompts.edit_prompt(*edit) for edit in prompts.enrichment_plan(14, 1)]
    texts += [prompts.caption(character.subject, outfit=outfit) for outfit in prompts.OUTFITS]
    for text in texts:
        assert allow(character, text)


def test_ratings_are_how_sexual_a_text_is():
    assert {rating(word) for word in ("portrait", "swimsuit", "blood")} == {"general"}
    assert {rating(word) for word in ("lingerie", "seductive")} == {"mature"}
    assert {rating(word) for word in ("nude", "sex")} == {"adult"}
    mature = Character(**MAYA, age="adult", rating="mature")
    assert allow(mature, "lingerie")
    with pytest.raises(Refused, match="asks for adult content and the profile of 'maya' has rating mature"):
        allow(mature, "nude")


def test_a_refusal_names_the_rule_is_logged_and_never_repeats_the_text(caplog):
    with caplog.at_level(logging.WARNING, "flenlib.content"), pytest.raises(Refused) as refused:
        allow(OFF, "nude unmistakable", "caption")
    assert "this caption" in str(refused.value) and "rating adult" in caplog.text
    assert not any(word in caplog.text + str(refused.value) for word in ("nude", "unmistakable"))


@given(st.text())
def test_folding_twice_is_folding_once(text):
    assert fold(fold(text)) == fold(text)
    assert latin(latin(fold(text))) == latin(fold(text))


@given(st.text(st.characters(codec="utf-8"), max_size=300), st.sampled_from([OFF, ON, MINOR, UNSTATED]))
def test_any_text_is_allowed_unchanged_or_refused(character_text, character):
    try:
        assert allow(character, character_text) == character_text
    except Refused as error:
        assert len(str(error).splitlines()) == 1


@given(st.text("nude *#$@4b0-_.\u200b0123456789\u5341\u5c81 ", max_size=200))
def test_dense_disguises_are_read_without_error(text):
    rules.search(text)
