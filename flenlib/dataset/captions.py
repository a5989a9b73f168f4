"""Captions: built from what is known of a picture, and kept as .txt beside the image.

`caption_rules` edits descriptions, `caption_lint` says what is wrong with captions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from flenlib.dataset import prompts
from flenlib.dataset.files import write_atomic
from flenlib.dataset.records import ImageRecord
from flenlib.params import Captions, Character

TEMPLATE = Captions(style="template", light="describe")
"""The form of the process document: "photo of ohwx_char person, smiling, front view"."""
REAL_BODY = "realbody"
"""The ``domain`` of a picture of a body without the face; its caption has the table's tag for it."""

_PARTS = ("angle", "expression", "pose", "height", "background", "light", "outfit", "style")
_TABLE = {"height": "angle"}
"""Which row of the table decides on a part that has none of its own."""
_SHOTS = {
    "portrait": "portrait", "close-up": "close-up portrait", "waist-up": "waist-up shot",
    "half body": "half-body shot", "full body": "full body shot", "over-shoulder": "over-shoulder shot",
}  # fmt: skip
"""What a framing is called in a caption; any other is written as it is."""
_CHOICES = {
    "angle": prompts.ANGLES, "height": prompts.HEIGHTS, "expression": prompts.EXPRESSIONS,
    "background": prompts.BACKGROUNDS, "light": prompts.LIGHTS,
}  # fmt: skip
_ARTICLE = re.compile(r"(an?|the|some)\b", re.IGNORECASE)


def build(character: Character, picture: ImageRecord | Mapping[str, str | None], table: Captions = TEMPLATE) -> str:
    """Return the caption of a record, or of its attributes, in the style of the table and with what it describes.

    Tags are ``[trigger], [framing], [clothing], [background type], [expression], [pose]``; sentences say the same in
    one. Values may be of the vocabulary of `prompts` or, but for the template, a plan's own words. What is not known
    is not mentioned. Raises ValueError, for the template, for a value outside the vocabulary.
    """
    if isinstance(picture, ImageRecord):
        own = {"angle": picture.angle, "expression": picture.expression}
        picture = picture.attributes | {name: value for name, value in own.items() if value}
    given = {name: value for name, value in picture.items() if value}
    known = {name: value for name, value in given.items() if name == "style" or table.describes(_TABLE.get(name, name))}
    if table.style == "template":
        known = {part: known[part] for part in _PARTS if part in known}
        return prompts.caption(character.subject, angle=known.pop("angle", None), **known)
    parts = _said(known, table.describes("framing"))
    worn = outfit_of(given, table)
    if worn and table.style == "tags":
        parts["outfit"] = ""
    tags = [worn, table.body_tag if given.get("domain") == REAL_BODY else ""]
    return _in_tags(character, tags, parts) if table.style == "tags" else _in_a_sentence(character, tags, parts)


def outfit_of(picture: Mapping[str, str | None], table: Captions) -> str:
    """Return the tag of the outfit a picture shows, of those the table names; "" for any other."""
    worn = re.sub(r"[\W_]+", " ", picture.get("outfit") or "").casefold().strip()
    return next((tag for tag in table.outfits if tag.replace("_", " ").casefold() == worn), "")


def _said(known: Mapping[str, str], told: bool) -> dict[str, str]:
    """Return what captions say of each part, from a plan's words or the vocabulary's; the framing if it is ``told``."""
    pose, framing = known.get("pose", ""), known.get("framing", "")
    if not framing and pose in prompts.POSES:
        framing = "portrait" if pose == "portrait" else "full body"
    if pose in prompts.POSES:
        pose = prompts.POSE_WORDS.get(pose, "")
    parts = {"framing": _SHOTS.get(framing, framing) if told else "", "pose": pose, "style": known.get("style", "")}
    for part in ("angle", "height", "expression", "background", "light"):
        value = known.get(part, "")
        choices = _CHOICES[part]
        parts[part] = words_of(part, value) if value in choices else value
    if parts["angle"] and not re.search(r"\b(view|shot|profile|angle|behind)\b", parts["angle"]):
        parts["angle"] += " view"
    if parts["background"] and not re.search(r"background|setting|environment|backdrop|doors?$", parts["background"]):
        parts["background"] += " background"
    parts["outfit"] = known.get("outfit", "").removeprefix("wearing ")
    return parts


def _in_tags(character: Character, tags: Sequence[str], parts: Mapping[str, str]) -> str:
    outfit = f"wearing {parts['outfit']}" if parts["outfit"] else ""
    order = ("background", "expression", "pose", "light", "style")
    said = [parts["framing"], parts["angle"], parts["height"], outfit, *(parts[name] for name in order)]
    return ", ".join(dict.fromkeys(filter(None, [character.trigger, *tags, *said])))


def _in_a_sentence(character: Character, tags: Sequence[str], parts: Mapping[str, str]) -> str:
    worn, body = tags
    outfit = worn or (_with_article(parts["outfit"]) if parts["outfit"] else "")
    expression = parts["expression"]
    if re.search(r"(expression|smile|mood|look|gaze|grin)$", expression):
        expression = f"with {_with_article(expression)}"
    place = f"in front of {_with_article(parts['background'])}" if parts["background"] else ""
    light = f"in {parts['light']}" if parts["light"] else ""
    style = f"as {_with_article(parts['style'])}" if parts["style"] not in ("", "photo") else ""
    said = [body, parts["pose"], expression, parts["angle"], parts["height"], place, light, style]
    begin = f"{_with_article(parts['framing'] or 'photo')} of {character.subject}{f' wearing {outfit}' * bool(outfit)}"
    return f"{begin[0].upper()}{begin[1:]}{''.join(f', {each}' for each in said if each)}."


def _with_article(words: str) -> str:
    """Return a phrase with "a" or "an" unless it has an article, or its first noun is a plural."""
    first = re.split(r" and |,", words)[0]
    if _ARTICLE.match(words) or re.search(r"[^s]s$", first):
        return words
    return f"{'an' if words[0].lower() in 'aeiou' else 'a'} {words}"


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
    content = path.read_bytes()
    if content[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in content:
        raise ValueError(f"caption file {path} is UTF-16 text, or no text at all; save it again as UTF-8")
    try:
        return content.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ValueError(f"caption file {path} is not UTF-8 text; save it again as UTF-8") from None
