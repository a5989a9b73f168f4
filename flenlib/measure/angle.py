"""From which side a found face is seen, coarsely, by dlib's 68 landmarks: an estimate where nobody said."""

from __future__ import annotations

from PIL import Image

from flenlib.measure.faces import Face, landmarks

TURNED = 0.125
"""How far the nose tip lies from the middle between the ends of the jaw, as a share of their distance, before a face
counts as turned: between rendered heads that look ahead and ones turned by 28 degrees."""


def estimate_angle(image: Image.Image, face: Face) -> str:
    """Return ``front``, ``half-left`` or ``half-right`` of a face found in a picture; a profile is rarely found at all.

    ``benchmarks/estimated_angle.py`` prints how often it is right. Raises what `find_faces` raises.
    """
    points = landmarks(image, face)
    left, right, nose = points["chin"][0][0], points["chin"][-1][0], points["nose_bridge"][-1][0]
    aside = (nose - left) / max(right - left, 1) - 0.5
    if abs(aside) <= TURNED:
        return "front"
    return "half-left" if aside < 0 else "half-right"
