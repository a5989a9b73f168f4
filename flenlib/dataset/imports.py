"""Finding pictures in a person's folder, naming them, and guessing from names and captions what they show."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from flenlib.dataset import prompts
from flenlib.dataset.captions import read_txt
from flenlib.dataset.files import printable
from flenlib.dataset.records import METADATA, Dataset, ImageRecord

EXTENSIONS = (
    ".png", ".jpg", ".jpeg", ".jfif", ".webp", ".avif", ".heic", ".heif", ".tif", ".tiff", ".bmp", ".gif",
)  # fmt: skip
UNREAD = (
    ".jp2", ".jxl", ".psd", ".svg", ".eps", ".tga",
    ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2",
)  # fmt: skip
"""Endings of picture files that are not read here."""

LONGEST_STEM = 120
"""Bytes of a name without its ending: steps append what they made of the picture, and file systems take 255."""

_CUT = r"(half|(3 4|three quarters?)) (body|length|figure|shot)"
"""A framing: how much of the body a picture shows. The same words ask for an angle when no such noun follows."""

_THING = r"(light(s|ing)?|lit|tables?|streets?|doors?|yards?|gardens?|windows?|pockets?|seats?|walls?)"
_NO_ANGLE = (
    rf"{_CUT}|(side|back|front) ?{_THING}|in front of|(left|right) (hand|arm|leg|shoulder|ear|eye)"
    rf"|half (a )?smil(e|ing)|\w*({_THING}|sun|sunlight|lamps?|trees?) (is |comes? |coming |standing )?(from|on|at|to) "
    r"(the |her |his |their )?(left|right|side|back|front|behind)( side)?"
)
"""Phrases with the words of an angle that say framing, light, place or limb."""

# Words are looked for in this order, in text whose punctuation became single spaces; the first that fits wins.
_WORDS: dict[str, tuple[tuple[str, str], ...]] = {
    "angle": (
        ("profile-left", "profile left|left profile|left side|side left"),
        ("profile-right", "profile right|right profile|right side|side right"),
        ("half-left", "half left|left half|(3 4|three quarters?) left|left (3 4|three quarters?)"),
        ("half-right", "half right|right half|(3 4|three quarters?) right|right (3 4|three quarters?)"),
        ("back", "back view|from behind|rear view|from the back|facing away"),
        ("front", "front|frontal|facing(?! (left|right|away))"),
        ("profile-left", "profile|side"),
        ("half-right", "right"),
        ("half-left", "left|half|3 4|three quarters?"),
        ("back", "back|behind|rear"),
    ),
    "height": (("high", "high angle|from above"), ("low", "low angle|from below")),
    "expression": (
        ("neutral", "neutral|calm"),
        ("smiling", "smil(e|es|ing)|happy|laugh(s|ing)?|grin(s|ning)?"),
        ("angry", "angry|anger|furious"),
        ("sad", "sad|unhappy|crying"),
    ),
    "pose": (
        ("t-pose", "t pose|tpose"),
        ("sitting", "sitting|seated|sits?"),
        ("standing", "standing|stands?|full ?body"),
        ("portrait", rf"portrait|head ?shot|close ?up|{_CUT}|(upper body|medium) shot|(waist|chest|knees?) up"),
    ),
    "light": (
        ("sunset", "sunset|dusk|golden hour"),
        ("nighttime", "night|nighttime"),
        ("daylight", "daylight|daytime|sunny"),
        ("studio", "studio light(ing)?|studio(?! background)"),
    ),
    "background": (
        ("forest", "forest|woods"),
        ("beach", "beach|seaside"),
        ("urban", "urban|city|street"),
        ("spaceship", "spaceship"),
        ("library", "library"),
        ("desert", "desert"),
        ("studio", "studio background"),
        ("clean", "clean|(plain|white|grey|gray) background"),
    ),
}
_CHOICES = {
    "angle": prompts.ANGLES, "height": prompts.HEIGHTS, "expression": prompts.EXPRESSIONS,
    "pose": prompts.POSES, "light": prompts.LIGHTS, "background": prompts.BACKGROUNDS,
}  # fmt: skip


_NOUNS = {
    "angle": "view", "height": "angle", "light": "light|lighting", "background": "background|backdrop",
    "style": "style",
}  # fmt: skip
"""What a part of a caption ends in when it speaks of an attribute in words that are not among `_WORDS`."""

_PREPOSITION = "(in front of|in|on|at|by|under|before|against|from|with)"


def list_pictures(folder: str | Path) -> list[Path]:
    """Return the picture files of a folder by their extension, sorted by name; hidden files are left out.

    Raises FileNotFoundError for a missing folder, ValueError for a file or a folder without pictures.
    """
    folder = Path(folder)
    if not folder.exists():
        raise FileNotFoundError(f"folder {folder} does not exist; give the folder your pictures are in")
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file; give the folder your pictures are in")
    pictures = _ending_in(folder, EXTENSIONS)
    if not pictures:
        others = _ending_in(folder, UNREAD)
        kinds = ", ".join(sorted({path.suffix.lower() for path in others}))
        has = f" (it has {len(others)} in {kinds}: save them as PNG or JPEG)" if others else ""
        raise ValueError(f"folder {folder} holds no pictures; wanted are files ending in {', '.join(EXTENSIONS)}{has}")
    return pictures


def list_unread(folder: str | Path) -> list[Path]:
    """Return the picture files of a folder that are in formats not read here, sorted by name."""
    return _ending_in(Path(folder), UNREAD)


def _ending_in(folder: Path, extensions: Sequence[str]) -> list[Path]:
    found = [p for p in folder.iterdir() if p.suffix.lower() in extensions and p.name[0] != "." and p.is_file()]
    return sorted(found, key=lambda path: (path.name.casefold(), path.name))


def new_names(pictures: Sequence[Path]) -> tuple[dict[Path, str], list[str]]:
    """Return a distinct, plain .png name for each picture, and a sentence for each that had to be renamed for it.

    ``maya_01.png`` and ``maya_01.jpg`` become ``maya_01.png`` and ``maya_01_jpg.png``; a .png keeps its name before
    others, and upper and lower case count as one name. Backslashes and what cannot be printed become ``_``; of a name
    longer than `LONGEST_STEM` the end gives way to a hash of the whole.
    """
    names: dict[Path, str] = {}
    taken: dict[str, Path] = {}
    report = []
    for path in sorted(pictures, key=lambda path: (path.suffix != ".png", path.suffix.lower() != ".png", str(path))):
        plain = stem = _plain(path.stem)
        number = 1
        while f"{stem}.png".casefold() in taken:
            number += 1
            kind = path.suffix[1:].lower()
            stem = f"{plain}_{kind}" if number == 2 else f"{plain}_{kind}_{number - 1}"
        name = printable(path.name)
        if number > 1:
            other = printable(taken[f"{plain}.png".casefold()].name)
            report.append(f"{name} has the same name as {other}: it becomes {stem}.png, both are kept")
        elif stem != path.stem:
            report.append(f"{name} is too long or has characters no file name should have: it becomes {stem}.png")
        names[path] = f"{stem}.png"
        taken[names[path].casefold()] = path
    return {path: names[path] for path in pictures}, report


def _plain(stem: str) -> str:
    plain = "".join(c if c.isprintable() and c != "\\" else "_" for c in stem)
    if len(plain.encode()) <= LONGEST_STEM:
        return plain
    mark = f"_{hashlib.sha256(os.fsencode(stem)).hexdigest()[:8]}"
    return plain.encode()[: LONGEST_STEM - len(mark)].decode(errors="ignore") + mark


def check_beside(folder: str | Path) -> None:
    """Raise ValueError for a damaged ``metadata.json`` in a folder of pictures, which may describe all of them."""
    _dataset_in(Path(folder))


def attributes_from_name(path: str | Path) -> dict[str, str]:
    """Guess angle, height, expression, pose, light and background of a picture; what cannot be guessed is left out.

    Asked in turn: the picture's record in a ``metadata.json`` beside it, its caption there or in a .txt, its filename.
    A bare "profile" or "3/4" is taken as left. Raises ValueError for a damaged ``metadata.json`` or caption file.
    """
    path = Path(path)
    guesses = _from_words(path.stem) | _from_words(read_txt(path) or "")
    if record := record_beside(path):
        guesses |= _from_words(record.caption)
        said = [*record.attributes.items(), ("angle", record.angle), ("expression", record.expression)]
        guesses |= {name: value for name, value in said if value in _CHOICES.get(name, ())}
    return guesses


def changed(caption: str, attribute: str, words: str) -> str:
    """Return a person's caption as it is after an edit: what it says of one attribute gives way to other words.

    Parts between commas that speak of the attribute go. Of the first part, which names the character, only the phrase
    goes: "photo of maya on a beach, in a red dress" with the background "forest background" becomes "photo of maya, in
    a red dress, forest background".
    """
    known = "|".join(pattern for _, pattern in _WORDS.get(attribute, ())) or "(?!)"
    phrase = rf"( {_PREPOSITION}( (an?|the))?( \w+)?)? ({known})( ({_NOUNS[attribute]}))?(?= {_PREPOSITION}\b|$)"
    first, *parts = (part.strip() for part in caption.split(","))
    first = re.sub(phrase, "", first, flags=re.IGNORECASE)
    ends = re.compile(rf"\b({_NOUNS[attribute]})$", re.IGNORECASE)
    kept = [part for part in parts if attribute not in _from_words(part) and not ends.search(part)]
    return ", ".join(filter(None, [first, *kept, words]))


def caption_beside(path: str | Path) -> str:
    """Return the caption a person gave a picture, in a ``metadata.json`` or else a .txt beside it; "" without one.

    Raises ValueError for a damaged ``metadata.json`` or caption file.
    """
    record = record_beside(Path(path))
    return (record.caption if record else "") or read_txt(path) or ""


def record_beside(path: Path) -> ImageRecord | None:
    """Return the record of a picture in the ``metadata.json`` beside it. Raises ValueError for a damaged one."""
    dataset = _dataset_in(path.parent)
    return dataset.find(path.name) if dataset else None


def _dataset_in(folder: Path) -> Dataset | None:
    file = folder / METADATA
    if not file.is_file():
        return None
    state = file.stat()
    return _read_once(folder, state.st_ino, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=1)
def _read_once(folder: Path, *version: int) -> Dataset:
    """Read a dataset once for all pictures beside it; ``version`` tells one state of its file from another."""
    return Dataset.open(folder)


def _from_words(text: str) -> dict[str, str]:
    text = re.sub(r"[\W_]+", " ", text.lower())
    guesses = {}
    for name, words in _WORDS.items():
        said = re.sub(rf"\b({_NO_ANGLE})\b", ",", text) if name == "angle" else text
        for value, pattern in words:
            if re.search(rf"\b({pattern})\b", said):
                guesses[name] = value
                break
    return guesses
