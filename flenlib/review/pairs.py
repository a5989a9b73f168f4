"""Which of two is better: answers kept in an append-only file, and the ranking they come to."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from flenlib.dataset.lines import Lines, parse


class Answer(NamedTuple):
    """One answer on two pictures: ``won`` is 1 when the first is better, 0 when the second is, 0.5 for a tie.

    ``digests`` are the sha256 of both when they were compared; empty: any picture of that name.
    """

    first: str
    second: str
    won: float
    person: str = ""
    when: str = ""
    digests: tuple[str, str] = ("", "")


class Comparisons:
    """One person's view of the answers on some pictures: one JSON line each, fsynced, an undone one a line of its own.

    ``digests`` are the pictures' sha256 by filename: an answer on a picture since replaced does not count.
    """

    def __init__(self, path: str | Path, digests: Mapping[str, str], person: str = "") -> None:
        self.file, self.digests, self.person = Lines(path), dict(digests), person

    def append(self, first: str, second: str, won: float) -> None:
        """Write one answer. Raises ValueError for anything but two different pictures and ``won`` 1, 0.5 or 0."""
        if first == second or won not in (0, 0.5, 1) or not {first, second} <= self.digests.keys():
            raise ValueError(f"answer ({first!r}, {second!r}, {won!r}) must be on two pictures, won 1, 0.5 or 0")
        own, digests = self._own, (self.digests[first], self.digests[second])
        with self.file.lock():
            said = Answer(first, second, float(won), self.person, self.file.date(), digests)
            entry = {"pair": [first, second], "won": won, "person": self.person, "sha256": digests, "when": said.when}
            self.file.write([entry])
        own.append(said)

    def undo(self) -> Answer:
        """Take back the last answer given here (or, after a restart, by this person) and return it.

        Raises ValueError when there is none, or when it was taken back elsewhere; nothing is written then.
        """
        if not self._own:
            raise ValueError(f"there is no answer of yours to undo in {self.file.path}")
        with self.file.lock():
            last = self._own[-1]
            stands = last in self._all()
            if stands:
                self.file.write([{"undo": last.when, "when": self.file.date()}])
        self._own.pop()
        if not stands:
            raise ValueError(f"the answer on {last.first} and {last.second} was taken back elsewhere")
        return last

    def answers(self) -> list[Answer]:
        """Return the answers that count. Raises ValueError naming file and line for a damaged one.

        A last line cut short by a crash is left out.
        """
        now = {name: ("", digest) for name, digest in self.digests.items()}
        return [
            answer
            for answer in self._all()
            if answer.digests[0] in now.get(answer.first, ()) and answer.digests[1] in now.get(answer.second, ())
        ]

    @cached_property
    def _own(self) -> list[Answer]:
        return [answer for answer in self._all() if answer.person == self.person]

    def _all(self) -> list[Answer]:
        answers: list[Answer] = []
        for number, line in enumerate(self.file.read()[0], 1):
            where = f"{self.file.path}, line {number}"
            try:
                for item in parse(line, where):
                    if "undo" in item:  # the date of the answer; True, the last one, in files of older versions
                        places = [n for n, answer in enumerate(answers) if item["undo"] in (True, answer.when)]
                        del answers[places[-1]]
                    else:
                        (first, second), (one, other) = item["pair"], item.get("sha256", ("", ""))
                        given = float(item["won"]), str(item.get("person", "")), str(item.get("when", ""))
                        answers.append(Answer(first, second, *given, (one, other)))
            except (KeyError, TypeError, IndexError, ValueError) as error:
                if str(error).startswith(where):
                    raise
                raise ValueError(f"{where} is no answer on a pair: {line[:60]!r}; remove it") from None
        return answers


def strengths(answers: Sequence[tuple], rounds: int = 200) -> dict[str, float]:
    """Return the strength of every picture compared in the Bradley-Terry model; one never compared would have 1.

    P(a better than b) = s_a / (s_a + s_b), fitted by the minorisation-maximisation steps of Hunter, "MM algorithms for
    generalized Bradley-Terry models" (2004). Every picture also gets half a win and half a loss against one of
    strength 1, which keeps the strength of a picture that never lost finite, and says what 1 is.
    """
    names = list(dict.fromkeys(name for first, second, *_ in answers for name in (first, second)))
    place = {name: number for number, name in enumerate(names)}
    first, second = (np.array([place[answer[side]] for answer in answers], dtype=int) for side in (0, 1))
    wins, count = np.array([answer[2] for answer in answers], dtype=float), len(names)
    won = 0.5 + np.bincount(first, wins, count) + np.bincount(second, 1 - wins, count)
    strength = np.ones(count)
    for _ in range(rounds):
        met = 1 / (strength[first] + strength[second])
        strength = won / (np.bincount(first, met, count) + np.bincount(second, met, count) + 1 / (strength + 1))
    return dict(zip(names, map(float, strength), strict=True))


def ranks(names: Sequence[str], answers: Sequence[tuple]) -> dict[str, int]:
    """Return the place of every picture that was compared, 1 for the best."""
    found = strengths(answers)
    ordered = sorted((name for name in names if name in found), key=lambda name: -found[name])
    return {name: number for number, name in enumerate(ordered, 1)}


def next_pair(names: Sequence[str], answers: Sequence[tuple]) -> tuple[str, str] | None:
    """Return the pair to ask next: the least compared picture, and the one nearest to it in strength not yet met.

    None when all have met, or there are fewer than two.
    """
    met = {frozenset(answer[:2]) for answer in answers}
    count = Counter(name for first, second, *_ in answers for name in (first, second))
    found = {name: math.log(strength) for name, strength in strengths(answers).items()}
    for name in sorted(names, key=lambda n: count[n]):
        others = [other for other in names if other != name and frozenset((name, other)) not in met]
        if others:
            own = found.get(name, 0.0)
            return name, min(others, key=lambda other: (abs(found.get(other, 0.0) - own), count[other]))
    return None
