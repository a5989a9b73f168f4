"""Whose face is it: the reference set of a character, and the distance of every picture to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flenlib.dataset.images import open_image
from flenlib.dataset.records import NOT_MEASURED, Dataset, ImageRecord
from flenlib.measure.face_store import faces_in
from flenlib.measure.faces import ReferenceSet
from flenlib.measure.measures import FACE_DISTANCE, MEASURES, Measure, of_picture, recorded
from flenlib.measure.seen import Seen

KEPT, DROPPED = "kept", "dropped"
NEAR_COPY = "near_copy"
"""The measurement beside the threshold: a picture nearer to a source than this is a copy and adds nothing."""


def verdict(record: ImageRecord) -> str:
    """Return kept, dropped, or not measured, of a record with a face distance and its threshold."""
    return {"within": KEPT, "beyond": DROPPED}.get(FACE_DISTANCE.state(record.measurements), NOT_MEASURED)


def limit(record: ImageRecord) -> float:
    """Return the largest face distance of a picture that is kept; NaN where none could be calibrated.

    Raises ValueError naming a picture that was never measured.
    """
    try:
        return FACE_DISTANCE.limit_in(record.measurements)
    except KeyError:
        raise ValueError(
            f"{record.filename} has no {FACE_DISTANCE.limit} among its measurements: run the step that measures "
            "it again (12 for edits, 16 for synthetic pictures)"
        ) from None


def calibrated(record: ImageRecord) -> bool:
    """Say whether there was a threshold to judge a picture by; there is none where the sources show too few faces."""
    return record.measurements.get(FACE_DISTANCE.limit, NOT_MEASURED) != NOT_MEASURED


@dataclass(frozen=True)
class References:
    """The faces a picture is compared with: of sources used in training, and of those held out from it."""

    training: ReferenceSet
    held_out: ReferenceSet | None


def references(source: Dataset) -> References:
    """Return the reference sets of a curated source dataset; with fewer than two faces nothing is measured by them."""
    kept = [r for r in source.images if not r.held_out]
    held = [r for r in source.images if r.held_out]
    return References(_set(source, kept), _set(source, held) if held else None)


def _set(source: Dataset, records: Sequence[ImageRecord]) -> ReferenceSet:
    return ReferenceSet.from_faces(faces_in([source.path(r) for r in records]), [r.filename for r in records])


def measure(
    dataset: Dataset,
    records: Sequence[ImageRecord],
    reference: ReferenceSet,
    measures: Sequence[Measure] = MEASURES,
) -> None:
    """Write every measure of a picture into each record's measurements, or *not measured*."""
    paths = [dataset.path(record) for record in records]
    for record, path, faces in zip(records, paths, faces_in(paths), strict=True):
        seen = Seen(open_image(path), faces, training=reference, attributes=record.attributes)
        record.measurements |= recorded(of_picture(seen, measures))
    dataset.save()
