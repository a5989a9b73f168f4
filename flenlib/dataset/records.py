"""The rows of a dataset: one record an image, kept in ``metadata.json`` beside the images.

The file is the process document's schema grown: ``dataset_version`` and ``images``; what this kit does not know is kept
as it was. Knows nothing of what is on the pictures.

A step that makes pictures one by one would write the whole file after each. It appends each record to
``.records.jsonl`` instead (`Dataset.keep`), and `Dataset.save` at its end folds that into ``metadata.json`` and removes
it. `Dataset.open` reads both, so after a kill nothing is missing; people and other programs still find one plain file
with everything once a step has ended. A database would hold the same for the kit alone.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas
from filelock import FileLock, Timeout
from PIL import Image

from flenlib.dataset.files import write_atomic
from flenlib.dataset.images import open_image, sha256
from flenlib.dataset.index import Index
from flenlib.dataset.lines import Lines, parse
from flenlib.dataset.schema import KNOWN, NOT_MEASURED, ImageRecord, check, check_label, from_dict, number, to_dict
from flenlib.words import Label

METADATA = "metadata.json"
UNFOLDED = ".records.jsonl"
"""Records kept since ``metadata.json`` was last written, one a line."""
LOCK_SECONDS = 30.0


@dataclass
class Dataset:
    """One folder of images with its ``metadata.json``. Nothing is written but by `keep` and `save`.

    ``images`` may be changed as a list is; only a record set by ``images[n] = ...`` is not found by name: `put` it.
    """

    folder: Path
    version: str
    images: list[ImageRecord] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    _index: Index = field(default_factory=Index, init=False, repr=False, compare=False)
    _saved: bool = field(default=False, init=False, repr=False, compare=False)

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

    def find(self, filename: str) -> ImageRecord | None:
        """Return the record of a filename; None without one."""
        place = self._index.named(self.images, filename)
        return None if place is None else self.images[place]

    def get(self, filename: str) -> ImageRecord:
        """Return the record of a filename. Raises ValueError naming it and the dataset."""
        record = self.find(filename)
        if record is None:
            raise ValueError(f"{filename!r} is not in dataset {self.folder}; it has {len(self.images)} other images")
        return record

    def of_hash(self, digest: str) -> ImageRecord | None:
        """Return the first record with this sha256; None without one."""
        place = self._index.hashed(self.images, digest)
        return None if place is None else self.images[place]

    def add(self, record: ImageRecord) -> None:
        """Add a record; its sha256 is read from the file when empty.

        Raises ValueError when the name is taken, or kept for the kit's own files; upper and lower case count as one
        name, as on Windows and macOS.
        """
        check(record, f"dataset {self.folder}")
        taken = self._index.alike(self.images, record.filename)
        if taken is not None:
            other = self.images[taken].filename
            raise ValueError(f"dataset {self.folder} already has {other!r}; give {record.filename!r} another name")
        self._fill_hash(record)
        self.images.append(record)
        self._index.enter(len(self.images) - 1, record)

    def put(self, record: ImageRecord) -> None:
        """Replace the record of this filename, keeping its place, or add it."""
        place = self._index.named(self.images, record.filename)
        if place is None:
            return self.add(record)
        check(record, f"dataset {self.folder}")
        self._fill_hash(record)
        self.images[place] = record
        self._index.enter(place, record)

    def keep(self, record: ImageRecord) -> None:
        """Put a record and write it to disk at once, in a time that does not grow with the dataset.

        The first time all is written, as by `save`, which is also to be called at the end. Raises what `save` raises.
        """
        self.put(record)
        if not self._saved:
            return self.save()
        with self._lock():
            Lines(self.folder / UNFOLDED).write([{"record": json.loads(self._json(to_dict(record)))}])

    def save(self) -> None:
        """Write ``metadata.json`` in one step under a file lock; the last writer wins, nothing is merged.

        Raises ValueError for a record that cannot be written (the file stays as it was), and RuntimeError when
        another process holds the lock for 30 seconds.
        """
        where, names = f"dataset {self.folder}", set()
        for record in self.images:
            check(record, where)
            if record.filename in names:
                raise ValueError(f"{where}: {record.filename!r} is there twice; keep one of the two records")
            names.add(record.filename)
        images = [to_dict(record) for record in self.images]
        text = self._json({"dataset_version": self.version, **self.extra, "images": images}, indent=1)
        content, unfolded = (text + "\n").encode(), self.folder / UNFOLDED
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._lock():
            if unfolded.is_file():  # it then says what was folded, for a kill before it is removed
                Lines(unfolded).write([{"folded": hashlib.sha256(content).hexdigest()}])
            write_atomic(self.folder / METADATA, content)
            unfolded.unlink(missing_ok=True)
        self._saved = True

    def to_frame(self) -> pandas.DataFrame:
        """Return one row an image: the record's columns, ``label``, ``reasons``, ``reviewer``, ``a_*`` and ``m_*``.

        ``a_*`` are the attributes, ``m_*`` the measurements as numbers; *not measured* is NaN there.
        """
        plain = [name for name in KNOWN if name not in ("models", "measurements", "label", "attributes")]
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

    def _json(self, content: Any, indent: int | None = None) -> str:
        try:
            return json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False, default=number)
        except (TypeError, ValueError) as error:
            where = f"dataset {self.folder}"
            raise ValueError(f"{where} cannot be written as JSON: {error}; use text and numbers") from None

    @contextmanager
    def _lock(self) -> Iterator[None]:
        try:
            with FileLock(self.folder / f".{METADATA}.lock", timeout=LOCK_SECONDS):
                yield
        except Timeout:
            raise RuntimeError(
                f"dataset {self.folder} is locked by another process; wait for it to end and run again"
            ) from None

    def _fill_hash(self, record: ImageRecord) -> None:
        if not record.sha256 and self.path(record).is_file():
            record.sha256 = sha256(self.path(record))


def lineage(record: ImageRecord, roots: Sequence[Dataset]) -> list[ImageRecord]:
    """Return the record, its parent, and so on back to a record without a parent (a source image).

    ``roots`` are the datasets parents are looked up in. Raises ValueError when a parent is in none of them, or when
    the parents run in a circle.
    """
    line, seen = [record], {id(record)}
    while (name := line[-1].parent) is not None:
        parent = next((found for root in roots if (found := _parent(root, name))), None)
        if parent is None:
            raise ValueError(f"parent {name!r} of {line[-1].filename!r} is in none of the datasets given")
        if id(parent) in seen:
            raise ValueError(f"the parents of {record.filename!r} run in a circle at {parent.filename!r}")
        line.append(parent)
        seen.add(id(parent))
    return line


def _parent(root: Dataset, parent: str) -> ImageRecord | None:
    stage, version = root.folder.absolute().parts[-2:]
    name = parent.removeprefix(f"{stage}/{version}/")
    return root.of_hash(parent) or (root.find(name) if name != parent else None)


def _read(folder: Path, path: Path) -> Dataset:
    """Read ``metadata.json`` and what was kept since, as they were together: neither is locked for reading."""
    while True:
        before = _version(path)
        content, lines = path.read_bytes(), Lines(folder / UNFOLDED).read()[0]
        if _version(path) == before:  # nobody has folded in between
            break
    dataset = _of_metadata(folder, path, content)
    entries = [(entry, where) for n, line in enumerate(lines, 1)
               for where in [f"{folder / UNFOLDED}, line {n}"] for entry in parse(line, where)]  # fmt: skip
    if entries and entries[-1][0] == {"folded": hashlib.sha256(content).hexdigest()}:
        return dataset
    for entry, where in entries:
        if not isinstance(entry, dict) or not entry.keys() & {"record", "folded"}:
            raise ValueError(f"{where} is no record: {str(entry)[:60]!r}; remove that line")
        if "record" in entry:
            dataset.put(from_dict(entry["record"], where))
    return dataset


def _version(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


def _of_metadata(folder: Path, path: Path, text: bytes) -> Dataset:
    try:
        content = json.loads(text.decode())
    except (ValueError, RecursionError) as error:  # broken JSON, broken UTF-8, or JSON deeper than Python reads
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
    for place, item in enumerate(content["images"], 1):
        record = from_dict(item, f"{path}: image {place}")
        if record.filename in names:
            raise ValueError(f"{path}: {record.filename!r} is there twice; keep one of the two records")
        names.add(record.filename)
        dataset._fill_hash(record)
        dataset.images.append(record)
    return dataset
