"""How far a review is, and how long what is left will take at the pace so far."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from flenlib.dataset.journal import Decision
from flenlib.words import LABELS

WORDS = {"good": "good", "needs_correction": "fix", "reject": "reject"}
"""A short word for each label."""

BREAK_SECONDS = 180.0
"""A longer pause between two decisions is a break, and no part of the time a picture takes."""


def of(names: Sequence[str], decided: Mapping[str, Decision], mine: Iterable[Decision]) -> dict[str, Any]:
    """Return done, total, counts by label, seconds each and minutes left (0: unknown), and all of it in words.

    The time a picture takes is the mean time between two decisions of one's own (``mine``), without the breaks.
    """
    counts = {label: sum(name in decided and decided[name].label == label for name in names) for label in LABELS}
    times = sorted(datetime.fromisoformat(decision.when) for decision in mine if decision.when)
    pauses = [(b - a).total_seconds() for a, b in pairwise(times)]
    pauses = [pause for pause in pauses if pause <= BREAK_SECONDS]
    each = sum(pauses) / len(pauses) if pauses else 0.0
    done = sum(counts.values())
    left = each * (len(names) - done) / 60
    words = [f"{done}/{len(names)}", *(f"{counts[label]} {WORDS[label]}" for label in LABELS)]
    words += [f"{each:.0f} s each" if each >= 1 else f"{each:.1f} s each"] if each else []
    words += [f"{left:.0f} min left" if left >= 1 else "under a minute left"] if each and done < len(names) else []
    return {"done": done, "total": len(names), "counts": counts, "each": each, "left": left, "words": words}
