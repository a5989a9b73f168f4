"""What may be asked for: sexual words, age and consent, checked before anything is loaded.

`allow` is the one function that every entrance calls; what it has passed is an `Allowed`. The rules are data, one
file a language in ``lists/``. Word lists are a first gate, not a promise about what a model draws.
"""

from __future__ import annotations

from flenlib.content import opinion
from flenlib.content.consent import admit
from flenlib.content.refusal import Refused, refuse
from flenlib.content.rules import search
from flenlib.params import Character
from flenlib.words import RATINGS, Rating

__all__ = ["Allowed", "Refused", "admit", "allow", "rating"]


class Allowed(str):
    """A text that `allow` has passed; nothing else reaches a model."""

    __slots__ = ()


def allow(character: Character, text: str, what: str = "prompt") -> Allowed:
    """Return the text if it may be drawn or learnt of this character; otherwise raise Refused.

    ``what`` says what the text is: prompt, caption, instruction, trigger ... The strict rules hold for a character who
    is not stated adult and for a text that says somebody is under 18: words of body, clothing and pose that are
    harmless otherwise are refused there, and so is what cannot be read. What the rules pass is shown to the profile's
    ``second_opinion``, where it names one.
    """
    admit(character)
    found = search(f"{text} \u2028 {character.class_noun}")
    if "abuse" in found.tags or (found.rating != "general" and (found.young or character.age == "minor")):
        raise refuse(f"refused: this {what} asks for sexual content involving a minor", "sexual content and minors")
    if character.age != "adult" or found.minor:
        whom = {"adult": "words that say under 18", "minor": "a minor", "unstated": "an age that is not stated"}
        why = f"the strict rules hold for {whom[character.age]}"
        if found.rating != "general" or "strict" in found.tags:
            raise refuse(f"refused: this {what} has words of body, clothing or pose, and {why}", "strict words")
        if found.unread and character.age != "adult":
            raise refuse(f"refused: this {what} has words that cannot be read, and {why}", "strict, unread")
    if RATINGS.index(found.rating) > RATINGS.index(character.rating):
        raise refuse(
            f"refused: this {what} asks for {found.rating} content and the profile of {character.name!r} has "
            f"rating {character.rating}",
            f"rating {found.rating}",
        )
    if character.second_opinion:
        opinion.ask(character.second_opinion, text, what)
    return Allowed(text)


def rating(text: str) -> Rating:
    """Return how sexual a text is: general, mature (suggestive) or adult (explicit)."""
    return search(text).rating
