"""The rows of a dataset: one record an image, kept in ``metadata.json`` beside the images.

The file is the process document's schema grown: ``dataset_version`` and ``images``; what this kit does not know is kept
as it was. Knows nothing of what is on the pictures.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from numbers import Integral
from pathlib import Path
from typing import Any, cast

import pandas
from filelock import FileLock, Timeout
from PIL import Image

from flenlib.dataset.files import write_atomic
from flenlib.dataset.images import open_image, sha256
from flenlib.words import LABELS, Label

NOT_MEASURED = "not measured"
"""What a measurement is when there is nothing to measure (a back view has no face): never 0, never left out."""

METADATA = "metadata.json"
LOCK_SECONDS = 30.0

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


_KNOWN = tuple(item.name for item in fields(ImageRecord) if item.name != "extra")


@dataclass
class Dataset:
    """One folder of images with its ``metadata.json``. Nothing is written until `save`."""

    folder: Path
    version: str
    images: list[ImageRecord] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: str | Path, create: bool = False) -> Dataset:
        """Read a dataset; with ``create``, an empty one where there is none yet.

        Raises FileNotFoundError without a metadata.json, and ValueError in one sentence naming the file when it is
        damaged or not of the schema; the file is left as it is.
        """
        folder = Path(folder)
        path = folder / METADATA
        if path.is_file():
            return _read(folder, path)
        if not create:
            raise FileNotFoundError(f"dataset {folder} has no {METADATA}; run the step that makes it first")
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder, folder.name)

    def path(self, record: ImageRecord) -> Path:
        """Return where the record's image file is."""
        return self.folder / record.filename

    def get(self, filename: str) -> ImageRecord:
        """Return the record of a filename. Raises ValueError naming it and the dataset."""
        for record in self.images:
            if record.filename == filename:
                return record
        raise ValueError(f"{filename!r} is not in dataset {self.folder}; it has {len(self.images)} other images")

    def add(self, record: ImageRecord) -> None:
        """Add a record; its sha256 is read from the file when empty.

        Raises ValueError when the name is taken; upper and lower case count as one name, as on Windows and macOS.
        """
        _check(record, f"dataset {self.folder}")
        taken = [other.filename for other in self.images if other.filename.casefold() == record.filename.casefold()]
        if taken:
            raise ValueError(f"dataset {self.folder} already has {taken[0]!r}; give {record.filename!r} another name")
        self._fill_hash(record)
        self.images.append(record)

    def put(self, record: ImageRecord) -> None:
        """Replace the record of this filename, keeping its place, or add it."""
        for number, other in enumerate(self.images):
            if other.filename == record.filename:
                _check(record, f"dataset {self.folder}")
                self._fill_hash(record)
                self.images[number] = record
                return
        self.add(record)

    def save(self) -> None:
        """Write ``metadata.json`` in one step under a file lock; the last writer wins, nothing is merged.

        Raises ValueError for a record that cannot be written (the file stays as it was), and RuntimeError when
        another process holds the lock for 30 seconds.
        """
        where = f"dataset {self.folder}"
        for record in self.images:
            _check(record, where)
        images = [_to_dict(record) for record in self.images]
        content = {"dataset_version": self.version, **self.extra, "images": images}
        try:
            text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False, default=_number)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where} cannot be written as JSON: {error}; use text and numbers") from None
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.folder / f".{METADATA}.lock", timeout=LOCK_SECONDS):
                write_atomic(self.folder / METADATA, (text + "\n").encode())
        except Timeout:
            raise RuntimeError(f"{where} is locked by another process; wait for it to end and run again") from None

    def to_frame(self) -> pandas.DataFrame:
        """Return one row an image: the record's columns, ``label``, ``reasons``, ``reviewer``, ``a_*`` and ``m_*``.

        ``a_*`` are the attributes, ``m_*`` the measurements as numbers; *not measured* is NaN there.
        """
        plain = [name for name in _KNOWN if name not in ("models", "measurements", "label", "attributes")]
        rows = []
        for record in self.images:
            label = record.label or {}
            row = {name: getattr(record, name) for name in plain}
            row |= {"label": label.get("label"), "reasons": "; ".join(label.get("reasons", ()))}
            row["reviewer"] = label.get("reviewer")
            row |= {f"a_{name}": value for name, value in record.attributes.items()}
            row |= {f"m_{name}": math.nan if v == NOT_MEASURED else v for name, v in record.measurements.items()}
            rows.append(row)
        return pandas.DataFrame(rows) if rows else pandas.DataFrame(columns=[*plain, "label", "reasons", "reviewer"])

    def pictures(self, records: Iterable[ImageRecord]) -> list[Image.Image]:
        """Open the pictures of some records, in order. Raises what `open_image` raises."""
        return [open_image(self.path(record)) for record in records]

    def labelled(self, label: Label) -> list[ImageRecord]:
        """Return the records with this label. Raises ValueError for an unknown label."""
        check_label(label)
        return [record for record in self.images if record.label and record.label["label"] == label]

    def _fill_hash(self, record: ImageRecord) -> None:
        if not record.sha256 and self.path(record).is_file():
            record.sha256 = sha256(self.path(record))


