"""Review decisions: an append-only journal, one fsynced JSON line a write: a decision, or a list of those made at once.

The journal is the truth: a record's label and the folders of the labels are derived from it (see `label_folders`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from flenlib.dataset.lines import Lines, parse
from flenlib.dataset.records import Dataset, check_label

Key = tuple[str, str]
"""A file's name, and whose second opinion on it ("": the label)."""

_TEXTS = ("reviewer", "when", "note", "sha256", "issue", "prompt", "corrected", "person")


@dataclass(frozen=True)
class Decision:
    """One reviewer's decision on one image, and when it was made (UTC)."""

    filename: str
    label: str
    reasons: tuple[str, ...] = ()
    reviewer: str = "human"
    when: str = ""
    note: str = ""
    sha256: str = ""  # of the picture that was looked at; empty: whatever bears the name
    issue: str = ""  # what is to be corrected, in words
    prompt: str = ""  # the prompt that should have been given
    corrected: str = ""  # path of the corrected picture, relative to the dataset's folder
    person: str = ""  # who, where several people review
    second: bool = False  # a second opinion: counted for agreement, never in force


class Journal:
    """An append-only file of review decisions; nothing in it is ever removed."""

    def __init__(self, path: str | Path) -> None:
        self.file = Lines(path)
        self.path = self.file.path
        self._count = 0  # of the lines read so far, and what they come to
        self._stacks: dict[Key, list[Decision]] = {}
        self._changed: list[Key] = []  # what each line read was on; it only grows

    def append(
        self,
        filename: str,
        label: str,
        reasons: Sequence[str] = (),
        reviewer: str = "human",
        note: str = "",
        sha256: str = "",
        *,
        issue: str = "",
        prompt: str = "",
        corrected: str = "",
        person: str = "",
        second: bool = False,
    ) -> Decision:
        """Write one decision to disk and return it. Raises ValueError for an unknown label; nothing is written then."""
        if isinstance(reasons, str):
            raise ValueError(f"reasons of {filename!r} are {reasons!r}; give a list of texts")
        said = Decision(
            filename, label, tuple(reasons), reviewer, "", note, sha256, issue, prompt, corrected, person, second
        )
        return self.extend([said])[0]

    def extend(
        self, decisions: Sequence[Decision], stays: Callable[[Decision | None, Decision], bool] | None = None
    ) -> list[Decision]:
        """Write several decisions, all of them or (on a full disk) none, and return them with their one date.

        ``stays`` is asked of each, while nobody else can write, with the decision in force on that picture (None
        without one) and the new one; where it says yes, the new one is not written. Raises as `append` does.
        """
        for decision in decisions:
            check_label(decision.label, f"{decision.filename!r}: ")
        with self.file.lock():
            if stays:
                self._history()
                decisions = [d for d in decisions if not stays(self.last(d.filename, d.sha256), d)]
            when = self.file.date()
            dated = [replace(decision, when=when) for decision in decisions]
            self.file.write([asdict(decision) for decision in dated])
        return dated

    def undo(self, filename: str, expected: Decision | None = None) -> None:
        """Take back the last decision on a file, as a line of its own.

        Raises ValueError when there is none, or when it is not the ``expected`` one because somebody else has decided
        since; nothing is written then. A second opinion is taken back by expecting it.
        """
        key = _key(expected) if expected else (filename, "")
        with self.file.lock():
            last = self._history().get(key)
            if not last:
                raise ValueError(f"there is no decision on {filename!r} to undo in {self.path}")
            if expected is not None and last[-1] != expected:
                raise ValueError(f"{filename} was since labelled {last[-1].label} elsewhere; nothing was undone")
            self.file.write([_undone(filename, key[1], self.file.date())])

    def undo_many(self, expected: Sequence[Decision]) -> list[Decision]:
        """Take back several decisions in one fsynced write and return those that were the last on their file.

        What somebody else has decided since, or taken back, stays as it is.
        """
        with self.file.lock():
            stacks = self._history()
            taken = [d for d in expected if stacks.get(_key(d), [])[-1:] == [d]]
            if taken:
                when = self.file.date()
                self.file.write([_undone(decision.filename, _key(decision)[1], when) for decision in taken])
        return taken

    def decisions(self) -> dict[str, Decision]:
        """Return the decision in force on each file, by filename; empty when there is no journal yet.

        A torn last line (the process was killed while writing) is left out with a warning. Raises ValueError naming
        file and line for any other line that is not a decision.
        """
        return {name: stack[-1] for (name, opinion_of), stack in self._history().items() if stack and not opinion_of}

    def opinions(self) -> list[Decision]:
        """Return the second opinions, the last of each person on each file. Warns and raises as `decisions` does."""
        return [stack[-1] for (_, opinion_of), stack in self._history().items() if stack and opinion_of]

    def changes(self, since: int = 0) -> tuple[int, list[Key]]:
        """Read what is new; return how many changes there were, and what those after the first ``since`` were on.

        Warns and raises as `decisions` does.
        """
        self._history()
        return len(self._changed), self._changed[since:]

    def last(self, filename: str, sha256: str, opinion_of: str = "") -> Decision | None:
        """Return the last decision read on a picture, or second opinion; None without, or on another of its name."""
        stack = self._stacks.get((filename, opinion_of))
        return stack[-1] if stack and stack[-1].sha256 in ("", sha256) else None

    def _history(self) -> dict[Key, list[Decision]]:
        """Return the decisions that stand on each key, oldest first; lines read before are not read again."""
        anew, lines, torn = self.file.follow()
        if torn:
            warnings.warn(f"{self.path}: the last line is torn and left out: {torn!r}", stacklevel=3)
        if anew:
            self._changed += self._stacks
            self._count, self._stacks = 0, {}
        try:
            read = [_parse(line, f"{self.path}, line {number}") for number, line in enumerate(lines, self._count + 1)]
        except ValueError:
            self.file = Lines(self.path)  # the line is met again when this is asked again
            raise
        self._count += len(lines)
        for item in (item for items in read for item in items):
            key = _key(item) if isinstance(item, Decision) else item
            if isinstance(item, Decision):
                self._stacks.setdefault(key, []).append(item)
            elif self._stacks.get(key):
                self._stacks[key].pop()
            self._changed.append(key)
        return self._stacks


