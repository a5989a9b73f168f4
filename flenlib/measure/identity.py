"""Whose face is it: the reference set of a character, and the distance of every picture to it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from flenlib.dataset.records import NOT_MEASURED, Dataset, ImageRecord
from flenlib.measure.faces import ReferenceSet, find_faces, find_many

FACE_DISTANCE = "face_distance"
KEPT, DROPPED = "kept", "dropped"
NEAR_COPY = "near_copy"
"""The measurement beside the threshold: a picture nearer to a source than this is a copy and adds nothing."""


def verdict(record: ImageRecord) -> str:
    """Return kept, dropped, or not measured, of a record with a face distance and its threshold."""
    found = record.measurements[FACE_DISTANCE]
    if found == NOT_MEASURED:
        return NOT_MEASURED
    return KEPT if found <= record.measurements["threshold"] else DROPPED


@dataclass(frozen=True)
class References:
    """The faces a picture is compared with: of sources used in training, and of those held out from it."""

    training: ReferenceSet
    held_out: ReferenceSet | None


def references(source: Dataset) -> References:
    """Return the reference sets of a curated source dataset. Raises ValueError when fewer than two faces are found."""
    kept = [r for r in source.images if not r.held_out]
    held = [r for r in source.images if r.held_out]
    training = ReferenceSet.from_images(source.pictures(kept), [r.filename for r in kept])
    held_out = None
    if held:
        held_out = ReferenceSet.from_images(source.pictures(held), [r.filename for r in held])
    return References(training, held_out)


def distance(picture: Image.Image, reference: ReferenceSet) -> float | None:
    """Return the least face distance of a picture to a reference set, or None where no face is found."""
    return reference.distance(find_faces(picture))


def measure(
    dataset: Dataset,
    records: Sequence[ImageRecord],
    reference: ReferenceSet,
) -> None:
    """Write each record's face distance into its measurements (or *not measured*), skipping what is measured already.

    A measurement is tied to the picture's sha256 and the reference set, so new references measure anew.
    """
    against = hashlib.sha256(reference.encodings.tobytes()).hexdigest()[:12]
    todo = [r for r in records if r.extra.get("measured") != f"{r.sha256[:12]}/{against}"]
    for record, faces in zip(todo, find_many(dataset.pictures(todo)), strict=True):
        found = reference.distance(faces)
        record.measurements[FACE_DISTANCE] = NOT_MEASURED if found is None else round(found, 4)
        record.measurements["faces_found"] = len(faces)
        record.extra["measured"] = f"{record.sha256[:12]}/{against}"
    dataset.save()
