"""Say whether a picture is usable: size, sharpness, exposure, near-duplicates; and how varied a set of pictures is.

Works on pixels alone, with no weights. The limits are defaults for `problems`; a step's params say their own.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

Box = tuple[int, int, int, int]

DARKEST = 0.08
"""Mean luminance (0..1) under which a picture is too dark to judge."""

BRIGHTEST = 0.97
"""Mean luminance over which a picture is too bright; portraits on white measure up to about 0.9."""

CLIPPED = 0.75
"""Share of black pixels, or of white ones inside the face, over which too little is left to see."""


SAME_PICTURE = 0.15
"""Largest local difference, in standard deviations, of one picture saved twice. On rendered heads resizing and JPEG at
quality 40 measured up to 0.09, a tenth more light 0.12; another expression with nothing else moved 0.19 and more."""

CHANGE_FLOOR = 5.0
"""Colour difference (Delta E 1976) to its source under which an edit changed nothing. On rendered heads a copy measured
up to 3.8 as JPEG at quality 40 and up to 4.8 through the small editor's autoencoder; the smallest change of light 5.9,
of the camera 7.1, of style 12.6, of the background 17.3. A tenth more or less light measures 3 to 7 and can pass."""

GRADES = {"high": 2.0, "medium": 1.25}
"""By what factor a picture of each grade is better than the limits ask; others are low."""


@dataclass(frozen=True)
class Exposure:
    """How light falls in a picture: mean luminance (0..1) and the shares of pure black and pure white pixels."""

    mean: float
    black: float
    white: float


def sharpness(image: Image.Image, box: Box | None = None) -> float:
    """Return the variance of the Laplacian of the luminance (0..255), after shrinking what is over 256 px to that.

    With a ``box`` (left, top, right, bottom) only the face is judged, so that a blurred background does not count.
    A smaller picture is judged as it is: enlarging would blur it, and being small is a fault of its own. Rendered
    faces of a 96 px picture measure 200 to 2,500, the same blurred by a 1.5 px Gaussian 5 to 140.
    """
    part = _grey(image, box)
    scale = min(1.0, 256 / max(part.size))
    size = (max(1, round(part.width * scale)), max(1, round(part.height * scale)))
    pixels = np.asarray(part.resize(size, Image.Resampling.BICUBIC), dtype=np.float32)
    return float(ndimage.laplace(pixels).var())


def exposure(image: Image.Image, box: Box | None = None) -> Exposure:
    """Return the mean luminance and the clipped shares of a picture, or of one box in it."""
    pixels = np.asarray(_grey(image, box))
    return Exposure(float(pixels.mean() / 255), float((pixels <= 3).mean()), float((pixels >= 252).mean()))


def _grey(image: Image.Image, box: Box | None) -> Image.Image:
    return (image.crop(box) if box else image).convert("L")


def perceptual_hash(image: Image.Image) -> int:
    """Return the 64-bit difference hash of a picture: one bit for each brighter-than-its-left-neighbour of 8 x 9."""
    small = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.LANCZOS), dtype=np.int16)
    bits = (small[:, 1:] > small[:, :-1]).ravel()
    return int("".join("1" if bit else "0" for bit in bits), 2)


def hamming(a: int, b: int) -> int:
    """Return the number of bits in which two hashes differ."""
    return (a ^ b).bit_count()


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What of a picture is compared with others: its hash, and (64, 64) smoothed luminances of mean 0, deviation 1."""

    hash: int
    luminances: np.ndarray

    @classmethod
    def of(cls, image: Image.Image) -> Fingerprint:
        """Take the fingerprint of a picture, which then need not be kept."""
        grey = image.convert("L")
        return cls(perceptual_hash(grey), _standardised(grey))


def duplicates(found: Sequence[Fingerprint], limit: int = 4) -> list[tuple[int, int]]:
    """Return the index pairs (i < j) that show the same picture, saved, resized or lit anew.

    Hashes are compared first: at most ``limit`` of 64 bits differ. That also happens to two portraits that differ in
    the mouth only, so of pictures whose hashes agree no place may differ by more than `SAME_PICTURE` either.
    """
    pairs = itertools.combinations(range(len(found)), 2)
    near = [(i, j) for i, j in pairs if hamming(found[i].hash, found[j].hash) <= limit]
    return [
        (i, j) for i, j in near if np.abs(found[i].luminances - found[j].luminances).max() <= SAME_PICTURE
    ]  # fmt: skip


