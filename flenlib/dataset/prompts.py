"""The words prompts are made of, and the plans built from them: captions, edits, novel scenes, the model card.

Knows words only; nothing here loads a model or reads a file. Templates follow the process document of the
project: enrichment edits (1.2), novel prompts (1.5), and the 23 pictures of the model card.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from dataclasses import dataclass

from flenlib.words import EDITS

ANGLES = ("front", "half-left", "profile-left", "half-right", "profile-right", "back")
HEIGHTS = ("level", "high", "low")
EXPRESSIONS = ("neutral", "smiling", "angry", "sad")
POSES = ("portrait", "t-pose", "standing", "sitting")
LIGHTS = ("studio", "daylight", "sunset", "nighttime")
BACKGROUNDS = ("clean", "studio", "forest", "beach", "urban", "spaceship", "library", "desert")
OUTFITS = ("t-shirt", "jacket", "dress", "suit", "hoodie")
STYLES = ("photo", "oil painting", "watercolor", "sketch")

FACE_ANGLES = ("front", "half-left", "half-right")
"""Angles at which a face detector can be expected to find a face."""

_LIGHT_WORDS = {
    "studio": "studio lighting",
    "daylight": "daylight",
    "sunset": "sunset light",
    "nighttime": "nighttime",
}
_EXPRESSION_WORDS = {"neutral": "neutral expression"}
POSE_WORDS = {"t-pose": "in T-pose", "standing": "standing", "sitting": "sitting on a chair"}
_EDIT_CHOICES = {
    "background": ("forest", "studio", "beach", "urban"),
    "lighting": ("daylight", "sunset", "nighttime", "studio"),
    "style": ("oil painting", "watercolor", "sketch"),
    "camera": ("slightly left", "slightly right", "lower", "higher"),
}
_EDIT_TEMPLATES = {
    "background": "Change background to {value}, keep person identical",
    "lighting": "Change lighting to {value}, keep person identical",
    "style": "Keep the person identical, but make it look like {value}",
    "camera": "Change camera angle to {value}, maintain appearance",
    "expression": "Change expression to {value}, keep person identical",
}


@dataclass(frozen=True)
class Wording:
    """How a generator is asked, as templates: the card's body poses, novel portraits and body poses, and places."""

    card_bodies: Mapping[str, str]
    novel: str
    novel_body: str
    places: Mapping[str, str]


GRAMMAR = Wording(
    {
        "t-pose": "full body photo of {subject} in T-pose, front view, clean background",
        "standing": "full body photo of {subject} standing, front view, clean background",
        "sitting": "full body photo of {subject} sitting on a chair, profile-left view, clean background",
    },
    "photo of {subject}, {expression}, {angle} view, {place}, {light}",
    "full body photo of {subject} {pose}, {angle} view, {place}",
    {background: f"{background} background" for background in BACKGROUNDS},
)
"""The words of `caption`, the only ones the mini studio's models have learnt."""

PLAIN = Wording(
    {
        "t-pose": "full body photo of {subject} in T-pose, front view, white background",
        "standing": "full body photo of {subject} standing, front view, neutral pose, clean background",
        "sitting": "full body photo of {subject} sitting on a chair, side view, clean background",
    },
    "{angle} view of {subject}, {expression}, {place}, {light}",
    "full body photo of {subject} {pose} {place}, {angle} view",
    {
        "clean": "in front of a clean background",
        "studio": "in a photo studio",
        "forest": "in a forest",
        "beach": "on a beach",
        "urban": "in a city street",
        "spaceship": "in a spaceship",
        "library": "in a library",
        "desert": "in a desert",
    },
)
"""The words of the process document's model card and novel prompts, for models that understand English."""

WORDINGS = {"grammar": GRAMMAR, "plain": PLAIN}


@dataclass(frozen=True)
class Prompt:
    """One thing to ask a generator for: the text, and the attributes it asks for (used by coverage and by judges)."""

    text: str
    attributes: tuple[tuple[str, str], ...] = ()
    name: str = ""

    def wanted(self) -> dict[str, str]:
        """Return the attributes as a dict, such as ``{"angle": "front", "expression": "smiling"}``."""
        return dict(self.attributes)


def choose(name: str, value: str, choices: tuple[str, ...]) -> str:
    """Return ``value`` if it is one of ``choices``; otherwise raise ValueError naming both."""
    if value not in choices:
        raise ValueError(f"{name} {value!r} is not known; it must be one of {', '.join(choices)}")
    return value


