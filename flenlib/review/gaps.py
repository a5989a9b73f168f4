"""What a strict review looks for: which angles, expressions and poses there are too few of, and who would fill them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from flenlib.measure.coverage import FIELDS, Described, all_values, value_of


def table(have: Sequence[Described], picked: Sequence[Described]) -> list[dict[str, Any]]:
    """Return a row for each value of angle, expression and pose: how many there are, and how many are picked."""
    rows = []
    for field in FIELDS:
        had, new = (Counter(value_of(record, field) for record in records) for records in (have, picked))
        values = all_values(field, [value for value in had | new if value])
        rows += [{"field": field, "value": v, "have": had[v], "picked": new[v]} for v in values if v != "unknown"]
    return rows


def fills(record: Described, others: Sequence[Described]) -> list[str]:
    """Return the values of a picture that none of the others has, such as ``["half-left", "angry"]``."""
    values = [(field, value_of(record, field)) for field in FIELDS]
    return [value for field, value in values if value and all(value_of(o, field) != value for o in others)]
