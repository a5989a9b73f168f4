"""How far a review is, and how long what is left will take at the pace so far."""

from __future__ import annotations

from bisect import bisect, bisect_left
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from flenlib.dataset.journal import Decision
from flenlib.dataset.lines import moment
from flenlib.words import LABELS

WORDS = {"good": "good", "needs_correction": "fix", "reject": "reject"}
"""A short word for each label."""

BREAK_SECONDS = 180.0
"""A longer pause between two decisions is a break, and no part of the time a picture takes."""


class Pace:
    """The mean time between two decisions of one's own, without the breaks, kept up as decisions come and go."""

    def __init__(self) -> None:
        self._times: list[datetime] = []
        self._sum, self._count = timedelta(), 0

    def add(self, decision: Decision) -> None:
        """Count a decision in; one whose date nobody can read takes no time."""
        if time := moment(decision.when):
            place = bisect(self._times, time)
            self._between(place, -1)
            self._times.insert(place, time)
            self._between(place, 1)
            self._between(place + 1, 1)

    def drop(self, decision: Decision) -> None:
        """Count a decision out that was counted in."""
        if time := moment(decision.when):
            place = bisect_left(self._times, time)
            self._between(place, -1)
            self._between(place + 1, -1)
            del self._times[place]
            self._between(place, 1)

    @property
    def each(self) -> float:
        """Seconds a picture takes; 0 while nobody knows."""
        return self._sum.total_seconds() / self._count if self._count else 0.0

    def _between(self, place: int, sign: int) -> None:
        """Count the pause before a place in or out, where there is one and it is no break."""
        if 0 < place < len(self._times):
            pause = self._times[place] - self._times[place - 1]
            if pause.total_seconds() <= BREAK_SECONDS:
                self._sum, self._count = self._sum + sign * pause, self._count + sign


def of(total: int, counts: Mapping[str, int], each: float) -> dict[str, Any]:
    """Return done, total, counts by label, seconds each and minutes left (0: unknown), and all of it in words.

    ``each`` are the seconds a picture takes, 0 where unknown.
    """
    counts = {label: counts.get(label, 0) for label in LABELS}
    done = sum(counts.values())
    left = each * (total - done) / 60
    words = [f"{done}/{total}", *(f"{counts[label]} {WORDS[label]}" for label in LABELS)]
    words += [f"{each:.0f} s each" if each >= 1 else f"{each:.1f} s each"] if each else []
    words += [f"{left:.0f} min left" if left >= 1 else "under a minute left"] if each and done < total else []
    return {"done": done, "total": total, "counts": counts, "each": each, "left": left, "words": words}
