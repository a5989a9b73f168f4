"""Steps 1.3 and 1.7: collecting labels from a person, a file, or a stated policy, and applying them.

A label is written to the journal by whoever made it and is only then applied to the dataset and its folders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
from PIL import Image

from flenlib.dataset import label_folders
from flenlib.dataset.images import contact_sheet
from flenlib.dataset.journal import Decision, Journal, in_force
from flenlib.dataset.labels_file import read_labels_file
from flenlib.dataset.records import NOT_MEASURED, Dataset, ImageRecord
from flenlib.measure.identity import limit
from flenlib.measure.measures import EDIT_DONE, FACE_DISTANCE, SHARPNESS_KEPT, UNCHANGED
from flenlib.params import Review, ReviewEnriched
from flenlib.project import from_base
from flenlib.words import LABELS

PEOPLE = ("human", "folder")
"""Reviewers that are people: in the widget, or by moving files."""

SHOWN = 24
"""Pictures on a contact sheet in a review notebook, at most."""

SMEARED = 0.5
"""Share of its source's sharpness (variance of the Laplacian) under which such a picture is smeared. Of 1,600
turns drawn by the renderer a hundredth measured under 0.47 and half 1.0 or more; softened by 1 px none over 0.26."""

Verdict = tuple[str, tuple[str, ...]]
Policy = Callable[[ImageRecord], Verdict]


class PendingReview(RuntimeError):
    """Pictures wait for a person; the sentence says how many and where."""


def open_journal(dataset: Dataset) -> Journal:
    """Return the journal of decisions that lies beside a dataset's metadata."""
    return Journal(dataset.folder / "journal.jsonl")


def identity_policy(settings: ReviewEnriched) -> Policy:
    """Return the stated policy over measurements that ``auto`` uses in step 1.3.

    Within the threshold of its kind: good. Up to ``margin`` times the threshold, or a face that should be there and is
    not: needs_correction. Beyond: reject. A picture of which no face can be expected is accepted or sent back as
    ``accept_unmeasured`` says; a turned head among them is sent back when it is smeared, less than half as sharp as its
    source. What identity would pass needs correction when the edit is measured as not done.
    """

    def decide(record: ImageRecord) -> Verdict:
        label, reasons = by_identity(record)
        if label == "good" and edit_failed(record.measurements):
            return "needs_correction", (f"edit not done: {record.attributes['edit_value']} was asked for",)
        return label, reasons

    def by_identity(record: ImageRecord) -> Verdict:
        found, threshold = FACE_DISTANCE.read(record.measurements), limit(record)
        if found is None:
            if record.measurements.get("face_expected"):
                return "needs_correction", ("no face found: the source shows one",)
            kept = SHARPNESS_KEPT.read(record.measurements)
            if kept is not None and kept < SMEARED:
                return "needs_correction", (f"smeared: {kept:.0%} as sharp as its source, {SMEARED:.0%} wanted",)
            if settings.accept_unmeasured:
                return "good", ("identity not measured: no face can be expected",)
            return "needs_correction", ("identity not measured",)
        if FACE_DISTANCE.within(found, threshold):
            return "good", (f"face distance {found:.2f} within {threshold:.2f}",)
        reason = (f"identity drift: face distance {found:.2f} over {threshold:.2f}",)
        return ("needs_correction" if found <= threshold * settings.margin else "reject"), reason

    return decide


def edit_failed(measurements: Mapping[str, float | str]) -> bool:
    """Say whether an edit is measured as not done, or as its source again."""
    return EDIT_DONE.read(measurements) == 0 or UNCHANGED.read(measurements) == 1


def collect(dataset: Dataset, settings: Review, policy: Policy, corrections: bool = True) -> Journal:
    """Write the labels of a file or of the policy into the journal, and return it; ``human`` adds nothing here.

    Moves a person made between the label folders in a file manager are read back first, and where a later step reads
    ``corrections``, what was edited in the folder of that name. What a person decided (here or in a file manager) is
    overwritten neither by the policy nor by a file. Raises FileNotFoundError or ValueError for a labels file that is
    missing or names a picture the dataset does not have; nothing is written then.
    """
    journal = open_journal(dataset)
    report = label_folders.sync(dataset, journal, corrections)
    for said in (*report.sentences(), *report.unmatched):
        print(said)
    if settings.reviewer == "file":
        rows = read_labels_file(labels_file(settings))
        verdicts = [(dataset.get(d.filename), d.label, tuple(d.reasons)) for d in rows]
    elif settings.reviewer == "auto":
        verdicts = [(record, *policy(record)) for record in dataset.images]
    else:
        verdicts = []
    decided = in_force(journal, dataset)
    for record, label, reasons in verdicts:
        known = decided.get(record.filename)
        if known is None or known.reviewer not in PEOPLE:
            note(journal, known, record, label, reasons, settings.reviewer)
    return journal


