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


def check_prompt(character: Character, prompt: str) -> str:
    """Return the prompt if it may be drawn of this character; otherwise raise PermissionError saying why.

    Word lists are a first gate before any model is loaded, not a promise about what a model draws.
    """
    words = unicodedata.normalize("NFKC", f"{prompt} {character.class_noun}").replace("_", " ")
    sexual = _SEXUAL.search(words)
    if not sexual:
        return prompt
    minor = _MINOR.search(words)
    if minor or character.age == "minor":
        raise PermissionError(f"refused: prompt {prompt!r} asks for sexual content involving a minor")
    if not character.adult_content:
        raise PermissionError(
            f"refused: prompt {prompt!r} asks for adult content ({sexual.group()!r}) and the profile of "
            f"{character.name!r} has adult_content off"
        )
    return prompt
