"""What a text holds, by the word lists: sexual words by rating, and words that say that somebody is under 18."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from flenlib.content import lists
from flenlib.content.lists import Lists, Phrase
from flenlib.content.reading import Edge, Reading, read
from flenlib.words import Rating

_GAP = 3
"""Slots that a gap in a phrase may hold."""
_HAN = {sign: value for value, sign in enumerate("一二三四五六七八九", 1)} | {"两": 2, "〇": 0}


@dataclass(frozen=True)
class Found:
    """The tags found in a text, and whether some of it could not be read."""

    tags: frozenset[str]
    unread: bool

    @property
    def rating(self) -> Rating:
        """How sexual the text is."""
        return "adult" if self.tags & {"adult", "abuse"} else "mature" if "mature" in self.tags else "general"

    @property
    def minor(self) -> bool:
        """Whether the text says that somebody is under 18."""
        return "minor" in self.tags

    @property
    def young(self) -> bool:
        """Whether somebody in the text may be under 18, and no age says otherwise."""
        return self.minor or ("young" in self.tags and "grown" not in self.tags)


def search(text: str) -> Found:
    """Return what the word lists find in a text."""
    known, reading = lists.load(), read(text)
    hits = {*_words(known, reading), *_phrases(known, reading)}
    harmless = [(start, end) for tag, start, end in hits if tag == "allow"]
    left = {tag for tag, start, end in hits if not any(a <= start and end <= b for a, b in harmless)}
    return Found(frozenset(left), reading.unread)


def _words(known: Lists, reading: Reading) -> Iterator[tuple[str, int, int]]:
    for edge in reading:
        for word in edge.readings:
            tags = set(known.words.get(word, ()))
            if edge.joined != 1:
                for end in range(2, len(word) + 1):
                    tags |= known.beginnings.get(word[:end], set())
                for start in range(len(word) - 2):
                    for end in range(start + 3, min(len(word), start + 14) + 1):
                        tags |= known.parts.get(word[start:end], set())
                        if edge.joined == 2:
                            tags |= known.words.get(word[start:end], set()) - {"young", "allow", "strict"}
            yield from ((tag, edge.start, edge.end) for tag in tags)
    for start, end, word in reading.masked:
        pattern = re.compile(re.escape(word).replace(r"\*", "."))
        if any(pattern.fullmatch(other) for other in known.by_length.get(len(word), ())):
            yield "adult", start, end


def _phrases(known: Lists, reading: Reading) -> Iterator[tuple[str, int, int]]:
    for edge in reading:
        starts = {word for word in edge.readings if word in known.phrases}
        starts |= {f"{word[:end]}*" for word in edge.readings for end in range(3, len(word) + 1)} & known.phrases.keys()
        for phrase, tag in (item for start in starts for item in known.phrases[start]):
            yield from ((tag, edge.start, end) for end in _ends(known, reading, phrase[1:], edge.end))
    for start in range(len(reading.edges)):
        for number in ("{n}", "{m}", "{y}"):
            for phrase, tag in known.phrases.get(number, ()):
                yield from ((tag, start, end) for end in _ends(known, reading, phrase, start))


def _ends(known: Lists, reading: Reading, phrase: Phrase, at: int) -> set[int]:
    """Return the slots before which a phrase that begins at a slot may end."""
    if not phrase:
        return {at}
    if phrase[0] == "..":
        last = min(at + _GAP, len(reading.edges))
        return {end for start in range(at, last + 1) for end in _ends(known, reading, phrase[1:], start)}
    if at >= len(reading.edges):
        return set()
    if phrase[0] in ("{n}", "{m}", "{y}"):
        nexts = {end for end, value in _numbers(known, reading, at) if _fits(phrase[0], value)}
    elif phrase[0] in known.sets:
        nexts = {end for member in known.sets[phrase[0]] for end in _ends(known, reading, member, at)}
    else:
        nexts = {edge.end for edge in reading.edges[at] if _is(edge, phrase[0])}
    return {end for slot in nexts for end in _ends(known, reading, phrase[1:], slot)}


def _is(edge: Edge, element: str) -> bool:
    if element.endswith("*"):
        return any(word.startswith(element[:-1]) for word in edge.readings)
    return element in edge.readings


def _fits(element: str, value: int) -> bool:
    if element == "{y}":
        return 0 <= date.today().year - value < 18
    return 1 <= value <= 17 if element == "{n}" else 18 <= value <= 120


def _numbers(known: Lists, reading: Reading, at: int) -> Iterator[tuple[int, int]]:
    """Yield where the number at a slot ends, and its value; tens and units are one number (twenty two)."""
    if at and any(value >= 20 and value % 10 == 0 for _, value in _single(known, reading, at - 1)):
        return
    if (sign := _sign(reading, at)) in _HAN or sign == "十":
        if at and (_sign(reading, at - 1) in _HAN or _sign(reading, at - 1) == "十"):
            return
        yield from _han(reading, at)
    for end, value in _single(known, reading, at):
        yield end, value
        if value >= 20 and value % 10 == 0 and end < len(reading.edges):
            yield from ((last, value + unit) for last, unit in _single(known, reading, end) if unit < 10)


def _single(known: Lists, reading: Reading, at: int) -> Iterator[tuple[int, int]]:
    for edge in reading.edges[at]:
        for word in edge.readings:
            if word.isdecimal() and len(word) < 5:
                yield edge.end, int(word)
            elif word in known.numbers:
                yield edge.end, known.numbers[word]
            for phrase, value in known.number_phrases.get(word, ()):
                yield from ((end, value) for end in _ends(known, reading, phrase[1:], edge.end))


def _sign(reading: Reading, at: int) -> str:
    """Return the sign of a script without spaces that a slot holds, or another reading of it."""
    return next(iter(reading.edges[at][0].readings)) if at < len(reading.edges) else ""


def _han(reading: Reading, at: int) -> Iterator[tuple[int, int]]:
    """Yield the number written in Han digits from a slot on: 四, 十四, 二十, 二十四."""
    tens, end = 0, at
    if _sign(reading, end) in _HAN and _sign(reading, end + 1) == "十":
        tens, end = 10 * _HAN[_sign(reading, end)], end + 2
    elif _sign(reading, end) == "十":
        tens, end = 10, end + 1
    units = _HAN.get(_sign(reading, end), 0)
    yield end + (units > 0), tens + units
