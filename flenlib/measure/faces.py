"""Find faces, turn them into 128 numbers, and say how far a picture is from a character's reference pictures.

Knows pictures and distances only: no datasets, no models that draw. Distances are Euclidean between dlib encodings
(https://github.com/ageitgey/face_recognition): lower is nearer, 0.6 is its usual limit for "the same person".
A picture without a face has no distance (None), which is not the same as a large one.
"""

from __future__ import annotations

import importlib.util
import math
import multiprocessing
import re
import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image, ImageFile
from tqdm.auto import tqdm

from flenlib.dataset.images import open_image

KIND_FACTORS = {"background": 1.0, "lighting": 1.1, "expression": 1.1, "camera": 1.15, "style": 1.4}
"""How much farther than a plain picture an edit of each kind may lie: a sketch moves every face it keeps."""

SAME_PERSON_LIMIT = 0.6
"""No threshold is above dlib's own limit for the same person, however wide the references spread."""

STYLE_LIMIT = 0.7
"""The limit for style edits: a sketch of a photographed person measured 0.68, another person 0.82 and more."""

LONGEST = 2048
"""Pixels of the longer side up to which a picture is searched for faces as it is; a larger one is scaled down to it."""

_PARALLEL_FROM = 64
"""Pictures from which starting worker processes (about 2 s) costs less than it saves."""

_GUARD = re.compile(r"^if __name__ ==", re.MULTILINE)

_SHOWN_FROM = 16
"""Pictures from which the search shows a progress bar."""


@dataclass(frozen=True, eq=False)
class Face:
    """One face found: where it is in the picture (left, top, right, bottom; pixels) and its 128 numbers."""

    box: tuple[int, int, int, int]
    encoding: np.ndarray

    @property
    def area(self) -> int:
        """The area of the box in pixels."""
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top)


def find_faces(image: Image.Image) -> list[Face]:
    """Return every face the HOG detector finds, the largest first; the same picture always gives the same answer.

    Small pictures are enlarged before the search, so that faces from about 30 px in a 96 px picture are found. Pictures
    over `LONGEST` are scaled down for it: the detector takes seconds on them, and very wide ones crash it. The numbers
    are taken from the picture as it is. Profiles and backs of heads are usually not found. Raises RuntimeError when
    face_recognition cannot be imported.
    """
    backend = _backend()
    picture = image if image.mode == "RGB" else image.convert("RGB")
    places = _places(backend, picture)
    if not places:
        return []
    pixels = np.array(picture)
    encodings = backend.face_encodings(pixels, places, num_jitters=1)
    faces = [
        Face((left, top, right, bottom), encoding)
        for (top, right, bottom, left), encoding in zip(places, encodings, strict=True)
    ]
    return sorted(faces, key=lambda face: (-face.area, face.box))


def landmarks(image: Image.Image, face: Face) -> dict[str, list[tuple[int, int]]]:
    """Return dlib's 68 landmarks of a face found in this picture: (x, y) pixels by name, ``chin`` from left to right.

    Raises RuntimeError when face_recognition cannot be imported.
    """
    left, top, right, bottom = face.box
    return _backend().face_landmarks(np.array(image.convert("RGB")), [(top, right, bottom, left)])[0]


def find_many(pictures: Sequence[Image.Image | Path], workers: int = 2) -> list[list[Face]]:
    """Return `find_faces` of each picture, in order, in ``workers`` processes when there are enough pictures.

    A picture given by its path is opened when its turn comes, so that not all are held in memory; raises what
    `open_image` raises for one that cannot be read. In a script without a main guard it works in one process and
    prints so: a new process would run the script again.
    """
    progress = {
        "total": len(pictures),
        "desc": "finding faces",
        "unit": "picture",
        "disable": len(pictures) < _SHOWN_FROM,
    }
    if workers < 2 or len(pictures) < _PARALLEL_FROM or _run_again():
        return [_find(picture) for picture in tqdm(pictures, **progress)]
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            return list(tqdm(pool.map(_find, pictures, chunksize=8), **progress))
    except BrokenProcessPool:
        print("finding faces in one process: no other could start; call this below the script's main guard")
        return [_find(picture) for picture in tqdm(pictures, **progress)]


def _find(picture: Image.Image | Path) -> list[Face]:
    return find_faces(picture if isinstance(picture, Image.Image) else open_image(picture))


def _run_again() -> bool:
    """Say, and print, whether a new process would run the whole script that this one runs.

    A spawned process imports the main module, unless that is a package's ``__main__``: harmless in notebooks, and
    elsewhere only where a main guard keeps its work from being imported.
    """
    main = sys.modules["__main__"]
    if not hasattr(main, "__file__") or (main.__spec__ is not None and main.__spec__.name.endswith(".__main__")):
        return False
    script = Path(str(main.__file__))  # of a script piped in, <stdin>
    if script.is_file() and _GUARD.search(script.read_text(encoding="utf-8")):
        return False
    print(f'finding faces in one process: add `if __name__ == "__main__":` to {script.name} to use several')
    return True


