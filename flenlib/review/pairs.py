"""Which of two is better: answers kept in an append-only file, and the ranking they come to."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from filelock import FileLock

Answer = tuple[str, str, float]
"""Two filenames, and how much of a win the answer is for the first: 1, 0, or 0.5 for equally good."""


class Comparisons:
    """The answers on one dataset, one JSON line each, fsynced; an undone one is a line of its own."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def append(self, first: str, second: str, won: float, person: str = "") -> None:
        """Write one answer. Raises ValueError for a picture compared with itself or another ``won`` than 1, 0.5, 0."""
        if first == second or won not in (0, 0.5, 1):
            raise ValueError(f"answer ({first!r}, {second!r}, {won!r}) must be on two pictures, won 1, 0.5 or 0")
        self._write({"pair": [first, second], "won": won, "person": person})

    def undo(self) -> Answer:
        """Take back the last answer and return it. Raises ValueError when there is none."""
        answers = self.answers()
        if not answers:
            raise ValueError(f"there is no comparison to undo in {self.path}")
        self._write({"undo": True})
        return answers[-1]

    def answers(self) -> list[Answer]:
        """Return the answers that stand. Raises ValueError naming file and line for a damaged one.

        A last line cut short by a crash is left out.
        """
        lines = self.path.read_text(encoding="utf-8", errors="replace").split("\n") if self.path.is_file() else []
        answers: list[Answer] = []
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                item = json.loads(line)
                answers = answers[:-1] if "undo" in item else [*answers, (*item["pair"], float(item["won"]))]
            except (ValueError, KeyError, TypeError):
                if number < len(lines):  # every whole line ends in a newline
                    raise ValueError(f"{self.path}, line {number} is damaged: {line[:60]!r}; remove it") from None
        return answers

    def _write(self, entry: dict) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path.with_name(f".{self.path.name}.lock")), self.path.open("a+b") as file:
            content = self.path.read_bytes()
            if content and not content.endswith(b"\n"):  # a line cut by a crash
                file.truncate(content.rfind(b"\n") + 1)
            entry |= {"when": datetime.now(UTC).isoformat(timespec="seconds")}
            file.write(json.dumps(entry, ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def strengths(names: Sequence[str], answers: Sequence[Answer], rounds: int = 200) -> dict[str, float]:
    """Return each picture's strength in the Bradley-Terry model, geometric mean 1; 1 for one never compared.

    P(a better than b) = s_a / (s_a + s_b), fitted by the minorisation-maximisation steps of Hunter, "MM algorithms for
    generalized Bradley-Terry models" (2004). Every picture also gets half a win and half a loss against one of
    strength 1, which keeps the strength of a picture that never lost finite.
    """
    place = {name: number for number, name in enumerate(names)}
    wins = np.zeros((len(names), len(names)))
    for first, second, won in answers:
        if first in place and second in place:
            wins[place[first], place[second]] += won
            wins[place[second], place[first]] += 1 - won
    games, won = wins + wins.T, wins.sum(axis=1) + 0.5
    strength = np.ones(len(names))
    for _ in range(rounds):
        strength = won / ((games / (strength[:, None] + strength)).sum(axis=1) + 1 / (strength + 1))
        strength /= np.exp(np.log(strength).mean()) if len(names) else 1
    return dict(zip(names, map(float, strength), strict=True))


def ranks(names: Sequence[str], answers: Sequence[Answer]) -> dict[str, int]:
    """Return the place of every picture that was compared, 1 for the best."""
    compared = {name for first, second, _ in answers for name in (first, second)}
    found = strengths(names, answers)
    ordered = sorted((name for name in names if name in compared), key=lambda name: -found[name])
    return {name: number for number, name in enumerate(ordered, 1)}


def next_pair(names: Sequence[str], answers: Sequence[Answer]) -> tuple[str, str] | None:
    """Return the pair to ask next: the least compared picture, and the one nearest to it in strength not yet met.

    None when all have met, or there are fewer than two.
    """
    met = {frozenset(answer[:2]) for answer in answers}
    count = Counter(name for first, second, _ in answers for name in (first, second))
    found = strengths(names, answers)
    for name in sorted(names, key=lambda n: count[n]):
        others = [o for o in names if o != name and frozenset((name, o)) not in met]
        if others:
            return name, min(others, key=lambda o: (abs(np.log(found[o] / found[name])), count[o]))
    return None
