"""Review decisions: an append-only journal, the labels and folders made from it, and moves of files read back.

One JSON line a decision, fsynced. The journal is the truth: a record's label and the folders ``good/``,
``corrections/`` and ``rejected/`` are derived from it and can be made again at any time.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from flenlib.dataset.files import link_or_copy
from flenlib.dataset.images import sha256
from flenlib.dataset.records import LABELS, Dataset, ImageRecord, check_label

LOCK_SECONDS = 10.0
_TEXTS = ("reviewer", "when", "note", "sha256", "issue", "prompt", "corrected", "person")

FOLDERS = {"good": "good", "needs_correction": "corrections", "reject": "rejected"}
"""The folder each label is shown in, beside ``metadata.json``."""


@dataclass(frozen=True)
class Decision:
    """What a reviewer said of one image, and when (UTC)."""

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


@dataclass
class SyncReport:
    """What `sync` found: moves (filename, label before, label now) and sentences on what it could not match."""

    moved: list[tuple[str, str | None, str]] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)


class Journal:
    """An append-only file of review decisions; nothing in it is ever removed."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

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

    def extend(self, decisions: Sequence[Decision]) -> list[Decision]:
        """Write several decisions in one fsynced write and return them, all dated now. Raises as `append` does."""
        for decision in decisions:
            check_label(decision.label, f"{decision.filename!r}: ")
        when = _now()
        dated = [replace(decision, when=when) for decision in decisions]
        with self._lock():
            self._write([asdict(decision) for decision in dated])
        return dated

    def undo(self, filename: str, expected: Decision | None = None) -> None:
        """Take back the last decision on a file, as a line of its own.

        Raises ValueError when there is none, or when it is not the ``expected`` one because somebody else has decided
        since; nothing is written then. A second opinion is taken back by expecting it.
        """
        key = _key(expected) if expected else (filename, "")
        with self._lock():
            last = self._history().get(key)
            if not last:
                raise ValueError(f"there is no decision on {filename!r} to undo in {self.path}")
            if expected is not None and last[-1] != expected:
                raise ValueError(f"{filename} was since labelled {last[-1].label} elsewhere; nothing was undone")
            self._write([{"undo": filename, "when": _now()} | ({"opinion_of": key[1]} if key[1] else {})])

    def decisions(self) -> dict[str, Decision]:
        """Return the decision in force on each file, by filename; empty when there is no journal yet.

        A torn last line (the process was killed while writing) is left out with a warning. Raises ValueError naming
        file and line for any other line that is not a decision.
        """
        return {name: stack[-1] for (name, opinion_of), stack in self._history().items() if stack and not opinion_of}

    def opinions(self) -> list[Decision]:
        """Return the second opinions, the last of each person on each file. Warns and raises as `decisions` does."""
        return [stack[-1] for (_, opinion_of), stack in self._history().items() if stack and opinion_of]

    def _history(self) -> dict[tuple[str, str], list[Decision]]:
        history: dict[tuple[str, str], list[Decision]] = {}
        lines, torn = self._lines()
        if torn:
            warnings.warn(f"{self.path}: the last line is torn and left out: {torn!r}", stacklevel=3)
        for number, line in enumerate(lines, 1):
            item = _parse(line, f"{self.path}, line {number}")
            if isinstance(item, Decision):
                history.setdefault(_key(item), []).append(item)
            elif item and history.get(item):
                history[item].pop()
        return history

    def _lines(self) -> tuple[list[bytes], bytes]:
        """Return the whole lines, and the torn last line (empty when there is none)."""
        lines = self.path.read_bytes().split(b"\n") if self.path.is_file() else []
        while lines and not lines[-1].strip():
            lines.pop()
        if lines and not _is_json(lines[-1]):
            return lines[:-1], lines[-1]
        return lines, b""

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Hold the journal for one change. Raises TimeoutError when another program holds it for too long."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.path.with_name(f".{self.path.name}.lock"), timeout=LOCK_SECONDS):
                yield
        except Timeout:
            raise TimeoutError(
                f"{self.path} is held by another program for over {LOCK_SECONDS:.0f} s; close that and try again"
            ) from None

    def _write(self, entries: Sequence[dict[str, Any]]) -> None:
        torn = self._lines()[1]
        with self.path.open("r+b" if self.path.exists() else "w+b") as file:
            file.seek(_end(file, torn))
            kept = [{"torn": torn.decode(errors="replace")}] if torn else []
            text = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in [*kept, *entries])
            file.write(text.encode())
            file.truncate()
            file.flush()
            os.fsync(file.fileno())


def in_force(journal: Journal, dataset: Dataset) -> dict[str, Decision]:
    """Return the decisions on a dataset's pictures as they are now: one on a picture since replaced does not count."""
    digests = {record.filename: record.sha256 for record in dataset.images}
    decisions = journal.decisions()
    return {name: d for name, d in decisions.items() if d.sha256 in ("", digests.get(name))}


def forget_copies(folder: Path, filename: str) -> None:
    """Take a picture that is about to be replaced out of the label folders: the labels were of the old one."""
    for name in FOLDERS.values():
        (folder / name / filename).unlink(missing_ok=True)