def problems(
    image: Image.Image, *, box: Box | None = None, minimum_size: int = 64, minimum_sharpness: float = 15.0
) -> list[str]:
    """Return the reasons a picture is not usable, each with its value and the limit; an empty list when it is.

    ``minimum_size`` is in pixels of the shorter side. With a face's ``box``, light and sharpness are the face's.
    """
    return _problems(min(image.size), sharpness(image, box), exposure(image, box), box, minimum_size, minimum_sharpness)


def _problems(
    side: int,
    sharp: float,
    light: Exposure,
    box: Box | None,
    minimum_size: int,
    minimum_sharpness: float,
    darkest: float = DARKEST,
    brightest: float = BRIGHTEST,
    clipped: float = CLIPPED,
) -> list[str]:
    found = []
    if side < minimum_size:
        found.append(f"too small: {side} px, want {minimum_size}")
    if sharp < minimum_sharpness:
        found.append(f"blurred: sharpness {sharp:.1f}, want {minimum_sharpness:g}")
    if light.mean < darkest:
        found.append(f"too dark: mean luminance {light.mean:.2f}, want at least {darkest:g}")
    elif light.black > clipped:
        found.append(f"too dark: {light.black:.0%} is pure black, want at most {clipped:.0%}")
    if light.mean > brightest:
        found.append(f"too bright: mean luminance {light.mean:.2f}, want at most {brightest:g}")
    elif box and light.white > clipped:
        found.append(f"too bright: {light.white:.0%} of the face is pure white, want at most {clipped:.0%}")
    return found


def grade(
    image: Image.Image, *, box: Box | None = None, minimum_size: int = 64, minimum_sharpness: float = 15.0
) -> str:
    """Return how far a picture is from being unusable, as a word for its record: high, medium or low.

    High: it has no `problems` were every limit twice as strict (size, sharpness, light, clipping); medium: a quarter
    stricter; low: neither.
    """
    seen = min(image.size), sharpness(image, box), exposure(image, box), box
    for word, factor in GRADES.items():
        limits = factor * DARKEST, 1 - factor * (1 - BRIGHTEST), CLIPPED / factor
        if not _problems(*seen, round(factor * minimum_size), factor * minimum_sharpness, *limits):
            return word
    return "low"


def diversity(items: Sequence[Image.Image] | np.ndarray) -> float | None:
    """Return the mean distance between all pairs: of 16 x 16 CIELAB thumbnails, or of the rows of an array.

    For pictures the unit is the root mean square colour difference (Delta E 1976), so it needs no face; for face
    encodings (n, 128) it is the face distance. None (not measured) for fewer than two items.
    """
    if len(items) < 2:
        return None
    rows = items if isinstance(items, np.ndarray) else np.stack([_lab_thumbnail(image) for image in items])
    upper = np.triu_indices(len(rows), 1)
    return float(np.linalg.norm(rows[upper[0]] - rows[upper[1]], axis=1).mean())


def colour_distance(a: Image.Image, b: Image.Image) -> float:
    """Return the root mean square colour difference (Delta E 1976) of two pictures, as 16 x 16 thumbnails."""
    return float(np.linalg.norm((_lab_thumbnail(a) - _lab_thumbnail(b))[None], axis=1)[0])


def unchanged(source: Image.Image, picture: Image.Image) -> bool:
    """Say whether an edited picture is its source again: nearer to it in colour than `CHANGE_FLOOR`.

    Sizes may differ. It is for edits of the whole picture; what a change to a small part leaves is under the floor too,
    and so is an edit that asked for what the source already showed.
    """
    return colour_distance(source, picture) < CHANGE_FLOOR


def _standardised(image: Image.Image) -> np.ndarray:
    """Return (64, 64) smoothed luminances of mean 0 and deviation 1, so that a change of exposure does not count."""
    small = np.asarray(image.convert("L").resize((64, 64), Image.Resampling.LANCZOS), dtype=np.float32)
    smooth = ndimage.gaussian_filter(small, 1)
    return (smooth - smooth.mean()) / max(float(smooth.std()), 1e-6)


def _lab_thumbnail(image: Image.Image) -> np.ndarray:
    """Return (768,) CIELAB values scaled so that the Euclidean distance of two is their RMS colour difference."""
    small = image.convert("RGB").resize((16, 16), Image.Resampling.BOX)
    return (_lab(np.asarray(small, dtype=np.float64) / 255) / 16).ravel()


def _lab(rgb: np.ndarray) -> np.ndarray:
    """Convert sRGB (..., 3) in 0..1 to CIELAB under D65 (IEC 61966-2-1, CIE 15)."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ to_xyz.T / to_xyz.sum(axis=1)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)
