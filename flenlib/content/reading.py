"""The words in a text, in every way they can be read: as written, undisguised, joined over dots, dashes and spaces.

A text is cut into slots: runs of letters, runs of digits, and signs of scripts without spaces. An `Edge` is a word
that takes up one slot or several, with its readings; words are looked up on edges, and phrases walk from edge to edge.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from flenlib.content.normalise import (
    COVERED,
    LEET,
    SYLLABIC,
    compatible,
    fold,
    latin,
    native,
    script,
    shaped,
    squeezed,
    unleet,
)

_LESS = re.compile(r"[<＜]=?\s*(?=\d)")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
_PICTURE = re.compile("[\u2190-\u21ff\u2600-\u27bf\U0001f300-\U0001faff]")
_SIGNS = re.compile(f"[{SYLLABIC}]|{_PICTURE.pattern}")
_VOWELS = "\u0900-\u0dff\u0e00-\u0e7f"  # signs of Indic scripts and Thai that are no letters by themselves
_SLOT = re.compile(rf"\d+|(?:[^\W\d_]|(?!\d)[{_VOWELS}])+")
_PIECE = re.compile(rf"(?:[^\W_]|[{_VOWELS}])+")
_MASKED = re.compile(r"[^\W\d_]+[*#%•^~=]+[^\W\d_*#%•^~=]+(?:[*#%•^~=]+[^\W\d_]*)*")
_DISGUISE = re.compile(r"[^\W\d_][*#@$%^|{}<>=~+]+[^\W\d_]")
_LONGEST = 60
_SHORT = "a i is it in an as at on or of to so no my me we he us up go do by be if am la le"
SHORT_WORDS = frozenset(_SHORT.split())
"""Pieces that are words and so are not the halves of a word with a space in it."""


@dataclass(frozen=True)
class Edge:
    """A word from slot ``start`` to before slot ``end``.

    ``joined`` says how freely it was put together: 0 as written, 1 over spaces, 2 of single letters.
    """

    start: int
    end: int
    readings: frozenset[str]
    joined: int = 0


@dataclass
class Reading:
    """A text as edges by their first slot, with what could not be read."""

    edges: list[list[Edge]] = field(default_factory=list)
    masked: list[tuple[int, int, str]] = field(default_factory=list)
    """Words with masked letters: from slot, to slot, the word with ``*`` for each."""
    unread: bool = False

    def __iter__(self) -> Iterator[Edge]:
        return (edge for start in self.edges for edge in start)


def read(text: str) -> Reading:
    """Return a text's words in every way they can be read."""
    reading = Reading()
    folded = fold(_HUMP.sub("-", _LESS.sub(" under ", compatible(text))))
    chunks = [slots for chunk in _SIGNS.sub(r" \g<0> ", folded).split() if (slots := _read_chunk(reading, chunk))]
    _join_letters(reading, chunks)
    _join_neighbours(reading, chunks)
    return reading


def _read_chunk(reading: Reading, chunk: str) -> list[str]:
    """Add the edges of what stands between two spaces and return its slots."""
    if _SIGNS.fullmatch(chunk):
        reading.edges.append([Edge(len(reading.edges), len(reading.edges) + 1, frozenset({chunk}))])
        return [chunk]
    found = list(_SLOT.finditer(chunk))
    first = len(reading.edges)
    starts = {each.start(): first + number for number, each in enumerate(found)}
    ends = {each.end(): first + number + 1 for number, each in enumerate(found)}
    for number, each in enumerate(found, first):
        reading.edges.append([Edge(number, number + 1, readings(each.group()))])
        reading.unread |= _cannot_be_read(each.group())
    pieces = [each for each in _PIECE.finditer(chunk) if each.start() in starts and each.end() in ends]
    wholes = [(starts[each.start()], ends[each.end()], each.group()) for each in pieces]
    whole = chunk.strip(".,;:?\"'()[]{}")
    if found and (len(pieces) > 1 or any(c in LEET for c in whole if not c.isalnum())) and len(whole) <= _LONGEST:
        wholes.append((first, first + len(found), whole))
        wholes.append((first, first + len(found), re.sub(r"[\W_]+", "", whole)))
    for start, end, word in wholes:
        alike = readings(word) - {word} if not word.isalnum() else readings(word)
        if end - start > 1 or not word.isalnum():
            reading.edges[start].append(Edge(start, end, alike))
    if found and (masked := _MASKED.fullmatch(whole)):
        reading.masked.append((first, first + len(found), re.sub(r"[*#%•^~=]", "*", masked.group())))
    reading.unread |= bool(_DISGUISE.search(chunk)) or len(chunk) > _LONGEST
    return [each.group() for each in found]


@lru_cache(maxsize=2**16)
def readings(word: str) -> frozenset[str]:
    """Return a folded word and what it may stand for: look-alike letters, leet, letters drawn out."""
    found = {word, latin(word), native(word)}
    if word.startswith("ال") or word.startswith(("وال", "بال", "لل")):
        found.add(re.sub("^(وال|بال|ال|لل)", "", word))
    for each in tuple(found):
        undone = {re.sub(r"[\W_]+", "", other) for other in unleet(each)}
        found |= {other for other in undone if len(other) > 3 or (len(other) > 2 and not each.isalnum())}
    for each in tuple(found):
        found |= squeezed(each) | shaped(each)
    return frozenset(found)


@lru_cache(maxsize=2**16)
def _cannot_be_read(word: str) -> bool:
    scripts = {script(char) for char in word} - {""}
    return len(scripts & {"LATIN", "CYRILLIC", "GREEK"}) > 1 or not scripts <= {*COVERED, "FULLWIDTH", "HALFWIDTH"}


def _join_letters(reading: Reading, chunks: list[list[str]]) -> None:
    """Add each run of three or more single letters as one word, whatever pictures stand between them."""
    slots = [slot for chunk in chunks for slot in chunk]
    for single, run in itertools.groupby(range(len(slots)), lambda at: _is_single(slots[at])):
        found = list(run)
        word = "".join(slots[at] for at in found if not _PICTURE.fullmatch(slots[at]))
        if single and len(word) > 2:
            reading.edges[found[0]].append(Edge(found[0], found[-1] + 1, readings(word), joined=2))


def _is_single(slot: str) -> bool:
    return len(slot) == 1 and (not _SIGNS.fullmatch(slot) or bool(_PICTURE.fullmatch(slot)))


def _join_neighbours(reading: Reading, chunks: list[list[str]]) -> None:
    """Add two or three neighbours with a piece too short to be a word, or long enough together, as one word."""
    ends, slot = [], 0
    for chunk in chunks:
        slot += len(chunk)
        ends.append(slot)
    for number in range(len(chunks) - 1):
        for count in (2, 3):
            some = ["".join(chunk) for chunk in chunks[number : number + count]]
            word, start = "".join(some), ends[number] - len(chunks[number])
            if len(some) < count or any(_SIGNS.fullmatch(piece) for piece in some) or not 4 <= len(word) <= 16:
                continue
            odd = any(len(piece) < 3 and piece not in SHORT_WORDS for piece in some)
            if odd or (count == 2 and len(word) > 5 and not any(piece in SHORT_WORDS for piece in some)):
                reading.edges[start].append(Edge(start, ends[number + count - 1], readings(word), joined=1))
