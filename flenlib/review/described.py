"""What a reviewer may see of one picture, as plain values that a browser can be sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from flenlib.dataset.journal import Decision
from flenlib.dataset.records import NOT_MEASURED, Dataset, ImageRecord
from flenlib.measure.measures import Measure, among
from flenlib.review import order


def describe(
    record: ImageRecord,
    source: tuple[Dataset, ImageRecord] | None,
    decision: Decision | None,
    suggestion: Decision | None,
    measures: Sequence[Measure],
) -> dict[str, Any]:
    """Return a picture, its source, the decision on it and a policy's suggestion; None where there is none.

    ``measured`` has every measure the record has, in their order; ``badges`` those for the small picture.
    """
    found = among(record.measurements, measures)
    return {
        "name": record.filename, "picture": record.sha256 or record.filename,
        "source": source[1].sha256 if source else "", "source_name": source[1].filename if source else "",
        "kind": order.kind_of(record), "badges": [badge(m, record) for m in found if m.badge],
        "measured": [badge(m, record) for m in found], "prompt": record.prompt or "",
        "seed": record.seed, "caption": record.caption, "angle": record.angle or "",
        "expression": record.expression or "", "attributes": record.attributes,
        "decision": asdict(decision) if decision else None, "suggestion": asdict(suggestion) if suggestion else None,
    }  # fmt: skip


def badge(measure: Measure, record: ImageRecord) -> dict[str, str]:
    """Return a measurement in words: its name, its value over its limit, how it stands to that, and what it is."""
    state, limit = measure.state(record.measurements), record.measurements.get(measure.limit)
    text = measure.shown(record.measurements)
    if state in ("within", "beyond"):
        text += f" / {measure.show(limit)}"
    title = measure.label + (f": not measured, {measure.missing}" if state == NOT_MEASURED and measure.missing else "")
    return {"name": measure.words, "text": text, "state": state, "title": title}
