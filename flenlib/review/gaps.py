"""What a strict review looks for: which angles, expressions and poses there are too few of, and who would fill them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from flenlib.dataset.records import ImageRecord
from flenlib.measure.coverage import FIELDS, Described, all_values, value_of


def table(have: Sequence[Described], picked: Sequence[Described]) -> list[dict[str, Any]]:
    """Return a row for each value of angle, expression and pose: how many there are, and how many are picked."""
    rows = []
    for field in FIELDS:
        had, new = (Counter(value_of(record, field) for record in records) for records in (have, picked))
        values = all_values(field, [value for value in had | new if value])
        rows += [{"field": field, "value": v, "have": had[v], "picked": new[v]} for v in values if v != "unknown"]
    return rows


def fills(
    records: Sequence[ImageRecord], have: Sequence[Described], picked: Sequence[ImageRecord]
) -> dict[str, list[str]]:
    """Return what each picture would add, such as ``{"a.png": ["half-left", "angry"]}``; the others are left out.

    A value counts when nothing in ``have`` and no other picked picture has it.
    """
    there = Counter(place for record in (*have, *picked) for place in _places(record))
    own = {record.filename for record in picked}
    found = {
        record.filename: [place[1] for place in _places(record) if there[place] == (record.filename in own)]
        for record in records
    }
    return {name: values for name, values in found.items() if values}


def words(picked: int, target: tuple[int, int]) -> str:
    """Return how many are picked and how many should be, in words."""
    low, high = target
    said = f"{picked} picked of {low} to {high}"
    if picked < low:
        return f"{said}: {low - picked} more needed"
    return f"{said}: {picked - high} too many" if picked > high else said


def _places(record: Described) -> list[tuple[str, str]]:
    values = [(field, value_of(record, field)) for field in FIELDS]
    return [(field, value) for field, value in values if value]
