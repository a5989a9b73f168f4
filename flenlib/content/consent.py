"""Of whom anything may be made: ratings by age and kind, consent on record, and consent taken back."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

from flenlib.content.refusal import refuse
from flenlib.params import Character


def admit(character: Character, root: Path | None = None) -> None:
    """Raise Refused unless pictures and LoRAs of this character may be made.

    A real person needs a consent statement; one dated later than a withdrawal counts again. ``root`` is the folder that
    holds ``data/``, where `withdraw` leaves its note; without it only the profile is looked at.
    """
    name, consent = character.name, character.consent
    if character.rating != "general" and character.age != "adult":
        raise refuse(
            f"character {name!r} is {_AGES[character.age]}: rating {character.rating} is for a character stated adult; "
            "write rating: general",
            "rating and age",
        )
    if character.rating == "adult" and character.kind == "real":
        raise refuse(
            f"character {name!r} is a real person: rating adult is for fictional characters; write rating: general",
            "rating and kind",
        )
    if character.kind == "real" and consent is None:
        raise refuse(
            f"character {name!r} is a real person without consent on record; write who consented, to what, when, and "
            "recorded_by whom into the profile's 'consent' before anything is generated or trained",
            "consent",
        )
    ended = [day for day in (consent and consent.withdrawn, root and withdrawn(root, name)) if day]
    if ended and not (consent and consent.when > max(ended)):
        raise refuse(
            f"the consent for character {name!r} was withdrawn on {max(ended)}: nothing is made, drawn or trained; "
            "python -m flenlib.content withdraw PARAMS lists what to delete",
            "withdrawn consent",
        )


_AGES = {"minor": "a minor", "unstated": "of an age that is not stated"}


def note(root: Path, name: str) -> Path:
    """Return where a withdrawal is noted for every params file of a character: beside its folder, which is deleted."""
    return root / "data" / f"{name}.consent_withdrawn.json"


def withdrawn(root: Path, name: str) -> str | None:
    """Return the day a character's consent was withdrawn, or None; a note that cannot be read counts from today."""
    path = note(root, name)
    if not path.exists():
        return None
    try:
        return date.fromisoformat(json.loads(path.read_text(encoding="utf-8"))["withdrawn"]).isoformat()
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return date.today().isoformat()