def caption(
    subject: str,
    *,
    angle: str | None = "front",
    expression: str | None = None,
    pose: str = "portrait",
    height: str = "level",
    background: str | None = None,
    light: str | None = None,
    outfit: str | None = None,
    style: str = "photo",
    lead: str | None = None,
) -> str:
    """Return the caption of a picture in the grammar of the seeds' templates.

    ``subject`` is what the picture is of, such as ``"ohwx_char person"``. A part given as None is not mentioned.
    ``lead`` overrides the opening word (``"photo"``, ``"portrait"``); body poses open with "full body photo".
    Raises ValueError for a value outside the vocabulary.
    """
    choose("style", style, STYLES)
    opening = lead or (style if style != "photo" else "photo" if pose == "portrait" else "full body photo")
    head = f"{opening} of {subject}"
    if choose("pose", pose, POSES) != "portrait":
        head += f" {POSE_WORDS[pose]}"
    if outfit is not None:
        head += f" wearing a {choose('outfit', outfit, OUTFITS)}"
    parts = [head]
    if expression is not None:
        choose("expression", expression, EXPRESSIONS)
        parts.append(_EXPRESSION_WORDS.get(expression, expression))
    if angle is not None:
        parts.append(f"{choose('angle', angle, ANGLES)} view")
    if choose("height", height, HEIGHTS) != "level":
        parts.append(f"{height} angle")
    if background is not None:
        parts.append(f"{choose('background', background, BACKGROUNDS)} background")
    if light is not None:
        parts.append(_LIGHT_WORDS[choose("light", light, LIGHTS)])
    return ", ".join(parts)


def edit_prompt(kind: str, value: str) -> str:
    """Return the instruction that asks an editor for one change, such as ``("background", "forest")``.

    Raises ValueError for an unknown kind. Values are free text: an editor may know more than the plan uses.
    """
    choose("edit kind", kind, tuple(_EDIT_TEMPLATES))
    return _EDIT_TEMPLATES[kind].format(value=value)


def edits_offered(kinds: tuple[str, ...] = EDITS) -> int:
    """Return how many different edits the kinds offer for one source."""
    return sum(len(_EDIT_CHOICES[choose("edit kind", kind, EDITS)]) for kind in kinds)


def enrichment_plan(per_source: int, seed: int, kinds: tuple[str, ...] = EDITS) -> list[tuple[str, str]]:
    """Return ``per_source`` (kind, value) edits for one source, every kind as often as the others, none twice.

    Raises ValueError when more edits are asked for than the kinds offer.
    """
    offered = edits_offered(kinds)
    choices = {kind: list(_EDIT_CHOICES[kind]) for kind in kinds}
    if per_source > offered:
        raise ValueError(f"edits_per_source {per_source} is more than the {offered} edits of kinds {', '.join(kinds)}")
    rng = random.Random(seed)
    for values in choices.values():
        rng.shuffle(values)
    order = list(kinds)
    rng.shuffle(order)
    plan: list[tuple[str, str]] = []
    turns = itertools.cycle(order)
    while len(plan) < per_source:
        kind = next(turns)
        if choices[kind]:
            plan.append((kind, choices[kind].pop()))
    return plan


def model_card(subject: str, wording: Wording) -> list[Prompt]:
    """Return the 23 standard prompts: 5 angles x 4 expressions, then T-pose, standing and sitting."""
    prompts = []
    for angle, expression in itertools.product(ANGLES[:5], EXPRESSIONS):
        text = caption(subject, angle=angle, expression=expression, background="clean", light="studio", lead="portrait")
        wanted = (("angle", angle), ("expression", expression), ("pose", "portrait"))
        prompts.append(Prompt(text, wanted, f"{angle}_{expression}"))
    for pose, angle in (("t-pose", "front"), ("standing", "front"), ("sitting", "profile-left")):
        text = wording.card_bodies[pose].format(subject=subject)
        prompts.append(Prompt(text, (("angle", angle), ("pose", pose)), pose))
    return prompts


def novel_prompts(subject: str, count: int, seed: int, wording: Wording) -> list[Prompt]:
    """Return ``count`` prompts for new pictures: novel angles, expressions, scenes and poses in turn, none twice.

    Raises ValueError when ``count`` exceeds what the vocabulary can say.
    """
    rng = random.Random(seed)
    portraits = list(itertools.product(ANGLES[:5], EXPRESSIONS, BACKGROUNDS, LIGHTS))
    bodies = list(itertools.product(("front", "half-left", "half-right"), POSES[1:], BACKGROUNDS))
    if count > len(portraits):
        raise ValueError(f"{count} prompts were asked for; the plan can make at most {len(portraits)} different ones")
    rng.shuffle(portraits)
    rng.shuffle(bodies)
    prompts = []
    for number in range(count):
        if number % 8 == 7 and bodies:
            wanted = dict(zip(("angle", "pose", "background"), bodies.pop(), strict=True))
            template = wording.novel_body
        else:
            angle, expression, background, light = portraits.pop()
            wanted = {"angle": angle, "expression": expression, "pose": "portrait", "background": background}
            wanted["light"] = light
            template = wording.novel
        text = template.format(subject=subject, **_words(wanted, wording))
        prompts.append(Prompt(text, tuple(wanted.items()), f"novel_{number:03d}"))
    return prompts


def _words(wanted: dict[str, str], wording: Wording) -> dict[str, str]:
    """Return what attributes are called in a prompt, by the names templates use."""
    expression, light = wanted.get("expression", ""), wanted.get("light", "")
    return {
        "angle": wanted["angle"],
        "expression": _EXPRESSION_WORDS.get(expression, expression),
        "pose": POSE_WORDS.get(wanted["pose"], ""),
        "place": wording.places[wanted["background"]],
        "light": _LIGHT_WORDS.get(light, ""),
    }