def check_label(label: Any, where: str = "") -> Label:
    """Return the label if it is one of LABELS; otherwise raise ValueError naming it."""
    if label not in LABELS:
        raise ValueError(f"{where}label {label!r} is not known; it must be one of {', '.join(LABELS)}")
    return cast(Label, label)


def lineage(record: ImageRecord, roots: Sequence[Dataset]) -> list[ImageRecord]:
    """Return the record, its parent, and so on back to a record without a parent (a source image).

    ``roots`` are the datasets parents are looked up in. Raises ValueError when a parent is in none of them, or when
    the parents run in a circle.
    """
    line = [record]
    while (name := line[-1].parent) is not None:
        parent = next((found for root in roots for found in root.images if _is_parent(root, found, name)), None)
        if parent is None:
            raise ValueError(f"parent {name!r} of {line[-1].filename!r} is in none of the datasets given")
        if any(parent is seen for seen in line):
            raise ValueError(f"the parents of {record.filename!r} run in a circle at {parent.filename!r}")
        line.append(parent)
    return line


def _is_parent(root: Dataset, record: ImageRecord, parent: str) -> bool:
    stage, version = root.folder.absolute().parts[-2:]
    return parent in (record.sha256, f"{stage}/{version}/{record.filename}")


def _read(folder: Path, path: Path) -> Dataset:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # both broken JSON and broken UTF-8
        raise ValueError(
            f"{path} is damaged or cut short ({error}); restore it from a copy, or, where a step of this kit made it, "
            "move it away and run that step again: its pictures are found by what is written in them"
        ) from None
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise ValueError(f"{path} is not a dataset: it must hold 'dataset_version' and a list 'images'")
    version = content.get("dataset_version", folder.name)
    if not isinstance(version, str):
        raise ValueError(f"{path}: dataset_version is {version!r}; it must be text such as 'v1'")
    extra = {key: value for key, value in content.items() if key not in ("dataset_version", "images")}
    dataset = Dataset(folder, version, [], extra)
    names = set()
    for number, item in enumerate(content["images"]):
        record = _from_dict(item, f"{path}: image {number + 1}")
        if record.filename in names:
            raise ValueError(f"{path}: {record.filename!r} is there twice; keep one of the two records")
        names.add(record.filename)
        dataset._fill_hash(record)
        dataset.images.append(record)
    return dataset


def _from_dict(item: Any, where: str) -> ImageRecord:
    if not isinstance(item, dict) or "filename" not in item:
        raise ValueError(f"{where} has no 'filename'; every image needs one")
    known = {key: item[key] for key in _KNOWN if key in item}
    record = ImageRecord(**known, extra={key: value for key, value in item.items() if key not in _KNOWN})
    _check(record, where)
    return record


def _check(record: ImageRecord, where: str) -> None:
    for name, types in _TYPES.items():
        value = getattr(record, name)
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise ValueError(f"{where}: {name} of {record.filename!r} is {value!r}; it must be {_words(types)}")
    if record.filename in ("", ".", "..") or "/" in record.filename or "\\" in record.filename:
        raise ValueError(f"{where}: filename {record.filename!r} must be a plain name inside the dataset's folder")
    for name, value in record.measurements.items():
        number = _number(value) if hasattr(value, "item") else value
        if value != NOT_MEASURED and not (isinstance(number, int | float) and math.isfinite(number)):
            raise ValueError(
                f"{where}: measurement {name} of {record.filename!r} is {value!r}; "
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


def _to_dict(record: ImageRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in _KNOWN} | record.extra


def _number(value: Any) -> Any:
    """Turn a numpy number into Python's, for json."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{value!r} is a {type(value).__name__}")
