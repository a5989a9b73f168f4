"""Captions: built from what is known of a picture, checked before training, kept as .txt beside the image."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from flenlib.dataset import prompts
from flenlib.dataset.files import write_atomic
from flenlib.dataset.records import ImageRecord
from flenlib.params import Character

MAXIMUM_TOKENS = 75
"""Words and punctuation marks of a caption; CLIP reads 77 tokens with its start and end marks."""

_PARTS = ("angle", "expression", "pose", "height", "background", "light", "outfit", "style")


def build(character: Character, picture: ImageRecord | Mapping[str, str | None]) -> str:
    """Return the caption of a record, or of its attributes, with the character's trigger and class noun.

    What is not known is not mentioned. Raises ValueError for a value outside the vocabulary.
    """
    if isinstance(picture, ImageRecord):
        own = {"angle": picture.angle, "expression": picture.expression}
        picture = picture.attributes | {name: value for name, value in own.items() if value}
    known = {part: word for part in _PARTS if (word := picture.get(part))}
    return prompts.caption(character.subject, angle=known.pop("angle", None), **known)


def words_of(attribute: str, value: str) -> str:
    """Return how a caption says one attribute, such as ``sunset light``; "" for what goes without saying."""
    if attribute == "style":
        return value
    return prompts.caption("", **{"angle": None, attribute: value}).partition(", ")[2]  # type: ignore[arg-type]


def has_trigger(caption: str, character: Character) -> bool:
    """Say whether a caption holds the character's trigger as a word; without it nothing is learnt under that name."""
    return _triggers(caption, character.trigger) > 0


def with_trigger(caption: str, character: Character) -> str:
    """Return a caption as it is written, with the trigger added where it has none.

    "A woman in a red dress" becomes "ohwx_char woman in a red dress": the first "a person" or "the <class noun>" gives
    way to the character. Where there is no such noun, the trigger goes in front.
    """
    if has_trigger(caption, character):
        return caption
    nouns = "|".join(map(re.escape, ("person", character.class_noun)))
    named, count = re.subn(
        rf"\b(an?|the) ({nouns})(?!\w)", lambda _: character.subject, caption, count=1, flags=re.IGNORECASE
    )
    return named if count else f"{character.trigger}, {caption}"


def renamed(caption: str, before: str, character: Character) -> str:
    """Return a caption of the subject ``before``, such as ``"ohwx_char person"``, with the character's own name."""
    names = {before: character.subject, before.split()[0]: character.trigger}
    for old in names:
        caption = re.sub(rf"(?<!\w){re.escape(old)}(?!\w)", lambda found: names[found.group()], caption)
    return caption


def lint(caption: str, character: Character) -> list[str]:
    """Return what is odd about a caption, one short sentence each.

    Nothing is rewritten, and only a caption without the trigger cannot be trained on.
    """
    if not caption.strip():
        return ["the caption is empty"]
    found = []
    triggers = _triggers(caption, character.trigger)
    if triggers == 0:
        close = character.trigger.casefold() in caption.casefold()
        found.append(f"trigger {character.trigger!r} is missing" + (" (written differently)" if close else ""))
    elif triggers > 1:
        found.append(f"trigger {character.trigger!r} is there {triggers} times")
    if not re.search(rf"(?<!\w){re.escape(character.class_noun)}(?!\w)", caption, re.IGNORECASE):
        found.append(f"class noun {character.class_noun!r} is missing")
    tokens = len(re.findall(r"\w+|[^\w\s]", caption))
    if tokens > MAXIMUM_TOKENS:
        found.append(f"too long: {tokens} words and marks, at most {MAXIMUM_TOKENS} are read")
    if "\n" in caption.strip() or (not caption.isprintable() and "\n" not in caption):
        found.append("it holds line breaks or control characters")
    return found


def _triggers(caption: str, trigger: str) -> int:
    return len(re.findall(rf"(?<!\w){re.escape(trigger)}(?!\w)", caption))


def write_txt(image: str | Path, caption: str) -> Path:
    """Write a caption to the .txt beside an image, as trainers expect it, and return that path."""
    path = Path(image).with_suffix(".txt")
    write_atomic(path, f"{caption.strip()}\n".encode())
    return path


def read_txt(image: str | Path) -> str | None:
    """Return the caption in the .txt beside an image, or None without one. Raises ValueError if it is not UTF-8."""
    path = Path(image).with_suffix(".txt")
    if not path.is_file():
        return None
    try:
        return path.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ValueError(f"caption file {path} is not UTF-8 text; save it again as UTF-8") from None
