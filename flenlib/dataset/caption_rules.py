"""The editing rules of captions: a description in a person's or a model's words becomes one that teaches the trigger.

What a phrase speaks of is looked up in ``caption_words.yaml``; the table in the settings says what is kept. Nothing
here changes a file: `edit` proposes, and says what it left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from flenlib.params import Captions, Character

IDENTITY = ("hair", "facial_hair", "glasses", "makeup", "eyes", "skin", "age", "face", "figure")
"""The categories of words that say who somebody is, and not what a picture shows of them."""
ORDER = ("framing", "outfit", "background", "expression", "pose", "light", "camera", "other", *IDENTITY)
"""The parts of a caption of tags, first to last, after the trigger."""

Parts = Sequence[Sequence[tuple[str, str]]]
"""A text as its parts between commas and full stops, each as phrases with their category."""

_PLACES = r"in front of|in|on|at|against|by|near|inside|outside|under|beside|behind|amid|surrounded by|through"
_STARTS = rf"wearing|dressed in|clad in|with|featuring|showing|creating|while|who|against|{_PLACES}"
_VERBS = (
    r"(?:(?:is|are|has|have|was|appears to be|seems to be) )?(?:wearing|wears|dressed|standing|stands|sitting|sits|"
    r"looking|looks|smiling|smiles|holding|holds|leaning|leans|walking|walks|posing|poses|kneeling|gazing|gazes|"
    r"running|lying|facing|captured|shown|lit|has|have|is)"
)
_CUT = re.compile(rf"\s(?=(?:{_STARTS}|{_VERBS}|and (?:she|he|they|her|his)|of an?|of the)\s)", re.IGNORECASE)
_HOLDS_ON = re.compile(
    r"\b((looking|looks|glancing|gazing|gazes|staring|smiling|smiles|turned|back|blurred)( \w+ly)?|^(shot|taken))$",
    re.I,
)
_SETTING = re.compile(
    r"^(?:the )?(?:background|setting|scene)(?: (?:is|shows|features|appears to be)\s|$)", re.IGNORECASE
)
_VERB = re.compile(r"^(?:(?:is|are) )?(?:wearing|wears|has|have|with)\b", re.IGNORECASE)
_LEAD = re.compile(
    r"^(?:(?:and|or|but|while|who|which|that|also|of|the image|this image|the photo|this|it|there|she|he|they|her|his|"
    r"their|is|are|was|has|have|with|featuring|shows|showing|depicts|features|appears to be|seems to be|creating|a|an|"
    r"the)\s+)+",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Edited:
    """A caption before and after the rules, and what they left out as (category, words)."""

    before: str
    after: str
    removed: tuple[tuple[str, str], ...]


@cache
def word_lists() -> dict[str, frozenset[str]]:
    """Return the lists beside the categories: people, details, ordinary."""
    return {name: frozenset(map(str, words)) for name, words in _read().items() if name != "categories"}


@cache
def _read() -> dict:
    return yaml.safe_load(Path(__file__).with_name("caption_words.yaml").read_text(encoding="utf-8"))


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((name.removesuffix("_action"), _any(words)) for name, words in _read()["categories"].items())


def _any(words: Sequence[str]) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(_word, words))})", re.IGNORECASE)


def _word(word: str) -> str:
    if word.endswith("*"):
        return re.escape(word[:-1])
    last = r"$" if word.endswith("$") else r"(?:e?s)?(?!\w)"
    return re.escape(word.rstrip("$")).replace(r"\ ", r"[\s-]").replace(r"\-", r"[\s-]") + last


def category(phrase: str) -> str:
    """Return what a phrase speaks of: a category of the word lists, "people", or "other" for what no list has."""
    if re.search(r"\b\d+ ?mm\b|\bf/\d", phrase):
        return "camera"
    for name, pattern in _patterns():
        if pattern.search(phrase):
            return name
    words = {word.casefold() for word in re.findall(r"[^\W\d_]+", phrase)}
    return "people" if words & word_lists()["people"] else "other"


def identity_words(caption: str) -> list[tuple[str, str]]:
    """Return the (category, phrase) pairs of a caption that say who somebody is."""
    found = ((category(phrase), phrase) for part in _parts(caption) for phrase in _phrases(part))
    return [(name, phrase.strip(" .")) for name, phrase in found if name in IDENTITY]


def edit(text: str, character: Character, table: Captions) -> Edited:
    """Return a description as a caption of the character, by the table and in the style of the settings.

    "A woman with long brown hair and blue eyes wearing a red dress" becomes "grace_char, wearing red dress". In the
    style of sentences, or of the template, phrases are taken out and the rest stays as it is.
    """
    text = " ".join(text.split())
    parts = [[(category(_bare(p, character)), p) for p in _phrases(part)] for part in _parts(text)]

    def keeps(name: str) -> bool:
        return name == "other" or table.describes(name)

    removed = [(name, p.strip(" .,")) for part in parts for name, p in part if not keeps(name) and p.strip(" .")]
    after = (_tags if table.style == "tags" else _sentences)(parts, character, keeps)
    gone = tuple((name, words) for name, words in removed if name != "people")
    return Edited(text, after, gone)


def cut(caption: str, character: Character, omitted: Collection[str]) -> str:
    """Return a caption without the phrases of some categories; all else stays as it is written."""
    parts = [[(category(_bare(p, character)), p) for p in _phrases(part)] for part in _parts(caption)]
    return _sentences(parts, character, lambda name: name not in omitted)


def phrases(caption: str, character: Character) -> list[str]:
    """Return what a caption says, phrase by phrase, without the character and the words before."""
    found = [
        re.sub(r"\s+of$", "", _bare(phrase, character).strip(" ."))
        for part in _parts(caption)
        for phrase in _phrases(part)
    ]
    return [phrase for phrase in found if not _empty(phrase) and category(phrase) not in ("people", "quality")]


def _tags(parts: Parts, character: Character, keeps: Callable[[str], bool]) -> str:
    slots: dict[str, list[str]] = {}
    for name, phrase in (pair for part in parts for pair in part):
        words = _LEAD.sub("", f"{_bare(phrase, character).strip(' .')} ").strip()
        if keeps(name) and words:
            slots.setdefault(name, []).append(_shaped(name, words))
    if "outfit" in slots:
        slots["outfit"] = [f"wearing {' and '.join(dict.fromkeys(slots['outfit']))}"]
    found = dict.fromkeys(words for name in ORDER for words in slots.get(name, ()))
    return ", ".join([character.trigger, *found])


def _shaped(name: str, words: str) -> str:
    """Return a phrase as tags say it: an outfit without its verb, a place as a background, no needless adjectives."""
    if name == "outfit":
        words = re.sub(r"^(?:wearing|wears|dressed in|clad in|in)\s+", "", words, flags=re.IGNORECASE)
    if name == "background":
        words = _SETTING.sub("", words)
    if name in ("background", "framing", "expression", "outfit"):
        words = re.sub(rf"^(?:{_PLACES}|to|with)\s+", "", words, flags=re.IGNORECASE)
        words = re.sub(r"\b(?:an?|the|her|his|their)\s+", "", words, flags=re.IGNORECASE)
        words = " ".join(w for w in words.split() if w.casefold().strip(",") not in word_lists()["details"])
    if name == "background" and not re.search(r"background|backdrop|setting|environment|scene|(in|out)doors?\b", words):
        words += " background"
    return words


def _sentences(parts: Parts, character: Character, keeps: Callable[[str], bool]) -> str:
    made: list[str] = []
    for part in parts:
        kept, verb = list[str](), ""
        for name, words in part:
            if keeps(name) or name == "people" or (name == "quality" and not made and not kept):
                kept.append(re.sub(r"^and\b", verb, words) if verb else words)
                verb = ""
            elif found := _VERB.match(words):
                verb = found.group()
        if not all(map(_empty, kept)):
            stop = "." if part[-1][1].rstrip().endswith(".") else ""
            made.append(" ".join(words.strip(" .,") for words in kept) + stop)
    text = re.sub(r"\.,\s", ". ", ", ".join(made))
    return _named(re.sub(r"\s+([.,])", r"\1", text), character)


def _named(text: str, character: Character) -> str:
    """Return a text with the character in place of the first "a tall woman", or with the trigger in front."""
    if re.search(rf"(?<!\w){re.escape(character.trigger)}(?!\w)", text):
        return text
    nouns = "|".join(sorted({"woman", "man", "girl", "boy", "person", "lady", re.escape(character.class_noun)}))
    whom = rf"\b(?:an?|the) (?:(?!of )[\w-]+ ){{0,3}}?(?:{nouns})(?!\w)"
    named, count = re.subn(whom, lambda _: character.subject, text, count=1, flags=re.IGNORECASE)
    return named if count else f"{character.trigger}, {text}"


def _empty(words: str) -> bool:
    """Say whether a phrase has nothing but a pronoun or a verb."""
    return not _LEAD.sub("", f"{words.strip(' .,')} ").strip()


def _bare(phrase: str, character: Character) -> str:
    return re.sub(rf"(?<!\w){re.escape(character.trigger)}(?: {re.escape(character.class_noun)})?(?!\w)", "", phrase)


def _parts(text: str) -> list[str]:
    """Return the parts of a text between commas, semicolons and the ends of sentences, full stops kept."""
    return [part for part in re.split(r",\s*|;\s*|(?<=[.!?])\s+", text) if part.strip(" .")]


def _phrases(part: str) -> Iterator[str]:
    """Yield the phrases of a part: cut before verbs and prepositions, and at an "and" between unlike things."""
    pieces: list[str] = []
    for piece in _CUT.split(part):
        held = pieces and _HOLDS_ON.search(pieces[-1]) and not re.match(r"with|wearing", piece, re.IGNORECASE)
        held = held or (pieces and _SETTING.fullmatch(pieces[-1]))
        placed = pieces and re.match(_PLACES, piece) and category(piece) == "other" and category(pieces[-1]) == "pose"
        if held or placed:
            pieces[-1] += f" {piece}"
        else:
            pieces.append(piece)
    for piece in pieces:
        left, *rest = re.split(r"\s(?=and\s)", piece)
        for more in rest:
            kinds = {category(left), category(more)}
            if len(kinds) == 2 and not kinds & {"other", "people"}:
                yield left
                left = more
            else:
                left += f" {more}"
        yield left
