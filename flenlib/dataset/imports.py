"""Finding pictures in a person's folder, naming them, and guessing from names and captions what they show."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from flenlib.dataset import prompts
from flenlib.dataset.captions import read_txt
from flenlib.dataset.records import METADATA, Dataset, ImageRecord

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
UNREAD = (
    ".heic", ".heif", ".avif", ".tif", ".tiff", ".gif", ".jfif", ".jp2", ".jxl", ".psd", ".svg",
    ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2",
)  # fmt: skip
"""Endings of picture files that are not read here."""

_CUT = r"(half|(3 4|three quarters?)) (body|length|figure|shot)"
"""A framing: how much of the body a picture shows. The same words ask for an angle when no such noun follows."""

_NO_ANGLE = rf"{_CUT}|(side|back|front) ?(light(s|ing)?|lit)|in front of|(left|right) (hand|arm|leg|shoulder)"
"""Phrases with the words of an angle that say framing, light, place or limb."""

# Words are looked for in this order, in text whose punctuation became single spaces; the first that fits wins.
_WORDS: dict[str, tuple[tuple[str, str], ...]] = {
    "angle": (
        ("profile-left", "profile left|left profile|left side|side left"),
        ("profile-right", "profile right|right profile|right side|side right"),
        ("half-left", "half left|left half|(3 4|three quarters?) left|left (3 4|three quarters?)"),
        ("half-right", "half right|right half|(3 4|three quarters?) right|right (3 4|three quarters?)"),
        ("back", "back view|from behind|rear view|from the back"),
        ("front", "front|frontal|facing"),
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
    """Return a distinct .png name for each picture, and a sentence for each that had to be renamed to stay distinct.

    ``maya_01.png`` and ``maya_01.jpg`` become ``maya_01.png`` and ``maya_01_jpg.png``; a .png keeps its name before
    others, and upper and lower case count as one name.
    """
    names: dict[Path, str] = {}
    taken: dict[str, Path] = {}
    report = []
    for path in sorted(pictures, key=lambda path: (path.suffix != ".png", path.suffix.lower() != ".png", str(path))):
        stem, number = path.stem, 1
        while f"{stem}.png".casefold() in taken:
            number += 1
            kind = path.suffix[1:].lower()
            stem = f"{path.stem}_{kind}" if number == 2 else f"{path.stem}_{kind}_{number - 1}"
        if number > 1:
            other = taken[f"{path.stem}.png".casefold()]
            report.append(f"{path.name} has the same name as {other.name}: it becomes {stem}.png, both are kept")
        names[path] = f"{stem}.png"
        taken[names[path].casefold()] = path
    return {path: names[path] for path in pictures}, report


def attributes_from_name(path: str | Path) -> dict[str, str]:
    """Guess angle, height, expression, pose, light and background of a picture; what cannot be guessed is left out.

    Asked in turn: the picture's record in a ``metadata.json`` beside it, its caption there or in a .txt, its filename.
    A bare "profile" or "3/4" is taken as left. Raises ValueError for a damaged ``metadata.json`` or caption file.
    """
    path = Path(path)
    guesses = _from_words(path.stem) | _from_words(read_txt(path) or "")
    if record := _record_beside(path):
        guesses |= _from_words(record.caption)
        said = [*record.attributes.items(), ("angle", record.angle), ("expression", record.expression)]
        guesses |= {name: value for name, value in said if value in _CHOICES.get(name, ())}
    return guesses


def caption_beside(path: str | Path) -> str:
    """Return the caption a person gave a picture, in a ``metadata.json`` or else a .txt beside it; "" without one.

    Raises ValueError for a damaged ``metadata.json`` or caption file.
    """
    record = _record_beside(Path(path))
    return (record.caption if record else "") or read_txt(path) or ""


def _record_beside(path: Path) -> ImageRecord | None:
    if not (path.parent / METADATA).is_file():
        return None
    file = (path.parent / METADATA).stat()
    return _dataset(path.parent, file.st_ino, file.st_mtime_ns).find(path.name)


@lru_cache(maxsize=1)
def _dataset(folder: Path, *version: int) -> Dataset:
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