@dataclass(frozen=True, eq=False)
class ReferenceSet:
    """The known faces of one character: their names, their encodings (n, 128), and the pictures without a face.

    With fewer than two faces there is no telling how near pictures of the character are to each other: nothing is
    measured against such a set, its distances are None, its `ceiling` and thresholds NaN.
    """

    names: tuple[str, ...]
    encodings: np.ndarray
    missing: tuple[str, ...] = ()

    @classmethod
    def from_faces(cls, faces: Sequence[list[Face]], names: Sequence[str]) -> ReferenceSet:
        """Build the set from faces already found, one list a picture; the largest face of each picture counts."""
        found = [(name, each[0]) for name, each in zip(names, faces, strict=True) if each]
        missing = tuple(name for name, each in zip(names, faces, strict=True) if not each)
        encodings = np.array([face.encoding for _, face in found]).reshape(-1, 128)
        return cls(tuple(name for name, _ in found), encodings, missing)

    @classmethod
    def if_any(cls, faces: Sequence[list[Face]], names: Sequence[str]) -> ReferenceSet | None:
        """Build the set as `from_faces` does, or return None when fewer than two pictures have a face."""
        found = cls.from_faces(faces, names)
        return found if found.measured else None

    @property
    def measured(self) -> bool:
        """Whether there are faces enough to measure against."""
        return len(self.names) > 1

    def distance(self, faces: Sequence[Face]) -> float | None:
        """Return the smallest distance between any of ``faces`` and any reference; None (not measured) for no face."""
        if not faces or not self.measured:
            return None
        return float(distances(np.stack([face.encoding for face in faces]), self.encodings).min())

    @property
    def spread(self) -> np.ndarray:
        """The distance of each reference to the nearest other one, shape (n,)."""
        between = distances(self.encodings, self.encodings)
        np.fill_diagonal(between, np.inf)
        return between.min(axis=1)

    @property
    def ceiling(self) -> float:
        """The median of `spread`: no generated picture can be expected to be nearer than the real ones are."""
        return float(np.median(self.spread)) if self.measured else math.nan

    def threshold(self, slack: float = 1.75, kind: str | None = None) -> float:
        """Return the distance up to which a picture still counts as the character.

        It is the `ceiling` times ``slack`` times the factor of the ``kind`` of edit, and never above
        `SAME_PERSON_LIMIT` (`STYLE_LIMIT` for style edits). The median, and not the largest `spread`, because one
        odd reference would set that. ``benchmarks/identity_threshold.py`` prints what a slack keeps of the same person
        and of others. Raises ValueError for an unknown kind.
        """
        if kind is not None and kind not in KIND_FACTORS:
            raise ValueError(f"edit kind {kind!r} is not known; it must be one of {', '.join(KIND_FACTORS)}")
        factor = 1.0 if kind is None else KIND_FACTORS[kind]
        limit = STYLE_LIMIT if kind == "style" else SAME_PERSON_LIMIT
        return min(limit, self.ceiling * slack * factor) if self.measured else math.nan


def _places(backend: ModuleType, image: Image.Image) -> list[tuple[int, int, int, int]]:
    """Return where faces are in a picture of any size: top, right, bottom, left; pixels."""
    scale = max(image.size) / LONGEST
    if scale <= 1:
        return _locate(backend, np.array(image))
    size = (max(1, round(image.width / scale)), max(1, round(image.height / scale)))
    small = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    sides = np.array([image.height, image.width, image.height, image.width])
    found = np.array(_locate(backend, np.array(small))).reshape(-1, 4) * scale
    whole = np.minimum(found, sides).round().astype(int).tolist()
    return [(top, right, bottom, left) for top, right, bottom, left in whole]


def _locate(backend: ModuleType, pixels: np.ndarray) -> list[tuple[int, int, int, int]]:
    longest = max(pixels.shape[:2])
    if longest < 200:
        return backend.face_locations(pixels, number_of_times_to_upsample=2)
    if longest <= 900:
        return backend.face_locations(pixels, number_of_times_to_upsample=1)
    places = backend.face_locations(pixels, number_of_times_to_upsample=0)
    return places or backend.face_locations(pixels, number_of_times_to_upsample=1)


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the Euclidean distance of every row of ``a`` to every row of ``b``, shape (len(a), len(b))."""
    return np.linalg.norm(a[:, None] - b[None], axis=-1)


def _backend() -> ModuleType:
    # face_recognition quits the whole process when pkg_resources is missing, so look before importing.
    for needed in ("face_recognition", "face_recognition_models", "dlib", "pkg_resources"):
        if importlib.util.find_spec(needed) is None:
            raise RuntimeError(f"face recognition needs the module {needed!r}, not installed here; run `make setup`")
    tolerance = ImageFile.LOAD_TRUNCATED_IMAGES
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
        import face_recognition
    # Its import makes Pillow accept truncated files everywhere; broken pictures must stay errors here.
    ImageFile.LOAD_TRUNCATED_IMAGES = tolerance
    return face_recognition
