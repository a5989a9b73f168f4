"""What a text holds, by the word lists: sexual words by rating, and words that say that somebody is under 18."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from flenlib.content import lists
from flenlib.content.lists import Lists, Phrase
from flenlib.content.normalise import capitals
from flenlib.content.reading import Reading, read
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


@lru_cache(maxsize=4096)
def search(text: str) -> Found:
    """Return what the word lists find in a text."""
    tags: set[str] = set()
    readings = [read(each) for each in dict.fromkeys((text, capitals(text)))]
    for reading in readings:
        hits = set(_Search(lists.load(), reading).hits())
        harmless = [(start, end) for tag, start, end in hits if tag == "allow"]
        tags |= {tag for tag, start, end in hits if not any(a <= start and end <= b for a, b in harmless)}
    return Found(frozenset(tags), readings[0].unread)


class _Search:
    """The matches of the lists in one text: its words, masked words and phrases, as (tag, from slot, to slot)."""

    def __init__(self, known: Lists, reading: Reading) -> None:
        self.known, self.reading = known, reading
        self.single = [self._single(at) for at in range(len(reading.edges))]
        self.numbers = [self._numbers(at) for at in range(len(reading.edges))]

    def hits(self) -> Iterator[tuple[str, int, int]]:
        for edge in self.reading:
            for word in edge.readings:
                tags, phrases = _of(word, edge.joined)
                yield from ((tag, edge.start, edge.end) for tag in tags)
                for phrase, tag in phrases:
                    yield from ((tag, edge.start, end) for end in self._ends(phrase[1:], edge.end))
        for start in (at for at, found in enumerate(self.numbers) if found):
            for number in ("{n}", "{m}", "{y}"):
                for phrase, tag in self.known.phrases.get(number, ()):
                    yield from ((tag, start, end) for end in self._ends(phrase, start))
        for start, end, word in self.reading.masked:
            pattern = re.compile(re.escape(word).replace(r"\*", "."))
            if any(pattern.fullmatch(other) for other in self.known.by_length.get(len(word), ())):
                yield "adult", start, end

    def _ends(self, phrase: Phrase, at: int) -> set[int]:
        """Return the slots before which a phrase that begins at a slot may end."""
        if not phrase:
            return {at}
        if phrase[0] == "..":
            last = min(at + _GAP, len(self.reading.edges))
            return {end for start in range(at, last + 1) for end in self._ends(phrase[1:], start)}
        nexts = self._nexts(phrase[0], at) if at < len(self.reading.edges) else set()
        return {end for slot in nexts for end in self._ends(phrase[1:], slot)}

    def _nexts(self, element: str, at: int) -> set[int]:
        edges = self.reading.edges[at]
        if element in ("{n}", "{m}", "{y}"):
            return {end for end, value in self.numbers[at] if _fits(element, value)}
        if members := self.known.sets.get(element):
            ends = {edge.end for edge in edges if not members.words.isdisjoint(edge.readings)}
            return ends.union(*(self._ends(other, at) for other in members.others))
        if element.endswith("*"):
            return {edge.end for edge in edges if any(word.startswith(element[:-1]) for word in edge.readings)}
        return {edge.end for edge in edges if element in edge.readings}

    def _numbers(self, at: int) -> list[tuple[int, int]]:
        """Return where the number at a slot ends, and its value; tens and units are one number (twenty two)."""
        if at and any(value >= 20 and value % 10 == 0 for _, value in self.single[at - 1]):
            return []
        if self._sign(at) in _HAN or self._sign(at) == "十":
            return [] if at and (self._sign(at - 1) in _HAN or self._sign(at - 1) == "十") else [self._han(at)]
        found = list(self.single[at])
        for end, value in self.single[at]:
            if value >= 20 and value % 10 == 0 and end < len(self.single):
                found += [(last, value + unit) for last, unit in self.single[end] if unit < 10]
        return found

    def _single(self, at: int) -> list[tuple[int, int]]:
        """Return where a number in one word, or in a listed phrase, ends, and its value."""
        found = []
        for edge in self.reading.edges[at]:
            for word in edge.readings:
                if word.isdecimal() and len(word) < 5:
                    found.append((edge.end, int(word)))
                elif word in self.known.numbers:
                    found.append((edge.end, self.known.numbers[word]))
                for phrase, value in self.known.number_phrases.get(word, ()):
                    found += [(end, value) for end in self._ends(phrase[1:], edge.end)]
        return found

    def _sign(self, at: int) -> str:
        """Return the sign of a script without spaces that a slot holds, or another reading of it."""
        return next(iter(self.reading.edges[at][0].readings)) if at < len(self.reading.edges) else ""

    def _han(self, at: int) -> tuple[int, int]:
        """Return where the number in Han digits at a slot ends, and its value: 四, 十四, 二十, 二十四."""
        tens, end = 0, at
        if self._sign(end) in _HAN and self._sign(end + 1) == "十":
            tens, end = 10 * _HAN[self._sign(end)], end + 2
        elif self._sign(end) == "十":
            tens, end = 10, end + 1
        units = _HAN.get(self._sign(end), 0)
        return end + (units > 0), tens + units


@lru_cache(maxsize=2**16)
def _of(word: str, joined: int) -> tuple[frozenset[str], tuple[tuple[Phrase, str], ...]]:
    """Return the tags of a word, of letters put together also those of words within, and the phrases it begins."""
    known = lists.load()
    tags, phrases = set(known.words.get(word, ())), list(known.phrases.get(word, ()))
    for end in range(2, len(word) + 1):
        phrases += known.phrases.get(f"{word[:end]}*", ())
        tags |= known.beginnings.get(word[:end], set()) if joined != 1 else set()
    for length in known.part_lengths if joined != 1 else ():
        for start in range(len(word) - length + 1):
            tags |= known.parts.get(word[start : start + length], set())
    for start in range(len(word) - 2) if joined == 2 else ():
        for end in range(start + 3, len(word) + 1):
            tags |= known.words.get(word[start:end], set()) - {"young", "allow", "strict"}
    return frozenset(tags), tuple(phrases)


def _fits(element: str, value: int) -> bool:
    if element == "{y}":
        return 0 <= date.today().year - value < 18
    return 1 <= value <= 17 if element == "{n}" else 18 <= value <= 120
