"""What is wrong with the captions of a dataset: findings with a sentence and, where one is known, the mended caption.

An error spoils a training; a warning is for a person to judge. Nothing is changed here.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from flenlib.dataset import caption_rules, captions
from flenlib.dataset.records import ImageRecord
from flenlib.params import Captions, Character

SHARE, FEWEST = 0.8, 5
"""A fragment is suspect in this share of captions, from this many captions on: it stands for the trigger then."""
MANY_TOKENS = 8
"""A trigger of more tokens takes up much of what a text encoder reads."""


@dataclass(frozen=True)
class Captioned:
    """One picture as the lint sees it: its caption, and the angle, framing and concept on record ("" if unknown)."""

    name: str
    caption: str
    angle: str = ""
    framing: str = ""
    concept: str = ""

    @classmethod
    def of(cls, record: ImageRecord) -> Captioned:
        """Return a record as the lint sees it; an estimated angle is not on record."""
        angle = "" if "angle_estimated" in record.extra else record.angle or record.attributes.get("angle", "")
        known = record.attributes
        framing = known.get("framing") or known.get("pose", "")
        return cls(record.filename, record.caption, angle, framing, known.get("domain", ""))


@dataclass(frozen=True)
class Tokens:
    """How a model's text encoder counts: the tokens of a text, and how many it reads."""

    count: Callable[[str], int]
    limit: int


@dataclass(frozen=True)
class Finding:
    """One fault: the rule, the picture ("" if it is of all), a sentence, and the caption that mends it, if known."""

    rule: str
    severity: Literal["error", "warning"]
    picture: str
    sentence: str
    fix: str | None = None


def lint(
    pictures: Sequence[Captioned], character: Character, table: Captions, tokens: Tokens | None = None
) -> list[Finding]:
    """Return the faults of a dataset's captions, errors first; without ``tokens`` no lengths are judged."""
    found = list(_of_the_trigger(character, tokens))
    for picture in pictures:
        found += _of_one(picture, character, table, tokens)
    found += [*_of_all(pictures, character, table), *_of_outfits(pictures, table)]
    return sorted(found, key=lambda finding: finding.severity)