def apply(journal: Journal, dataset: Dataset) -> dict[str, int]:
    """Write the journal's labels into the dataset, and make the folders of the labels say the same.

    Images are hard-linked (or copied) into ``good/``, ``corrections/`` and ``rejected/``; the images themselves are
    never moved or changed, and a file there that is not the dataset's own is left alone. Returns how many images have
    each label, how many are ``unlabelled``, and how many decisions are on ``unknown`` files. Call `sync` first, or
    moves made by hand are overwritten.
    """
    decisions = in_force(journal, dataset)
    for folder in FOLDERS.values():
        (dataset.folder / folder).mkdir(parents=True, exist_ok=True)
    for record in dataset.images:
        decision = decisions.get(record.filename)
        label = _label(decision) if decision else None
        _show(dataset, record, label["label"] if label else None)
        record.label = label
    dataset.save()  # after the folders: a killed run is then never mistaken for moves made by hand
    known = {record.filename for record in dataset.images}
    counts = {label: len(dataset.labelled(label)) for label in LABELS}
    return counts | {"unlabelled": len(known) - sum(counts.values()), "unknown": len(decisions.keys() - known)}


def sync(dataset: Dataset, journal: Journal) -> SyncReport:
    """Read files that a person moved between the label folders back as decisions of reviewer ``folder``.

    A move is a file that lies in another folder than the label last applied to the dataset says; it is found by
    content, so a renamed file counts. Only the journal is written. What is ambiguous is said and left alone.
    """
    report = SyncReport()
    decisions = in_force(journal, dataset)
    places, strangers = _places(dataset)
    report.unmatched += [f"{path} is not an image of this dataset" for path in strangers]
    for record in dataset.images:
        before = record.label["label"] if record.label else None
        found = places.get(record.filename, set())
        current = decisions[record.filename].label if record.filename in decisions else None
        if found == {before} or found == {current} or (not found and before is None):
            continue
        if not found:
            report.unmatched.append(f"{record.filename} is labelled {before} but lies in no folder; the label stays")
        elif len(found) > 1:
            report.unmatched.append(f"{record.filename} lies in {_and(found)}; leave it in one of them")
        elif current != before:
            report.unmatched.append(f"{record.filename} lies in {_and(found)}, but was since reviewed as {current}")
        else:
            (label,) = found
            journal.append(record.filename, label, ("moved by hand",), "folder", sha256=record.sha256)
            report.moved.append((record.filename, before, label))
    return report


def _key(decision: Decision) -> tuple[str, str]:
    """Return which decisions replace each other: those on one file, and second opinions of one person on it."""
    return decision.filename, (decision.person or decision.reviewer) if decision.second else ""


def _parse(line: bytes, where: str) -> Decision | tuple[str, str] | None:
    """Return a decision, the key of an undone one, or None for a repaired torn line or an empty one."""
    if not line.strip():
        return None
    try:
        item = json.loads(line)
    except ValueError:
        raise ValueError(f"{where} is damaged: {line[:60]!r}; restore the journal or remove that line") from None
    if isinstance(item, dict) and "torn" in item:
        return None
    if isinstance(item, dict) and isinstance(item.get("undo"), str):
        return item["undo"], str(item.get("opinion_of", ""))
    if not isinstance(item, dict) or not isinstance(item.get("filename"), str):
        raise ValueError(f"{where} is not a decision: {line[:60]!r}; it needs a filename and a label")
    check_label(item.get("label"), f"{where}: ")
    reasons = item.get("reasons", [])
    if not isinstance(reasons, list):
        raise ValueError(f"{where}: reasons are {reasons!r}; they must be a list of texts")
    texts = {key: str(item.get(key, "")) for key in _TEXTS}
    return Decision(item["filename"], item["label"], tuple(map(str, reasons)), **texts, second=bool(item.get("second")))


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _end(file: Any, torn: bytes) -> int:
    """Return where to write: over the torn last line, or after the last newline (one is added when missing).

    The line that replaces a torn one holds its text and is longer, so writing over it loses nothing.
    """
    content = file.read()
    if torn:
        return content.rindex(torn)
    if content and not content.endswith(b"\n"):
        file.write(b"\n")
        return len(content) + 1
    return len(content)


def _label(decision: Decision) -> dict[str, Any]:
    label = {"label": decision.label, "reasons": list(decision.reasons), "reviewer": decision.reviewer}
    return label | {"when": decision.when} | ({"note": decision.note} if decision.note else {})


def _show(dataset: Dataset, record: ImageRecord, label: str | None) -> None:
    """Make one image appear in the folder of its label and in no other."""
    image = dataset.path(record)
    copies = {name: dataset.folder / folder / record.filename for name, folder in FOLDERS.items()}
    own = {name: path for name, path in copies.items() if path.is_file() and _same(path, image, record)}
    if not image.exists() and own:  # someone moved the image itself into a folder: bring it back first
        link_or_copy(next(iter(own.values())), image)
    if label and not copies[label].exists() and image.exists():
        link_or_copy(image, copies[label])
    for name, path in own.items():
        if name != label:
            path.unlink()


def _same(path: Path, image: Path, record: ImageRecord) -> bool:
    return (image.exists() and path.samefile(image)) or sha256(path) == record.sha256


def _places(dataset: Dataset) -> tuple[dict[str, set[str]], list[Path]]:
    """Return the labels of the folders each image lies in, by filename, and the files that are no image of it."""
    by_hash: dict[str, list[str]] = {}
    for record in dataset.images:
        by_hash.setdefault(record.sha256, []).append(record.filename)
    places: dict[str, set[str]] = {}
    strangers = []
    for label, folder in FOLDERS.items():
        for path in sorted((dataset.folder / folder).glob("*")):
            if path.name.startswith(".") or not path.is_file():
                continue
            names = by_hash.get(sha256(path), [])
            if path.name in names or len(names) == 1:
                places.setdefault(path.name if path.name in names else names[0], set()).add(label)
            else:
                strangers.append(path)
    return places, strangers


def _and(labels: set[str]) -> str:
    return " and ".join(f"{FOLDERS[label]}/" for label in sorted(labels))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
