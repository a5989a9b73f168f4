"""Does a set of pictures show one person? Faces that lie apart from the others are named, with how far they lie."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from flenlib.measure.faces import SAME_PERSON_LIMIT, Face, distances

FEWEST = 4
"""Faces it takes to say which of them lies apart."""

APART, FACTOR = 0.47, 1.5
"""Faces belong together over steps of this distance, or of this many times the median step to the nearest face, and
never over more than `SAME_PERSON_LIMIT`. ``benchmarks/strangers.py`` prints what that names rightly and wrongly."""


def strangers(faces: Mapping[str, Face]) -> dict[str, float] | None:
    """Return the faces that lie apart from the largest group that belongs together, each with its distance to it.

    ``faces`` are one a picture, by name, seen from the front or half from the side: profiles lie apart from
    everything. Two pictures of one stranger lie near each other and are both named. None (not measured) for fewer than
    `FEWEST` faces.
    """
    if len(faces) < FEWEST:
        return None
    encodings = np.stack([face.encoding for face in faces.values()])
    between = distances(encodings, encodings)
    group = _largest_group(between <= _limit(between))
    apart = {name: between[n][group].min() for n, name in enumerate(faces) if not group[n]}
    return {name: round(float(distance), 2) for name, distance in apart.items()}


def _limit(between: np.ndarray) -> float:
    nearest = np.sort(between, axis=1)[:, 1]
    return min(SAME_PERSON_LIMIT, max(APART, FACTOR * float(np.median(nearest))))


def _largest_group(linked: np.ndarray) -> np.ndarray:
    """Return which faces, shape (n,), are in the largest group whose members are linked one by one."""
    reached = linked
    for _ in range(len(linked).bit_length()):  # each product doubles the length of the chains followed
        reached = reached @ reached
    return reached[reached.sum(axis=1).argmax()]
