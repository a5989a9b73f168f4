"""Faces are found once a picture: what was found is kept in a hidden folder ``.faces`` beside it.

A file there is named by the sha256 of the picture, so a picture that changes is looked at again, and it is written
whole or not at all. It holds one row a face: left, top, right, bottom, then the 128 numbers.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from flenlib.dataset.files import write_atomic
from flenlib.dataset.images import sha256
from flenlib.measure.faces import Face, find_many

FOLDER = ".faces"

VERSION = 2
"""Of what `find_faces` finds; raised when it finds otherwise, so that pictures are looked at again."""


def faces_in(paths: Sequence[Path]) -> list[list[Face]]:
    """Return the faces of each picture file, the largest first; only pictures never looked at are looked at.

    Raises what `open_image` raises for a picture that cannot be read.
    """
    files = [_file(path) for path in paths]
    new = {file: path for file, path in zip(files, paths, strict=True) if not file.is_file()}
    for path, found in zip(new.values(), find_many(list(new.values())), strict=True):
        keep(path, found)
    return [_read(file) for file in files]


def keep(path: Path, faces: Sequence[Face]) -> None:
    """Keep the faces found in a picture that is saved at this path."""
    rows, buffer = np.array([[*face.box, *face.encoding] for face in faces]).reshape(-1, 4 + 128), io.BytesIO()
    np.save(buffer, rows)
    write_atomic(_file(path), buffer.getvalue())


def _file(path: Path) -> Path:
    return path.parent / FOLDER / f"{sha256(path)}.{VERSION}.npy"


def _read(file: Path) -> list[Face]:
    rows = np.load(file)
    return [Face((int(row[0]), int(row[1]), int(row[2]), int(row[3])), row[4:]) for row in rows]
