"""Which angles, expressions and poses a set of pictures has and lacks, and which candidates fill the gaps best.

A record is anything with ``angle``, ``expression`` and a dict ``attributes``; a record that says no pose counts as a
portrait, as it does in captions. Nothing here opens a picture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

import pandas

from flenlib.dataset import prompts

FIELDS = ("angle", "expression", "pose")

_KNOWN = {
    "angle": prompts.ANGLES,
    "height": prompts.HEIGHTS,
    "expression": prompts.EXPRESSIONS,
    "pose": prompts.POSES,
    "light": prompts.LIGHTS,
    "background": prompts.BACKGROUNDS,
    "outfit": prompts.OUTFITS,
    "style": prompts.STYLES,
}
_UNSAID = {"pose": "portrait", "height": "level", "style": "photo"}


class Described(Protocol):
    """What coverage reads of a record."""

    angle: str | None
    expression: str | None
    attributes: dict[str, str]


Record = TypeVar("Record", bound=Described)


def value_of(record: Described, field: str) -> str | None:
    """Return what a record says of one field, such as ``"pose"``; None when it says nothing."""
    if field in ("angle", "expression") and getattr(record, field) is not None:
        return getattr(record, field)
    return record.attributes.get(field, _UNSAID.get(field))


def all_values(field: str, found: Iterable[str]) -> list[str]:
    """Return the field's vocabulary in its order, then what else was found, ``unknown`` last."""
    known = _KNOWN.get(field, ())
    return [*known, *sorted(set(found) - set(known), key=lambda value: (value == "unknown", value))]


def coverage(records: Sequence[Described], fields: Sequence[str] = FIELDS) -> pandas.DataFrame:
    """Return one row a value of each field: columns ``field``, ``value``, ``count`` and ``gap`` (count is 0).

    Values of the vocabulary come first, in its order, then others that occur, then ``unknown`` where nothing is said.
    """
    rows = []
    for field in fields:
        counts = Counter(value_of(record, field) or "unknown" for record in records)
        rows += [(field, value, counts[value], counts[value] == 0) for value in all_values(field, counts)]
    return pandas.DataFrame(rows, columns=["field", "value", "count", "gap"])


def card_cells() -> list[dict[str, str]]:
    """Return the 23 cells of the model card, each as a dict such as ``{"angle": "front", "pose": "t-pose"}``."""
    return [prompt.wanted() for prompt in prompts.model_card("", prompts.PLAIN)]


def gaps(records: Sequence[Described], wanted: Sequence[Mapping[str, str]] | None = None) -> list[dict[str, str]]:
    """Return the wanted cells (default: the model card's) that no record fills, in the order they are wanted."""
    cells = card_cells() if wanted is None else wanted
    return [dict(cell) for cell in cells if not any(_fills(record, cell) for record in records)]


def pick(
    candidates: Sequence[Record], have: Sequence[Described], count: int, score: Callable[[Record], float]
) -> list[Record]:
    """Return up to ``count`` candidates, chosen one by one: what the set has least of first, then the highest score.

    "Least of" compares the number of pictures with the same angle, expression and pose, in ``have`` and among those
    already picked, then the number with the same angle. Candidates that do not say their angle come last.
    """
    cells = Counter(map(_cell, have))
    angles = Counter(value_of(record, "angle") for record in have)
    left = [(record, score(record)) for record in candidates]
    picked: list[Record] = []
    while left and len(picked) < count:
        best = min(
            range(len(left)),
            key=lambda i: (
                value_of(left[i][0], "angle") is None,
                cells[_cell(left[i][0])],
                angles[value_of(left[i][0], "angle")],
                -left[i][1],
            ),
        )
        record, _ = left.pop(best)
        picked.append(record)
        cells[_cell(record)] += 1
        angles[value_of(record, "angle")] += 1
    return picked


def _cell(record: Described) -> tuple[str | None, ...]:
    return tuple(value_of(record, field) for field in FIELDS)


def _fills(record: Described, cell: Mapping[str, str]) -> bool:
    return all(value_of(record, field) == value for field, value in cell.items())