def apply(dataset: Dataset, journal: Journal, settings: Review, notebook: Path) -> pd.Series:
    """Apply the journal to the dataset and its folders and return how many pictures got each label.

    ``notebook`` is the executed copy of the review. Raises PendingReview when pictures are undecided: the message
    says how many wait, and names that copy, or the rows a labels file lacks.
    """
    waiting = pending(dataset, journal, settings)
    if waiting and settings.reviewer == "file":
        lacking = ", ".join(r.filename for r in waiting[:5]) + (", ..." if len(waiting) > 5 else "")
        raise PendingReview(
            f"{settings.file} has no row for {len(waiting)} of {len(dataset.images)} pictures ({lacking}): add one "
            "for each (filename,label,reasons), then run again"
        )
    if waiting:
        raise PendingReview(
            f"{len(waiting)} of {len(dataset.images)} pictures wait for a label: open {notebook} "
            "(make lab PARAMS=...), run it, label them in the widget, then run again"
        )
    counts = label_folders.apply(journal, dataset)
    return pd.Series({label: counts[label] for label in LABELS}, name="pictures")


def pending(dataset: Dataset, journal: Journal, settings: Review) -> list[ImageRecord]:
    """Return the records nobody has decided on yet; for ``human``, the policy's own labels do not count."""
    decided = in_force(journal, dataset)
    ignored = {"auto"} if settings.reviewer == "human" else set()
    return [r for r in dataset.images if r.filename not in decided or decided[r.filename].reviewer in ignored]


def check_applied(dataset: Dataset) -> None:
    """Raise PendingReview when the labels in force are not those of the dataset: they were given after `apply`."""
    decided = in_force(open_journal(dataset), dataset)
    later = [r.filename for r in dataset.images if r.filename in decided and decided[r.filename].label != _label(r)]
    if later:
        raise PendingReview(f"{len(later)} labels were given since they were applied: run the cells from `apply` again")


def _label(record: ImageRecord) -> str | None:
    return record.label["label"] if record.label else None


def sheet(dataset: Dataset, records: Sequence[ImageRecord], titles: Sequence[str] | None = None) -> Image.Image:
    """Return a contact sheet of the records; of more than 24 that many, evenly spread, which is then printed.

    More would make an executed notebook of hundreds of pictures too large for a browser and for git.
    """
    shown = [n * len(records) // SHOWN for n in range(SHOWN)] if len(records) > SHOWN else range(len(records))
    if len(records) > SHOWN:
        print(f"{SHOWN} of {len(records)} pictures shown, evenly spread; all are in {dataset.folder}")
    paths = [dataset.path(records[n]) for n in shown]
    return contact_sheet(paths, [titles[n] for n in shown] if titles else None, columns=8, cell=96)


def refused_sheet(dataset: Dataset) -> Image.Image:
    """Return a contact sheet of what was not taken, each with its face distance, label and first reason in short."""
    records = [r for r in dataset.images if r.label and r.label["label"] != "good"]
    return sheet(dataset, records, [short_title(r) for r in records])


def short_title(record: ImageRecord) -> str:
    """Return what fits under a small picture: face distance, label, and its first reason up to a colon."""
    found = FACE_DISTANCE.read(record.measurements)
    number = "" if found is None else f"{FACE_DISTANCE.show(found)} "
    label = {"needs_correction": "correct"}.get(record.label["label"], record.label["label"])
    return f"{number}{label}: {(record.label['reasons'] or ['no reason'])[0].split(':')[0]}"


def reasons_table(dataset: Dataset) -> pd.DataFrame:
    """Return every picture's label, who made it and why, the worst first."""
    rows = [
        {"picture": r.filename, "label": r.label["label"], "by": r.label["reviewer"],
         "why": "; ".join(r.label["reasons"]),
         FACE_DISTANCE.name: r.measurements.get(FACE_DISTANCE.name, NOT_MEASURED)}
        for r in dataset.images if r.label
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["picture", "label", "by", "why", FACE_DISTANCE.name]).set_index("picture")
    order = {"reject": 0, "needs_correction": 1, "good": 2}
    return table.sort_values("label", key=lambda column: column.map(order), kind="stable")


def labels_file(settings: Review) -> Path:
    """Return the CSV that reviewer ``file`` reads. Raises ValueError when none is named."""
    if not settings.file:
        raise ValueError("reviewer is 'file' and 'file' is empty; give a CSV with columns filename,label,reasons")
    return from_base(settings.file)


def note(
    journal: Journal, known: Decision | None, record: ImageRecord, label: str, reasons: tuple[str, ...], reviewer: str
) -> None:
    """Write a decision to the journal unless the one ``known`` says the same already."""
    if known is None or (known.label, tuple(known.reasons), known.reviewer) != (label, reasons, reviewer):
        journal.append(record.filename, label, reasons, reviewer, sha256=record.sha256)
