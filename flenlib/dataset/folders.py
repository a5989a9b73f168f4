"""Folders other trainers use: kohya's repeats folders, with captions beside the pictures.

maya/40_maya_char/001.png  001.txt        drawn 40 times an epoch
maya/20_maya_char_realbody/001.jpg ...    drawn 20 times an epoch
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from flenlib.dataset.captions import read_txt
from flenlib.dataset.imports import list_pictures


@dataclass(frozen=True)
class Item:
    """One picture to learn, with its caption, how often an epoch draws it, and the concept its folder names."""

    image: Path
    caption: str
    repeats: int
    concept: str


def read_repeats(folder: str | Path, trigger: str) -> list[Item]:
    """Return the pictures of every ``<number>_<concept>`` folder inside ``folder``, sorted by folder and name.

    An empty ``trigger`` is not looked for: pictures of the class alone have none.
    Raises FileNotFoundError for a missing folder, and ValueError in one sentence for a folder without a number, a
    picture that is in no such folder, two pictures with one caption file, and a caption that is missing, empty, not
    UTF-8 or without the trigger.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"folder {folder} does not exist; give the one that holds folders such as 10_name")
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not inside:
        raise ValueError(f"{folder} holds no folders; put the pictures into one such as {folder.name}/10_{folder.name}")
    loose = [path.name for path in _pictures(folder)]
    if loose:
        raise ValueError(f"{folder} holds {few(loose)} outside any folder such as 10_name; move it into one")
    items = []
    for path in inside:
        repeats, concept = _name(path)
        pictures = list_pictures(path)
        _one_caption_each(pictures)
        captions = [(picture, read_txt(picture)) for picture in pictures]
        items += [Item(p, text, repeats, concept) for p, text in check_captions(captions, trigger, "a .txt beside it")]
    return items


def mix(items: Sequence[Item]) -> pd.DataFrame:
    """Return a row for each concept: pictures, repeats, pictures drawn an epoch, and its fraction of the epoch."""
    frame = pd.DataFrame([{"concept": item.concept, "repeats": item.repeats} for item in items])
    table = frame.groupby(["concept", "repeats"], sort=False).size().rename("pictures").reset_index()
    table["drawn"] = table["pictures"] * table["repeats"]
    table["share"] = (table["drawn"] / table["drawn"].sum()).round(3)
    return table.set_index("concept")[["pictures", "repeats", "drawn", "share"]]


def _name(path: Path) -> tuple[int, str]:
    found = re.fullmatch(r"(\d+)_(.+)", path.name)
    if not found:
        raise ValueError(
            f"folder {path} does not begin with a number and an underscore; name it such as 10_{path.name}, for ten "
            "repeats, or take it out"
        )
    repeats = int(found.group(1))
    if repeats < 1:
        raise ValueError(f"folder {path} asks for {repeats} repeats; name it with at least 1, or take it out")
    return repeats, found.group(2)


def _pictures(folder: Path) -> list[Path]:
    try:
        return list_pictures(folder)
    except ValueError:
        return []


def _one_caption_each(pictures: Sequence[Path]) -> None:
    seen: dict[Path, Path] = {}
    for picture in pictures:
        other = seen.setdefault(picture.with_suffix(""), picture)
        if other != picture:
            raise ValueError(f"{picture} and {other.name} would share one caption file; rename one of them")


def check_captions(
    captions: Collection[tuple[Path, str | None]], trigger: str, wanted: str
) -> list[tuple[Path, str]]:  # fmt: skip
    """Return (picture, caption) pairs when every picture has a caption and every caption the trigger, as a word.

    An empty ``trigger`` is not looked for. Raises ValueError naming the pictures and what is ``wanted``.
    """
    written = [(picture, (caption or "").strip()) for picture, caption in captions]
    without = [picture for picture, caption in written if not caption]
    if without:
        raise ValueError(f"{without[0].parent}: {few([p.name for p in without])} without a caption; write {wanted}")
    word = re.compile(rf"(?<!\w){re.escape(trigger)}(?!\w)")
    other = [(picture, caption) for picture, caption in written if trigger and not word.search(caption)]
    if other:
        picture, caption = other[0]
        raise ValueError(
            f"{picture.parent}: {few([p.name for p, _ in other])} with a caption without the trigger {trigger!r} "
            f"(the first is {caption[:60]!r}); add it, or give the trigger the captions have"
        )
    return written


def few(names: Sequence[str]) -> str:
    """Return a few names and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
