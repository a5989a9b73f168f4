"""The word lists: one YAML file a language beside this one, read once. `lists/README.md` says how they are written."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import yaml

from flenlib.content.normalise import SYLLABIC, fold

FOLDER = Path(__file__).parent / "lists"
TAGS = ("abuse", "adult", "mature", "minor", "young", "strict", "grown", "allow")
"""What a match may be; ``allow`` takes back the matches within it."""
_KEYS = {"language", "source", "sets", "numbers", *TAGS}

Phrase = tuple[str, ...]
"""Elements: a word, a beginning ``word*``, a set ``{garment}``, a number ``{n}``, ``{m}``, ``{y}``, a gap ``..``."""


@dataclass
class Members:
    """What a set holds: whole words, and phrases or beginnings."""

    words: set[str] = field(default_factory=set)
    others: list[Phrase] = field(default_factory=list)


@dataclass
class Lists:
    """All languages together, as tables to look words up in."""

    words: dict[str, set[str]] = field(default_factory=dict)
    """Tags by a whole word."""
    beginnings: dict[str, set[str]] = field(default_factory=dict)
    """Tags by what a word begins with."""
    parts: dict[str, set[str]] = field(default_factory=dict)
    """Tags by what stands anywhere in a word."""
    phrases: dict[str, list[tuple[Phrase, str]]] = field(default_factory=dict)
    """Phrases with their tag, by the first word, or by the first element where it is no word."""
    numbers: dict[str, int] = field(default_factory=dict)
    number_phrases: dict[str, list[tuple[Phrase, int]]] = field(default_factory=dict)
    sets: dict[str, Members] = field(default_factory=dict)
    part_lengths: list[int] = field(default_factory=list)
    by_length: dict[int, set[str]] = field(default_factory=dict)
    """Whole words of two tags that matter most, by length: what a word with masked letters may be."""


@cache
def load() -> Lists:
    """Return the lists of all files. Raises ValueError naming the file where one holds a key that is not known."""
    files = [(path, yaml.load(path.read_text(encoding="utf-8"), _LOADER)) for path in sorted(FOLDER.glob("*.yaml"))]
    lists = Lists()
    for path, content in files:
        if unknown := content.keys() - _KEYS:
            raise ValueError(f"{path} has the keys {', '.join(sorted(unknown))}; known are {', '.join(sorted(_KEYS))}")
        for name, entries in content.get("sets", {}).items():
            members = lists.sets.setdefault(f"{{{name}}}", Members())
            for elements in map(_elements, map(str, entries)):
                if len(elements) > 1 or elements[0].endswith("*"):
                    members.others.append(elements)
                else:
                    members.words.add(elements[0])
        for word, value in content.get("numbers", {}).items():
            elements = _elements(str(word))
            if len(elements) > 1:
                lists.number_phrases.setdefault(elements[0], []).append((elements, value))
            else:
                lists.numbers[elements[0]] = value
    for tag, (_, content) in itertools.product(TAGS, files):
        for entry in content.get(tag, ()):
            _add(lists, tag, _elements(str(entry)))
    lists.part_lengths = sorted({len(part) for part in lists.parts})
    for word, tags in lists.words.items():
        if len(word) > 3 and tags & {"adult", "abuse"}:
            lists.by_length.setdefault(len(word), set()).add(word)
    return lists


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _add(lists: Lists, tag: str, elements: Phrase) -> None:
    first = elements[0]
    if first in lists.sets:
        members = lists.sets[first]
        for member in (*((word,) for word in members.words), *members.others):
            _add(lists, tag, (*member, *elements[1:]))
    elif len(elements) > 1:
        lists.phrases.setdefault(first, []).append((elements, tag))
    elif first.startswith("*"):
        lists.parts.setdefault(first.strip("*"), set()).add(tag)
    elif first.endswith("*"):
        lists.beginnings.setdefault(first[:-1], set()).add(tag)
    else:
        lists.words.setdefault(first, set()).add(tag)


def _elements(entry: str) -> Phrase:
    return tuple(part if part.startswith("{") or part == ".." else _folded(part) for part in _split(entry))


def _folded(part: str) -> str:
    return "*" * part.startswith("*") + fold(part.strip("*")) + "*" * part.endswith("*")


def _split(entry: str) -> list[str]:
    return re.sub(f"([{SYLLABIC}])", r" \1 ", entry).split()
