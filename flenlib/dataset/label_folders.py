"""The folders ``good/``, ``corrections/`` and ``rejected/`` of a dataset: made from its journal, and read back.

They can be made again at any time. A person may review in a file manager: what is dragged between them, and what is
edited in ``corrections/``, becomes a decision.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flenlib.dataset.corrected import FOLDER, store
from flenlib.dataset.files import copy, link_or_copy
from flenlib.dataset.images import sha256
from flenlib.dataset.journal import Decision, Journal, in_force
from flenlib.dataset.records import Dataset, ImageRecord
from flenlib.words import LABELS

FOLDERS = {"good": "good", "needs_correction": "corrections", "reject": "rejected"}
"""The folder each label is shown in, beside ``metadata.json``."""
SET_ASIDE = "set_aside"
"""The folder of pictures and edited copies whose plan has changed since."""


@dataclass
class SyncReport:
    """What `sync` found: moves (filename, label before, label now), corrected pictures, and what it could not match."""

    moved: list[tuple[str, str | None, str]] = field(default_factory=list)
    corrected: list[str] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)

    def sentences(self) -> list[str]:
        """Return what was read back, one sentence each."""
        moved = [f"{name} was moved by hand: {before or 'no label'} -> {after}" for name, before, after in self.moved]
        return moved + [f"{name} was corrected by hand: kept in {FOLDER}/" for name in self.corrected]


def forget_copies(folder: Path, filename: str) -> None:
    """Take a picture that is about to be replaced out of the label folders: the labels were of the old one.

    Call it while the old one is still there: a copy that differs, because a person edited it, goes to ``set_aside/``.
    """
    picture, aside = folder / filename, folder / SET_ASIDE
    for name in FOLDERS.values():
        shown = folder / name / filename
        if not shown.is_file():
            continue
        if picture.is_file() and sha256(shown) == sha256(picture):
            shown.unlink()
        else:
            aside.mkdir(exist_ok=True)
            os.replace(shown, aside / f"{name}__{filename}")


def apply(journal: Journal, dataset: Dataset) -> dict[str, int]:
    """Write the journal's labels into the dataset, and make the folders of the labels say the same.

    Images are copied, not linked, as a person may drag a copy into ``corrections/`` and edit it there in place; the
    images themselves are never moved or changed, and a file in the folders that is not the dataset's own is left
    alone. Returns how many images have each label, how many are ``unlabelled``, and how many decisions are on
    ``unknown`` files. Call `sync` first, or moves made by hand are overwritten.
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
    counts = {name: len(dataset.labelled(name)) for name in LABELS}
    return counts | {"unlabelled": len(known) - sum(counts.values()), "unknown": len(decisions.keys() - known)}


def sync(dataset: Dataset, journal: Journal, corrections: bool = True) -> SyncReport:
    """Read files that a person moved between the label folders, or edited in ``corrections/``, back as decisions.

    A move is a file that lies in another folder than the label last applied to the dataset says; it is found by
    content, so a renamed file counts. A file in ``corrections/`` that bears an image's name and has other content is
    its corrected picture, and is kept as such, whether it lay there before or was dragged there and edited at once.
    The reviewer of both is ``folder``. A file that is ambiguous, or that cannot be a corrected picture, is
    reported and left alone; so is every corrected picture when no later step reads them (``corrections`` is false).
    """
    report = SyncReport()
    decisions = in_force(journal, dataset)
    places, strangers = _places(dataset)
    names = {record.filename for record in dataset.images}
    edited: dict[str, Path] = {}
    moves: list[Decision] = []
    for path in strangers:
        if path.name in names and path.parent.name == FOLDERS["needs_correction"]:
            places.setdefault(path.name, set()).add("needs_correction")
            edited[path.name] = path
        elif path.name in names:
            report.unmatched.append(f"{path} is not {path.name} as recorded; correct pictures in corrections/ only")
        else:
            report.unmatched.append(f"{path} is not an image of this dataset")
    for record in dataset.images:
        before = record.label["label"] if record.label else None
        found = places.get(record.filename, set())
        known = decisions.get(record.filename)
        current = known.label if known else None
        if record.filename in edited and not corrections:
            path = edited[record.filename]
            report.unmatched.append(f"{path} was edited; corrected pictures are read from step 1.3 alone")
        elif found == {"needs_correction"} and record.filename in edited and current in (before, "needs_correction"):
            _adopt(dataset, journal, record, known, edited[record.filename], report)
        elif record.filename not in edited and (found in ({before}, {current}) or (not found and before is None)):
            continue
        elif not found:
            report.unmatched.append(f"{record.filename} is labelled {before} but lies in no folder; the label stays")
        elif len(found) > 1:
            report.unmatched.append(f"{record.filename} lies in {_and(found)}; leave it in one of them")
        elif current != before:
            report.unmatched.append(
                f"{record.filename} lies in {_and(found)}, but was since reviewed as {current or 'undecided'}"
            )
        else:
            (label,) = found
            moves.append(Decision(record.filename, label, ("moved by hand",), "folder", sha256=record.sha256))
    written = journal.extend(moves, lambda known, new: known != decisions.get(new.filename))
    for move in written:
        known_label = dataset.get(move.filename).label
        report.moved.append((move.filename, known_label["label"] if known_label else None, move.label))
    since = {move.filename for move in moves} - {move.filename for move in written}
    report.unmatched += [f"{name} was moved, but was reviewed at that moment; look again" for name in sorted(since)]
    return report


def _adopt(
    dataset: Dataset, journal: Journal, record: ImageRecord, known: Decision | None, path: Path, report: SyncReport
) -> None:
    """Keep an edited file as the picture's corrected one, unless it is that already, and label the picture so."""
    try:
        kept = store(dataset, record, path.read_bytes(), path.name)
    except (ValueError, OSError) as error:
        report.unmatched.append(str(error))
        return
    before, current = known.label if known else None, known
    if known is None or before != "needs_correction":
        known = Decision(record.filename, "needs_correction", ("moved by hand",))
        report.moved.append((record.filename, before, "needs_correction"))
    if kept != known.corrected:
        adopted = replace(known, reviewer="folder", corrected=kept, sha256=record.sha256)
        written = journal.extend([adopted], lambda now, new: now != current)
        report.corrected += [decision.filename for decision in written]


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
    if label and image.exists() and (not copies[label].exists() or copies[label].samefile(image)):
        copy(image, copies[label])
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
