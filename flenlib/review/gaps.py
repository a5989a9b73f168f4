"""What a strict review looks for: angles, expressions and poses with too few pictures, and pictures to fill them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from flenlib.measure.coverage import FIELDS, Described, all_values, value_of

Place = tuple[str, str]
"""A field and one of its values."""


def table(had: Mapping[Place, int], new: Mapping[Place, int]) -> list[dict[str, Any]]:
    """Return a row for each value of angle, expression and pose: how many there are, and how many are picked.

    Both are given as `counts`.
    """
    rows = []
    for field in FIELDS:
        values = all_values(field, [v for counted in (had, new) for (of, v), n in counted.items() if of == field and n])
        rows += [
            {"field": field, "value": v, "have": had.get((field, v), 0), "picked": new.get((field, v), 0)}
            for v in values
            if v != "unknown"
        ]
    return rows


def counts(records: Sequence[Described]) -> Counter[Place]:
    """Return how many of the records have each value of each field."""
    return Counter(place for record in records for place in _places(record))


def fills(record: Described, had: Mapping[Place, int], new: Mapping[Place, int], counted: bool) -> list[str]:
    """Return the values of a picture that none of the others has, such as ``["half-left", "angry"]``.

    ``had`` and ``new`` are the `counts` of what there is, this picture among the new ones if ``counted``.
    """
    return [place[1] for place in _places(record) if had.get(place, 0) + new.get(place, 0) == counted]


def words(picked: int, target: tuple[int, int]) -> str:
    """Return how many are picked and how many should be, in words."""
    low, high = target
    said = f"{picked} picked of {low} to {high}"
    if picked < low:
        return f"{said}: {low - picked} more needed"
    return f"{said}: {picked - high} too many" if picked > high else said


def _places(record: Described) -> list[Place]:
    values = [(field, value_of(record, field)) for field in FIELDS]
    return [(field, value) for field, value in values if value]
