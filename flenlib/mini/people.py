"""Procedural people: the numbers that make one character, drawn from a seed.

Knows faces as numbers only; `flenlib.mini.render` turns them into pictures. Lengths are in head units: the chin is
at -1 and the crown at +1, so a head is two units high.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TRAINING_SEEDS = range(0, 1_000_000)
"""Seeds whose people the shipped weights may be trained on; demos, tests and benchmarks use larger ones."""

Color = tuple[float, float, float]

HAIR_STYLES = ("bald", "buzzed", "short", "parted", "fringe", "bob", "long", "afro", "bun", "ponytail")
BEARDS = ("none", "stubble", "moustache", "goatee", "full")

HAIR_COLORS: dict[str, Color] = {
    "black": (0.09, 0.08, 0.09),
    "brown": (0.30, 0.18, 0.10),
    "red": (0.62, 0.22, 0.08),
    "blond": (0.86, 0.67, 0.34),
    "grey": (0.55, 0.55, 0.57),
    "white": (0.90, 0.89, 0.86),
    "blue": (0.16, 0.30, 0.72),
    "pink": (0.85, 0.35, 0.55),
}
_HAIR_ODDS = (0.26, 0.24, 0.15, 0.17, 0.07, 0.04, 0.04, 0.03)

_SKINS = np.array(
    [
        [0.98, 0.83, 0.74],
        [0.93, 0.74, 0.60],
        [0.85, 0.64, 0.48],
        [0.72, 0.50, 0.35],
        [0.56, 0.37, 0.26],
        [0.42, 0.27, 0.19],
    ]
)
_EYES: tuple[Color, ...] = (
    (0.16, 0.09, 0.05),
    (0.30, 0.17, 0.08),
    (0.16, 0.33, 0.50),
    (0.18, 0.36, 0.20),
    (0.35, 0.40, 0.44),
)
_CLOTHES: tuple[Color, ...] = (
    (0.75, 0.16, 0.16), (0.15, 0.32, 0.68), (0.14, 0.48, 0.28), (0.85, 0.62, 0.14),
    (0.45, 0.20, 0.52), (0.12, 0.50, 0.55), (0.85, 0.42, 0.20), (0.35, 0.38, 0.42),
)  # fmt: skip
_WOMAN_HAIR = (("long", 0.36), ("bob", 0.2), ("fringe", 0.14), ("bun", 0.12), ("ponytail", 0.1), ("afro", 0.08))
_MAN_HAIR = (
    ("short", 0.3),
    ("parted", 0.24),
    ("buzzed", 0.14),
    ("bald", 0.14),
    ("afro", 0.07),
    ("fringe", 0.05),
    ("long", 0.06),
)


@dataclass(frozen=True)
class Person:
    """All the numbers of one procedural character; lengths in head units, colours as RGB in 0..1."""

    seed: int
    woman: bool
    age: float  # 0 young, 1 old
    skin: Color
    # head
    face_width: float
    jaw: float  # width of the jaw as a share of the face's
    chin: float  # width of the chin as a share of the face's
    chin_out: float
    cheek: float
    brow_ridge: float
    # eyes
    eye_x: float
    eye_y: float
    eye_width: float
    eye_height: float
    eye_tilt: float
    eye_color: Color
    # brows
    brow_y: float  # above the eye
    brow_thickness: float
    brow_tilt: float
    brow_arch: float
    # nose, mouth, ears, neck
    nose_y: float
    nose_width: float
    nose_out: float
    bridge: float
    mouth_y: float
    mouth_width: float
    lip: float
    lip_color: Color
    ear: float
    neck: float
    shoulders: float
    # hair
    hair: str
    hair_name: str
    hair_color: Color
    hairline: float
    hair_volume: float
    part: float
    beard: str
    glasses: bool
    clothes: Color


def person(seed: int) -> Person:
    """Return the character of a seed, a pure function of it; any non-negative integer is somebody else."""
    rng = np.random.default_rng([90210, seed])
    u = rng.uniform
    woman = bool(rng.random() < 0.5)
    age = float(rng.beta(1.2, 1.8))
    skin = _skin(rng)
    hair, hair_name, hair_color = _hair(rng, woman, age, skin)
    beard = "none" if woman else str(rng.choice(BEARDS, p=(0.44, 0.14, 0.12, 0.1, 0.2)))
    nose_y = u(-0.47, -0.27)
    return Person(
        seed=seed, woman=woman, age=age, skin=skin,
        face_width=u(0.60, 0.78), jaw=u(0.70, 0.90) if woman else u(0.80, 1.04),
        chin=u(0.42, 0.80), chin_out=u(-0.03, 0.08),
        cheek=u(0.0, 0.09), brow_ridge=u(0.0, 0.04) if woman else u(0.02, 0.09),
        eye_x=u(0.245, 0.345), eye_y=u(-0.06, 0.10), eye_width=u(0.125, 0.185), eye_height=u(0.045, 0.095),
        eye_tilt=u(-0.28, 0.30), eye_color=_EYES[rng.integers(len(_EYES))],
        brow_y=u(0.14, 0.27), brow_thickness=u(0.022, 0.05) if woman else u(0.035, 0.075), brow_tilt=u(-0.25, 0.30),
        brow_arch=u(0.0, 0.07),
        nose_y=nose_y, nose_width=u(0.08, 0.18), nose_out=u(0.12, 0.27), bridge=u(0.2, 0.6),
        mouth_y=nose_y - u(0.17, 0.29), mouth_width=u(0.18, 0.34), lip=u(0.03, 0.10) if woman else u(0.022, 0.075),
        lip_color=_lips(rng, skin, woman), ear=u(0.7, 1.25), neck=u(0.30, 0.38) if woman else u(0.38, 0.50),
        shoulders=u(1.15, 1.35) if woman else u(1.35, 1.6),
        hair=hair, hair_name=hair_name, hair_color=hair_color, hairline=u(0.44, 0.66), hair_volume=u(0.05, 0.16),
        part=float(rng.choice((-1, 1))) * u(0.4, 1.0), beard=beard, glasses=bool(rng.random() < 0.17),
        clothes=_CLOTHES[rng.integers(len(_CLOTHES))],
    )  # fmt: skip


def describe(p: Person) -> str:
    """Return the visible facts in a few words, such as "woman with long red hair" or "bald man with a beard"."""
    noun = "woman" if p.woman else "man"
    extras = []
    if p.hair == "bald":
        noun = f"bald {noun}"
    else:
        extras.append(_hair_words(p))
    if p.beard in ("goatee", "full"):
        extras.append("a beard")
    if p.beard == "moustache":
        extras.append("a moustache")
    if p.glasses:
        extras.append("glasses")
    if not extras:
        return noun
    listed = extras[0] if len(extras) == 1 else ", ".join(extras[:-1]) + " and " + extras[-1]
    return f"{noun} with {listed}"


def _hair_words(p: Person) -> str:
    words = {
        "buzzed": "buzzed {} hair", "short": "short {} hair", "parted": "parted {} hair",
        "fringe": "{} hair with a fringe",
        "bob": "a {} bob", "long": "long {} hair", "afro": "curly {} hair", "bun": "a {} bun",
        "ponytail": "a {} ponytail",
    }  # fmt: skip
    return words[p.hair].format(p.hair_name)


def _skin(rng: np.random.Generator) -> Color:
    tone = rng.uniform(0, len(_SKINS) - 1.001)
    low = int(tone)
    color = _SKINS[low] + (tone - low) * (_SKINS[low + 1] - _SKINS[low]) + rng.normal(0, 0.012, 3)
    return _color(color)


def _hair(rng: np.random.Generator, woman: bool, age: float, skin: Color) -> tuple[str, str, Color]:
    names, odds = zip(*(_WOMAN_HAIR if woman else _MAN_HAIR), strict=True)
    style = str(rng.choice(names, p=odds))
    name = str(rng.choice(list(HAIR_COLORS), p=_HAIR_ODDS))
    if age > 0.75 and rng.random() < 0.6:
        name = str(rng.choice(("grey", "white")))
    elif sum(skin) < 1.5 and name in ("red", "blond"):
        name = "black"
    return style, name, _color(np.array(HAIR_COLORS[name]) * rng.uniform(0.85, 1.12))


def _lips(rng: np.random.Generator, skin: Color, woman: bool) -> Color:
    strength = rng.uniform(0.45, 1.0) if woman else rng.uniform(0.25, 0.5)
    return _color(np.array(skin) * (1 - strength * np.array([0.22, 0.55, 0.50])))


def _color(values: np.ndarray) -> Color:
    r, g, b = (float(v) for v in np.clip(values, 0.03, 1.0))
    return r, g, b
