"""Undo and redo: decisions made together are one step; labels and second opinions have separate lists of steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from flenlib.dataset.journal import Decision, Journal
from flenlib.review.progress import WORDS


@dataclass
class Answer:
    """What came of a request: the pictures it concerns, what to say, and which were refused and why."""

    names: list[str] = field(default_factory=list)
    said: str = ""
    refused: dict[str, str] = field(default_factory=dict)

    def with_more(self, names: Sequence[str]) -> Answer:
        """Return this answer with the pictures that others have changed after its own."""
        self.names = list(dict.fromkeys([*self.names, *names]))
        return self


class Steps:
    """The steps of one person that can be taken back or made again; none is forgotten before the file says so."""

    def __init__(self, journal: Journal, mine: Iterable[Decision]) -> None:
        """Start with the decisions of before a restart: those of one write are one step."""
        self.journal = journal
        ordered = sorted(mine, key=lambda d: d.when)
        self.done = [list(batch) for _, batch in groupby(ordered, key=lambda d: d.when)]
        self.undone: list[list[tuple[Decision, Decision | None]]] = []  # each with what was in force afterwards

    def write(self, decisions: Sequence[Decision]) -> None:
        """Write new decisions as one step; what was taken back before cannot be made again then."""
        if decisions:
            self.done.append(self.journal.extend(decisions))
            self.undone = []

    def undo(self, now: Callable[[], Mapping[str, Decision]]) -> Answer:
        """Take back the last step; what somebody else has decided since stays, with a message.

        ``now`` reads what is in force.
        """
        if not self.done:
            return Answer(said="there is nothing to undo")
        batch = self.done[-1]
        taken = self.journal.undo_many(batch)
        self.done.pop()
        left, known = [decision for decision in batch if decision not in taken], now()
        answer = Answer([decision.filename for decision in taken])
        if taken:
            self.undone.append([(decision, known.get(decision.filename)) for decision in taken])
            answer.said = f"taken back: {count(taken)} {WORDS[taken[0].label]}"
        if left:
            was = f"{count(left)} was since {_now(known, left[0].filename)} elsewhere"
            answer.said = f"{answer.said}; {was} and stays so" if taken else f"{was}; nothing was undone"
        return answer

    def redo(self, known: Mapping[str, Decision], refusal: Callable[[str], str]) -> Answer:
        """Make the step taken back last once more, where what is in force (``known``) has not changed since.

        ``refusal`` says why a picture cannot be judged, empty if it can.
        """
        if not self.undone:
            return Answer(said="there is nothing to redo")
        answer, allowed = Answer(), []
        for decision, before in self.undone[-1]:
            name = decision.filename
            if not same(known.get(name), before):
                answer.refused[name] = f"{name} was since {_now(known, name)} elsewhere and stays so"
            elif refused := refusal(name):
                answer.refused[name] = refused
            else:
                allowed.append(decision)
        if allowed:
            self.done.append(self.journal.extend(allowed))
            answer.names = [decision.filename for decision in allowed]
            answer.said = f"made again: {count(allowed)} {WORDS[allowed[0].label]}"
        self.undone.pop()
        return answer


def same(one: Decision | None, other: Decision | None) -> bool:
    """Say whether two decisions say the same, whenever they were made."""
    return one == other if one is None or other is None else replace(one, when="") == replace(other, when="")


def count(decisions: Sequence[Decision]) -> str:
    """Return the one picture's name, or how many there are."""
    return decisions[0].filename if len(decisions) == 1 else f"{len(decisions)} pictures"


def _now(known: Mapping[str, Decision], name: str) -> str:
    return f"labelled {known[name].label}" if name in known else "taken back"