def in_force(journal: Journal, dataset: Dataset) -> dict[str, Decision]:
    """Return the decisions on a dataset's pictures as they are now: one on a picture since replaced does not count."""
    digests = {record.filename: record.sha256 for record in dataset.images}
    decisions = journal.decisions()
    return {name: d for name, d in decisions.items() if d.sha256 in ("", digests.get(name))}


def _key(decision: Decision) -> Key:
    """Return which decisions replace each other: those on one file, and second opinions of one person on it."""
    return decision.filename, (decision.person or decision.reviewer) if decision.second else ""


def _undone(filename: str, opinion_of: str, when: str) -> dict[str, str]:
    """Return the line that takes back the last decision on a file, or somebody's last second opinion on it."""
    return {"undo": filename, "when": when} | ({"opinion_of": opinion_of} if opinion_of else {})


def _parse(line: bytes, where: str) -> list[Decision | Key]:
    """Return what a line says: decisions, and the keys of those that are taken back."""
    return [_entry(item, where) for item in parse(line, where)]


def _entry(item: Any, where: str) -> Decision | Key:
    if isinstance(item, dict) and isinstance(item.get("undo"), str):
        return item["undo"], str(item.get("opinion_of", ""))
    if not isinstance(item, dict) or not isinstance(item.get("filename"), str):
        raise ValueError(f"{where} is not a decision: {str(item)[:60]!r}; it needs a filename and a label")
    check_label(item.get("label"), f"{where}: ")
    reasons = item.get("reasons", [])
    if not isinstance(reasons, list):
        raise ValueError(f"{where}: reasons are {reasons!r}; they must be a list of texts")
    texts = {key: str(item.get(key, "")) for key in _TEXTS}
    return Decision(item["filename"], item["label"], tuple(map(str, reasons)), **texts, second=bool(item.get("second")))
