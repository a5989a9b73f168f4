"""What was asked of a person of the mini studio, drawn by the renderer: the right answer of an edit.

A picture the studio drew carries in its provenance who and what it shows (`facts`). From that the renderer can draw
any change of it, aligned to the pixel, which gives the mini studio two things no photograph has: a hand that corrects,
and a judge that knows whether an edit was done. Knows no models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from flenlib.dataset import prompts
from flenlib.measure.quality import colour_distance
from flenlib.mini.people import person
from flenlib.mini.render import Scene, render

SIZE = 96
_JUDGED = 48  # pixels; answers are told apart by 16 x 16 thumbnails

CHOICES = {
    "background": prompts.BACKGROUNDS,
    "light": prompts.LIGHTS,
    "style": prompts.STYLES,
    "angle": prompts.ANGLES[:5],
    "height": prompts.HEIGHTS,
}
"""What can be asked of an edit, and the words it is told apart from; no plan asks for a back view."""


def facts(person_seed: int, scene: Scene) -> dict[str, Any]:
    """Return the facts of a rendered picture's provenance from which it can be drawn again."""
    of = {"person": person_seed, "character_kind": "fictional", "scene": asdict(scene)}
    return {"made_by": "renderer", "software": "flenlib.mini"} | of


def known(provenance: Mapping[str, Any]) -> bool:
    """Say whether a picture's provenance tells the renderer who and what it shows; anybody can write one."""
    seed, scene = provenance.get("person"), provenance.get("scene")
    try:
        numbers = (seed, Scene(**scene).seed) if isinstance(scene, Mapping) else (None,)
    except (TypeError, ValueError):
        return False
    return all(type(number) is int and number >= 0 for number in numbers)


def answer(provenance: Mapping[str, Any], changes: Mapping[str, str], size: int = SIZE) -> Image.Image:
    """Return the picture with some words of its scene changed, such as ``{"background": "forest"}``.

    Names that are no part of a scene are left out. Raises ValueError for a picture the studio did not draw.
    """
    if not known(provenance):
        raise ValueError(f"this picture was not drawn by the mini studio: its provenance is {dict(provenance)!r}")
    parts = {f.name for f in fields(Scene)} - {"seed"}
    words: dict[str, Any] = {name: word for name, word in changes.items() if name in parts}
    return _draw(int(provenance["person"]), replace(Scene(**provenance["scene"]), **words), size)


def reached(provenance: Mapping[str, Any], picture: Image.Image, asked: Mapping[str, str], question: str) -> bool:
    """Say whether an edited picture shows the word it was asked for rather than another answer to the question.

    ``question`` is one of CHOICES. The renderer draws every answer; the picture counts as done when the one asked for
    differs least from it in colour.
    """
    drawn = {word: answer(provenance, {**asked, question: word}, _JUDGED) for word in CHOICES[question]}
    return min(drawn, key=lambda word: colour_distance(drawn[word], picture)) == asked[question]


@lru_cache(maxsize=256)
def _draw(seed: int, scene: Scene, size: int) -> Image.Image:
    return Image.fromarray(np.asarray(render(person(seed), scene, size)))
