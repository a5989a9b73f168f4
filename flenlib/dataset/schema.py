"""One row of a dataset: its fields, what they may hold, and how it is written as JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from numbers import Integral
from typing import Any, cast

from flenlib.words import LABELS, Label

NOT_MEASURED = "not measured"
"""What a measurement is when there is nothing to measure (a back view has no face): never 0, never left out."""

RESERVED = ("good", "corrections", "rejected", "set_aside", "corrected", "tries", "pairs", "imported")
"""Folders that the kit keeps beside the pictures of a dataset; no picture may have the name of one."""
RESERVED_ENDINGS = (".json", ".jsonl", ".txt", ".csv")
"""Of its metadata, journals, captions and tables; no picture may end so, nor begin with a dot as hidden files do."""

_TEXT, _TEXT_OR_NONE = (str,), (str, type(None))
_TYPES: dict[str, tuple[type, ...]] = {
    "filename": _TEXT, "sha256": _TEXT, "caption": _TEXT, "quality": _TEXT, "kind": _TEXT,
    "angle": _TEXT_OR_NONE, "expression": _TEXT_OR_NONE, "parent": _TEXT_OR_NONE, "prompt": _TEXT_OR_NONE,
    "depth": (Integral,), "seed": (Integral, type(None)), "held_out": (bool,),
    "models": (dict,), "measurements": (dict,), "attributes": (dict,), "label": (dict, type(None)),
}  # fmt: skip


@dataclass
class ImageRecord:
    """One image of a dataset and everything known about how it came to be."""

    filename: str
    sha256: str = ""
    caption: str = ""
    angle: str | None = None
    expression: str | None = None
    quality: str = ""  # high, medium or low, as `measure.quality.grade` found it; empty: nobody looked
    kind: str = "source"  # source, edit or generated
    depth: int = 0  # generations away from a source image
    parent: str | None = None  # sha256 of the parent, or "stage/version/filename"
    prompt: str | None = None
    seed: int | None = None
    models: dict[str, Any] = field(default_factory=dict)
    measurements: dict[str, float | str] = field(default_factory=dict)
    label: dict[str, Any] | None = None  # {"label", "reasons", "reviewer", "when"}
    held_out: bool = False
    attributes: dict[str, str] = field(default_factory=dict)  # what was asked for: background, light, edit kind ...
    extra: dict[str, Any] = field(default_factory=dict)  # keys of the file this kit does not know


KNOWN = tuple(item.name for item in fields(ImageRecord) if item.name != "extra")


def check_label(label: Any, where: str = "") -> Label:
    """Return the label if it is one of LABELS; otherwise raise ValueError naming it."""
    if label not in LABELS:
        raise ValueError(f"{where}label {label!r} is not known; it must be one of {', '.join(LABELS)}")
    return cast(Label, label)


def from_dict(item: Any, where: str) -> ImageRecord:
    """Return the record that an entry of a file holds. Raises ValueError beginning with ``where`` for what is wrong."""
    if not isinstance(item, dict) or "filename" not in item:
        raise ValueError(f"{where} has no 'filename'; every image needs one")
    known = {key: item[key] for key in KNOWN if key in item}
    record = ImageRecord(**known, extra={key: value for key, value in item.items() if key not in KNOWN})
    check(record, where)
    return record


def check(record: ImageRecord, where: str) -> None:
    """Raise ValueError beginning with ``where`` when a record holds what cannot be written."""
    for key, types in _TYPES.items():
        value = getattr(record, key)
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise ValueError(f"{where}: {key} of {record.filename!r} is {value!r}; it must be {_words(types)}")
    if record.filename in ("", ".", "..") or "/" in record.filename or "\\" in record.filename:
        raise ValueError(f"{where}: filename {record.filename!r} must be a plain name inside the dataset's folder")
    name = record.filename.casefold()
    if name[0] == "." or name in RESERVED or name.endswith(RESERVED_ENDINGS):
        raise ValueError(f"{where}: {record.filename!r} is a name of the kit's own files; give the picture another")
    for measure, value in record.measurements.items():
        found = number(value) if hasattr(value, "item") else value
        if value != NOT_MEASURED and not (isinstance(found, int | float) and math.isfinite(found)):
            raise ValueError(
                f"{where}: measurement {measure} of {record.filename!r} is {value!r}; "
                f"it must be a finite number or {NOT_MEASURED!r}"
            )
    if record.label is not None:
        check_label(record.label.get("label"), f"{where}: {record.filename!r}: ")
        reasons = record.label.get("reasons", ())
        if not isinstance(reasons, list | tuple) or not all(isinstance(reason, str) for reason in reasons):
            raise ValueError(f"{where}: reasons of {record.filename!r} are {reasons!r}; they must be a list of texts")


def _words(types: tuple[type, ...]) -> str:
    names = {str: "text", Integral: "a whole number", bool: "true or false", dict: "a dict", type(None): "null"}
    return " or ".join(names[kind] for kind in types)


def to_dict(record: ImageRecord) -> dict[str, Any]:
    """Return a record as a file holds it."""
    return {name: getattr(record, name) for name in KNOWN} | record.extra


def number(value: Any) -> Any:
    """Turn a numpy number into Python's, for json."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{value!r} is a {type(value).__name__}")
