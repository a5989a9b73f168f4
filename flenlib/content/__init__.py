"""What may be asked for: sexual words, age and consent, checked before anything is loaded."""

from __future__ import annotations

import re
import unicodedata

from flenlib.params import Character

_SEXUAL = re.compile(
    r"\b(nsfw|nude|nudes|nudity|naked|topless|porn\w*|sex|sexual\w*|sexy|erotic\w*|hentai|lingerie|explicit|orgasm\w*|"
    r"genital\w*|nipples?|fetish\w*|undress\w*|seductive\w*|lewd)\b",
    re.IGNORECASE,
)
_MINOR = re.compile(
    r"\b(child|children|childlike|kid|kids|minor|minors|underage\w*|teen|teens|teenage\w*|preteen\w*|toddler\w*|baby|"
    r"infant\w*|boy|boys|girl|girls|schoolgirl\w*|schoolboy\w*|loli\w*|shota\w*|young[- ]looking|"
    r"(?:[1-9]|1[0-7])[- ]?(?:years?|yrs?|y\.?/?o)\b[- ]?(?:old)?|aged? (?:[1-9]|1[0-7])|adolescent\w*|juvenile\w*|"
    r"(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|"
    r"(?:thir|four|fif|six|seven)teen)[- ]years?[- ]old)\b",
    re.IGNORECASE,
)


class Refused(PermissionError):
    """A text that may not be drawn or learnt; the sentence says by which rule and never repeats the text."""


class Allowed(str):
    """A text that `allow` has passed; nothing else reaches a model."""

    __slots__ = ()


def allow(character: Character, text: str, what: str = "prompt") -> Allowed:
    """Return the text if it may be drawn or learnt of this character; otherwise raise Refused.

    ``what`` says what the text is: prompt, caption, instruction, trigger ... Word lists are a first gate before any
    model is loaded, not a promise about what a model draws.
    """
    words = unicodedata.normalize("NFKC", f"{text} {character.class_noun}").replace("_", " ")
    if not _SEXUAL.search(words):
        return Allowed(text)
    if _MINOR.search(words) or character.age == "minor":
        raise Refused(f"refused: this {what} asks for sexual content involving a minor")
    if not character.adult_content:
        raise Refused(
            f"refused: this {what} asks for adult content and the profile of {character.name!r} has adult_content off"
        )
    return Allowed(text)
