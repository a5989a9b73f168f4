"""Which pictures a reviewer sees, and in which order: filters, and the worst faces first with a tenth shuffled in."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from filelock import FileLock

from flenlib.dataset.files import write_atomic
from flenlib.dataset.journal import Decision
from flenlib.dataset.records import NOT_MEASURED, ImageRecord
from flenlib.measure.measures import FACE_DISTANCE
from flenlib.words import LABELS

SHUFFLED = 0.1
"""The share of pictures that come at a random place, so that a place in the order says nothing for certain."""

LABEL_FILTERS = ("", "undecided", "suggested", *LABELS)
FACE_FILTERS = ("", "beyond", "within", NOT_MEASURED)
ORDERS = ("worst", "best", "ranked", "name")


@dataclass(frozen=True)
class View:
    """What is shown: an empty field filters nothing; ``beyond`` and ``within`` are of each picture's threshold."""

    label: str = ""
    reason: str = ""
    kind: str = ""
    face: str = ""
    order: str = "worst"

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> View:
        """Check what a browser or a file said. Raises ValueError naming the field and what it may be."""
        known = [field.name for field in fields(cls)]
        for name, value in values.items():
            if name not in known or not isinstance(value, str):
                raise ValueError(f"view field {name!r} is {value!r}; a view has texts named {', '.join(known)}")
        view = cls(**values)
        for name, allowed in (("label", LABEL_FILTERS), ("face", FACE_FILTERS), ("order", ORDERS)):
            if getattr(view, name) not in allowed:
                raise ValueError(f"view {name} is {getattr(view, name)!r}; it must be one of {', '.join(allowed[1:])}")
        return view


def saved_views(path: Path, name: str = "", view: View | None = None) -> dict[str, dict[str, str]]:
    """Return the saved views by name, after saving ``view`` under ``name`` (or forgetting that one: None).

    Raises ValueError naming the file and the view when it was damaged by hand; nothing is written then.
    """
    with FileLock(path.with_name(f".{path.name}.lock")):
        try:
            views = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
            for values in views.values():
                View.of(values)
        except (ValueError, AttributeError, TypeError) as error:
            raise ValueError(f"saved views {path} are damaged ({error}); mend or delete the file") from None
        if name:
            views = {k: v for k, v in views.items() if k != name} | ({name: asdict(view)} if view else {})
            write_atomic(path, json.dumps(views, ensure_ascii=False, indent=1).encode())
    return views


def kind_of(record: ImageRecord) -> str:
    """Return the kind of edit, or of picture where nothing was edited."""
    return record.attributes.get("edit", record.kind)


def face(record: ImageRecord) -> str:
    """Return whether the face distance is beyond or within the picture's threshold, or *not measured*."""
    return FACE_DISTANCE.state(record.measurements) or NOT_MEASURED


def matches(view: View, record: ImageRecord, decision: Decision | None, suggestion: Decision | None) -> bool:
    """Say whether a view shows a picture, given the decision of a person and a policy's suggestion on it."""
    spoken = decision or suggestion
    reasons = spoken.reasons if spoken else ()
    if view.label == "suggested":
        wanted = decision is None and suggestion is not None
    else:
        wanted = view.label in ("", decision.label if decision else "undecided")
    return (
        wanted
        and (not view.reason or view.reason in reasons)
        and (not view.kind or view.kind == kind_of(record))
        and (not view.face or view.face == face(record))
    )


def arrange(view: View, records: Sequence[ImageRecord], ranks: Mapping[str, int], seed: int) -> list[ImageRecord]:
    """Return the records in the view's order; ``ranks`` are the places in the pairwise ranking, by filename."""
    if view.order == "name":
        return sorted(records, key=lambda r: r.filename)
    if view.order == "best":
        return sorted(records, key=lambda r: (-_goodness(r), r.filename))
    if view.order == "ranked":
        return sorted(records, key=lambda r: (ranks.get(r.filename, math.inf), -_goodness(r), r.filename))
    return worst_first(records, seed)


def worst_first(records: Sequence[ImageRecord], seed: int) -> list[ImageRecord]:
    """Return the worst face distance first, what was not measured last, and a tenth of them at random places."""
    ordered = sorted(records, key=lambda r: (_goodness(r, math.inf), r.filename))
    chance, count = random.Random(seed), round(SHUFFLED * len(ordered))
    drawn, places = (chance.sample(range(len(ordered)), count) for _ in range(2))
    moved = {place: ordered[number] for place, number in zip(places, drawn, strict=True)}
    taken = set(drawn)
    others = (record for number, record in enumerate(ordered) if number not in taken)
    return [moved[place] if place in moved else next(others) for place in range(len(ordered))]


def _goodness(record: ImageRecord, otherwise: float = -math.inf) -> float:
    found = FACE_DISTANCE.read(record.measurements)
    return otherwise if found is None else FACE_DISTANCE.gain(found)
