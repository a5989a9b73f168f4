"""What a reviewer may see of one picture, as plain values that a browser can be sent."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flenlib.dataset.journal import Decision
from flenlib.dataset.records import NOT_MEASURED, Dataset, ImageRecord
from flenlib.review import order
from flenlib.review.order import FACE_DISTANCE, THRESHOLD


def describe(
    record: ImageRecord,
    source: tuple[Dataset, ImageRecord] | None,
    decision: Decision | None,
    suggestion: Decision | None,
) -> dict[str, Any]:
    """Return a picture, its source, the decision on it and a policy's suggestion; None where there is none."""
    return {
        "name": record.filename, "picture": record.sha256 or record.filename,
        "source": source[1].sha256 if source else "", "source_name": source[1].filename if source else "",
        "kind": order.kind_of(record), "distance": record.measurements.get(FACE_DISTANCE, NOT_MEASURED),
        "threshold": record.measurements.get(THRESHOLD), "face": order.face(record), "prompt": record.prompt or "",
        "seed": record.seed, "caption": record.caption, "angle": record.angle or "",
        "expression": record.expression or "", "attributes": record.attributes,
        "decision": asdict(decision) if decision else None, "suggestion": asdict(suggestion) if suggestion else None,
    }  # fmt: skip