def errors(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings that spoil a training."""
    return [finding for finding in findings if finding.severity == "error"]


def summary(findings: Sequence[Finding]) -> list[str]:
    """Return one line a rule: how often, and the first sentence."""
    count = Counter(finding.rule for finding in findings)
    first = {finding.rule: finding for finding in reversed(findings)}
    return [f"captions, {first[rule].severity}: {count[rule]} x {rule}; {first[rule].sentence}" for rule in count]


def table_of(findings: Sequence[Finding]) -> pd.DataFrame:
    """Return findings as a table to look at."""
    rows = [{"severity": f.severity, "rule": f.rule, "picture": f.picture, "what": f.sentence} for f in findings]
    return pd.DataFrame(rows, columns=["severity", "rule", "picture", "what"])


def _of_the_trigger(character: Character, tokens: Tokens | None) -> Iterator[Finding]:
    trigger = character.trigger
    if trigger.casefold() in caption_rules.word_lists()["ordinary"] | caption_rules.word_lists()["people"]:
        said = f"trigger {trigger!r} is an ordinary word, whose meaning training would overwrite; use {trigger}_char"
        yield Finding("ordinary trigger", "error", "", said)
    count = f" ({tokens.count(trigger)} tokens)" if tokens else ""
    if re.search(r"\d", trigger):
        said = f"trigger {trigger!r}{count} has digits, which are tokens of their own that mean numbers; use letters"
        yield Finding("digits in the trigger", "warning", "", said)
    elif tokens and tokens.count(trigger) > MANY_TOKENS:
        yield Finding("long trigger", "warning", "", f"trigger {trigger!r}{count} is long; a shorter one is enough")


def _of_one(
    picture: Captioned, character: Character, table: Captions, tokens: Tokens | None
) -> Iterator[Finding]:  # fmt: skip
    name, caption, trigger = picture.name, picture.caption, character.trigger
    if not caption.strip():
        yield Finding("missing", "error", name, f"{name} has no caption")
        return
    if "\0" in caption or caption.startswith("\ufeff") or not caption.strip().isprintable():
        what = "NUL characters, as UTF-16 read as UTF-8 has" if "\0" in caption else "line breaks or control characters"
        fix = " ".join("".join(c if c.isprintable() else " " * c.isspace() for c in caption).split())
        yield Finding("control characters", "error", name, f"the caption of {name} holds {what}", fix)
        return
    word = rf"(?<!\w){re.escape(trigger)}(?!\w)"
    count = len(re.findall(word, caption))
    if not count:
        close = " (it is written differently)" if trigger.casefold() in caption.casefold() else ""
        said = f"the caption of {name} has no trigger {trigger!r}{close}"
        yield Finding("no trigger", "error", name, said, captions.with_trigger(caption, character))
    elif count > 1:
        first = re.search(word, caption).end()
        rest = re.sub(rf",?\s*{word}", "", caption[first:])
        said = f"the caption of {name} has the trigger {trigger!r} {count} times"
        yield Finding("trigger repeated", "warning", name, said, caption[:first] + rest)
    elif not re.search(word, re.split(r"[,.;]\s", caption)[0]):
        fix = f"{trigger}, " + re.sub(rf",?\s*{word}", "", caption)
        yield Finding("trigger late", "warning", name, f"the caption of {name} does not begin with the trigger", fix)
    noun = re.search(rf"(?<!\w){re.escape(character.class_noun)}(?!\w)", caption, re.IGNORECASE)
    if table.style != "tags" and not noun:
        said = f"the caption of {name} has no class noun {character.class_noun!r}"
        yield Finding("no class noun", "warning", name, said)
    words = [phrase for kind, phrase in caption_rules.identity_words(caption) if not table.describes(kind)]
    if words:
        said = f"the caption of {name} says who it is ({', '.join(words)}); that is learnt with these words"
        yield Finding("identity words", "warning", name, said, without_identity(caption, character, table))
    yield from _contradictions(picture)
    if tokens and tokens.count(caption) > tokens.limit:
        said = (
            f"the caption of {name} has {tokens.count(caption)} tokens, of which the text encoder reads {tokens.limit}"
        )
        yield Finding("too long", "warning", name, said)
    bodies = picture.concept.endswith(captions.REAL_BODY)
    if bodies and table.body_tag and not re.search(rf"(?<!\w){re.escape(table.body_tag)}(?!\w)", caption):
        fix = re.sub(word, lambda found: f"{found.group()}, {table.body_tag}", caption, count=1)
        said = f"the caption of {name}, a picture of a body, has no tag {table.body_tag!r}"
        yield Finding("no body tag", "warning", name, said, fix)


def without_identity(caption: str, character: Character, table: Captions) -> str:
    """Return a caption without the phrases that say who somebody is; all else stays as it is written."""
    omitted = [kind for kind in caption_rules.IDENTITY if not table.describes(kind)]
    return caption_rules.cut(caption, character, omitted)


_ANGLES = (
    ("back", r"back view|rear view|from behind|facing away"),
    ("profile", r"(left|right)?[ -]?profile([ -](left|right))?( view)?|side view"),
    ("half", r"(half|three[ -]quarters?|3/4)[ -]?(left|right)?( view)|half[ -](left|right)"),
    ("front", r"front view|frontal view|front[ -]facing"),
)
_NEAR, _WHOLE = r"close[ -]?up|head ?shot", r"full[ -]body|full[ -]length"


def _contradictions(picture: Captioned) -> Iterator[Finding]:
    caption, angle = picture.caption.casefold(), picture.angle.casefold()
    recorded = next((kind for kind, words in _ANGLES if kind in angle or re.search(words, angle)), "")
    said = [(kind, match.group()) for kind, words in _ANGLES for match in re.finditer(rf"\b({words})\b", caption)]
    for kind, phrase in said[:1] if recorded else ():
        sides = [{side for side in ("left", "right") if side in words} for words in (phrase, angle)]
        if kind != recorded or (all(sides) and not sides[0] & sides[1]):
            what = f"the caption of {picture.name} says {phrase.strip()!r} and its recorded angle is {picture.angle!r}"
            yield Finding("wrong angle", "error", picture.name, what)
    framing = picture.framing.casefold()
    whole = re.search(_WHOLE, framing) or framing in ("standing", "t-pose")
    near = re.search(_NEAR, framing) or framing == "portrait"
    wrong = re.search(_NEAR if whole else _WHOLE, caption) if whole or near else None
    if wrong:
        what = f"the caption of {picture.name} says {wrong.group()!r} and its recorded framing is {picture.framing!r}"
        yield Finding("wrong framing", "error", picture.name, what)


def _of_all(pictures: Sequence[Captioned], character: Character, table: Captions) -> Iterator[Finding]:
    """Yield what only all captions together show: equal ones, and what stands in nearly all of them."""
    names: defaultdict[str, list[str]] = defaultdict(list)
    for picture in pictures:
        names[picture.caption.strip()].append(picture.name)
    twice = [same for caption, same in names.items() if caption and len(same) > 1]
    if twice:
        first, other, *more = max(twice, key=len)
        also = f" and {len(more)} more" if more else ""
        count = sum(map(len, twice))
        said = f"{count} captions are the same as another's, such as those of {first}, {other}{also}"
        yield Finding("duplicates", "warning", "", said)
    if len(pictures) < FEWEST:
        return
    kinds, fragments = Counter[str](), Counter[str]()
    for picture in pictures:
        found = caption_rules.identity_words(picture.caption)
        kinds.update({kind for kind, _ in found if not table.describes(kind)})
        fragments.update({phrase.casefold() for phrase in caption_rules.phrases(picture.caption, character)})
    for kind, count in kinds.items():
        if count >= SHARE * len(pictures):
            said = (
                f"{count} of {len(pictures)} captions name the {kind.replace('_', ' ')}: the character would be learnt "
                "with these words and not with the trigger"
            )
            yield Finding("identity bound to words", "error", "", said)
    for phrase, count in fragments.items():
        if count >= SHARE * len(pictures):
            said = f"{phrase!r} stands in {count} of {len(pictures)} captions and would be learnt as the trigger is"
            yield Finding("shared fragment", "warning", "", said)


def outfit_counts(pictures: Sequence[Captioned], table: Captions) -> Mapping[str, int]:
    """Return how many captions have the tag of each outfit that the table names."""
    return {
        tag: sum(bool(re.search(rf"(?<!\w){re.escape(tag)}(?!\w)", p.caption)) for p in pictures)
        for tag in table.outfits
    }


def _of_outfits(pictures: Sequence[Captioned], table: Captions) -> Iterator[Finding]:
    for tag, count in outfit_counts(pictures, table).items():
        least, most = table.outfits[tag]
        if not least <= count <= most:
            wanted = str(least) if least == most else f"{least}-{most}"
            yield Finding("outfit count", "warning", "", f"outfit {tag} is in {count} captions; {wanted} are wanted")
