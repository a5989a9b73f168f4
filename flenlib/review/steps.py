"""Undo and redo: what was decided together is one step, kept apart for labels and for second opinions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from flenlib.dataset.journal import Decision, Journal

Taken = list[tuple[Decision, Decision | None]]
"""Decisions that were taken back, each with what was in force afterwards."""


class Steps:
    """The steps of one person that can be taken back or made again; nothing is forgotten before it is on disk."""

    def __init__(self, journal: Journal, mine: Iterable[Decision]) -> None:
        """Start with the decisions of before a restart: those of one write are one step."""
        self.journal = journal
        ordered = sorted(mine, key=lambda d: d.when)
        self.done = [list(batch) for _, batch in groupby(ordered, key=lambda d: d.when)]
        self.undone: list[Taken] = []

    def write(self, decisions: Sequence[Decision]) -> None:
        """Write new decisions as one step; what was taken back before cannot be made again then."""
        if decisions:
            self.done.append(self.journal.extend(decisions))
            self.undone = []

    def undo(self) -> tuple[list[Decision], list[Decision]]:
        """Take back the last step; return what was taken back and what was not, as somebody has changed it since."""
        batch = self.done[-1]
        taken = self.journal.undo_many(batch)
        self.done.pop()
        return taken, [decision for decision in batch if decision not in taken]

    def took(self, taken: Sequence[Decision], in_force: Mapping[str, Decision]) -> None:
        """Remember what `undo` took back, and what is in force now."""
        if taken:
            self.undone.append([(decision, in_force.get(decision.filename)) for decision in taken])

    def redo(self, allowed: Sequence[Decision]) -> None:
        """Make the ``allowed`` decisions of the step taken back last again."""
        if allowed:
            self.done.append(self.journal.extend(allowed))
        self.undone.pop()


def same(one: Decision | None, other: Decision | None) -> bool:
    """Say whether two decisions say the same, whenever they were made."""
    return one == other if one is None or other is None else replace(one, when="") == replace(other, when="")
