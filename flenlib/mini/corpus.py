"""The pictures the mini studio learns from: groups of aligned renders of one person, and their captions.

A group is a base scene and variants that each change one thing; any two pictures of a group that differ in one thing
make an edit pair. Only people of `TRAINING_SEEDS` appear here. Knows no torch.
"""

from __future__ import annotations

import json
import os
import random
import string
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from flenlib.dataset import prompts
from flenlib.mini.people import TRAINING_SEEDS, describe, person
from flenlib.mini.render import Scene, face_box, render_many

_ANGLE_ODDS = (0.3, 0.2, 0.12, 0.2, 0.12, 0.06)
_EDIT_ANGLE_ODDS = (0.36, 0.24, 0.08, 0.24, 0.08, 0.0)  # of groups: mostly views in which a face must survive
_HEIGHT_ODDS = (0.76, 0.12, 0.12)
_EXPRESSION_ODDS = (0.28, 0.24, 0.24, 0.24)
_POSE_ODDS = (0.88, 0.04, 0.04, 0.04)
_LIGHT_ODDS = (0.4, 0.22, 0.2, 0.18)
_BACKGROUND_ODDS = (0.28, 0.12, 0.14, 0.12, 0.12, 0.08, 0.07, 0.07)
_STYLE_ODDS = (0.91, 0.03, 0.03, 0.03)
_TURN = ("profile-left", "half-left", "front", "half-right", "profile-right")
_RISE = ("low", "level", "high")
_FIELDS = ("angle", "height", "expression", "pose", "light", "background", "outfit", "style")


@dataclass(frozen=True)
class Row:
    """One picture of the corpus: who, what the words of the scene are, and which group it belongs to."""

    group: int
    looks: str
    scene: dict[str, str]

    def mirrored(self) -> Row:
        """Return the row of the picture flipped left to right."""
        return replace(self, scene={**self.scene, "angle": _other_side(self.scene["angle"])})


@dataclass(frozen=True)
class Corpus:
    """Pictures (N, size, size, 3) uint8, face boxes (N, 4; zeros where there is none), and their rows."""

    pictures: np.ndarray
    boxes: np.ndarray
    rows: list[Row]


def _other_side(angle: str) -> str:
    if angle.endswith("left"):
        return angle.replace("left", "right")
    return angle.replace("right", "left")


def _draw(rng: np.random.Generator, choices: tuple[str, ...], odds: tuple[float, ...]) -> str:
    return choices[int(rng.choice(len(choices), p=odds))]


def random_scene(rng: np.random.Generator, seed: int) -> Scene:
    """Return a scene with every part drawn at the odds of the corpus."""
    return Scene(
        angle=_draw(rng, prompts.ANGLES, _ANGLE_ODDS),
        height=_draw(rng, prompts.HEIGHTS, _HEIGHT_ODDS),
        expression=_draw(rng, prompts.EXPRESSIONS, _EXPRESSION_ODDS),
        pose=_draw(rng, prompts.POSES, _POSE_ODDS),
        light=_draw(rng, prompts.LIGHTS, _LIGHT_ODDS),
        background=_draw(rng, prompts.BACKGROUNDS, _BACKGROUND_ODDS),
        outfit=str(rng.choice(prompts.OUTFITS)),
        style=_draw(rng, prompts.STYLES, _STYLE_ODDS),
        seed=seed,
    )


def group_scenes(rng: np.random.Generator, seed: int) -> list[Scene]:
    """Return ten scenes: a base; two other lights, expressions and angles; one other background, style and height."""
    base = replace(random_scene(rng, seed), style="photo", angle=_draw(rng, prompts.ANGLES, _EDIT_ANGLE_ODDS))

    def others(name: str, choices: tuple[str, ...], count: int, odds: tuple[float, ...] | None = None) -> list[Scene]:
        weights = np.array(odds or [1.0] * len(choices)) * [value != getattr(base, name) for value in choices]
        chosen = rng.choice(choices, count, replace=False, p=weights / weights.sum())
        changes: list[dict[str, Any]] = [{name: str(value)} for value in chosen]
        return [replace(base, **change) for change in changes]

    return [
        base,
        *others("background", prompts.BACKGROUNDS, 1),
        *others("light", prompts.LIGHTS, 2),
        *others("style", prompts.STYLES[1:], 1),
        *others("expression", prompts.EXPRESSIONS, 2),
        *others("angle", prompts.ANGLES, 2, _EDIT_ANGLE_ODDS),
        *others("height", prompts.HEIGHTS, 1),
    ]


def draw_corpus(folder: Path, groups: int, singles: int, *, size: int = 96, first: int = 0, workers: int = 2) -> Path:
    """Render ``groups`` groups of ten and ``singles`` single pictures, each of another person, into one file.

    ``first`` is the seed of the first person; raises ValueError when the people run out of `TRAINING_SEEDS`.
    """
    if first + groups + singles > len(TRAINING_SEEDS):
        raise ValueError(f"people {first} to {first + groups + singles} leave the training seeds")
    jobs, rows, boxes = [], [], []
    for seed in range(first, first + groups + singles):
        rng = np.random.default_rng([7, seed])
        someone = person(seed)
        scenes = group_scenes(rng, seed) if seed < first + groups else [random_scene(rng, seed)]
        for scene in scenes:
            jobs.append((someone, scene))
            boxes.append(face_box(someone, scene, size) or (0, 0, 0, 0))
            words = {name: getattr(scene, name) for name in _FIELDS}
            rows.append({"group": seed, "looks": describe(someone), "scene": words})
    path = folder / f"corpus_{first:06d}.npz"
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    pictures = render_many(jobs, size, workers)
    np.savez(partial, pictures=pictures, boxes=np.array(boxes, np.int16), rows=json.dumps(rows))
    os.replace(partial, path)
    return path


def load_corpus(folder: Path) -> Corpus:
    """Return all corpus files of ``folder`` as one; raises FileNotFoundError when there is none."""
    paths = sorted(path for path in folder.glob("corpus_*.npz") if "partial" not in path.name)
    if not paths:
        raise FileNotFoundError(f"no corpus in {folder}; run `python -m flenlib.mini.build --stage corpus` first")
    files = [np.load(path) for path in paths]
    rows = [Row(**row) for file in files for row in json.loads(str(file["rows"]))]
    return Corpus(np.concatenate([f["pictures"] for f in files]), np.concatenate([f["boxes"] for f in files]), rows)


def trigger(rng: random.Random) -> str:
    """Return letters that mean nothing, such as ``ohwx_char``: what a LoRA may later give a meaning to."""
    if rng.random() < 0.3:
        return rng.choice(("ohwx_char", "sks", "ohwx"))
    word = "".join(rng.choices(string.ascii_lowercase + "0123456789", k=rng.randint(3, 5)))
    return word if rng.random() < 0.5 else f"{word}_{rng.choice(('char', 'person', 'mia', 'v1'))}"


def subject(looks: str, rng: random.Random) -> str:
    """Return whom a caption is of: a description, a bare noun, or a meaningless trigger with a noun."""
    noun = "woman" if "woman" in looks else "man"
    kind = rng.random()
    if kind < 0.45:
        return looks
    if kind < 0.65:
        return rng.choice(("person", noun))
    return f"{trigger(rng)} {rng.choice(('person', 'person', noun))}"


def write_caption(row: Row, rng: random.Random) -> str:
    """Return a caption of the row's picture in the grammar, with parts left out at random."""
    scene, who = row.scene, subject(row.looks, rng)
    if scene["style"] == "photo" and scene["pose"] == "portrait" and rng.random() < 0.08:
        return _short_caption(scene, who, rng)

    def maybe(name: str, odds: float) -> str | None:
        return scene[name] if rng.random() < odds else None

    text = prompts.caption(
        "{who}",
        angle=maybe("angle", 0.9),
        expression=maybe("expression", 0.85),
        pose=scene["pose"],
        height=scene["height"],
        background=maybe("background", 0.9),
        light=maybe("light", 0.75),
        outfit=maybe("outfit", 0.3),
        style=scene["style"],
        lead="portrait" if scene["style"] == "photo" and scene["pose"] == "portrait" and rng.random() < 0.3 else None,
    )
    head, *parts = text.split(", ")
    if rng.random() < 0.25:
        rng.shuffle(parts)
    return ", ".join([head, *parts]).format(who=who)


def _short_caption(scene: dict[str, str], who: str, rng: random.Random) -> str:
    choices = [f"{scene['angle']} view of {who}", f"{who} {scene['expression']}", f"{who} wearing a {scene['outfit']}"]
    if scene["background"] not in ("clean", "studio"):
        choices.append(f"{who} in a {scene['background']}")
    return rng.choice(choices)


def edit_pairs(rows: list[Row]) -> list[tuple[int, int, str]]:
    """Return (source, target, changed field) for every two pictures of a group that differ in one field."""
    by_group: dict[int, list[int]] = {}
    for index, row in enumerate(rows):
        by_group.setdefault(row.group, []).append(index)
    pairs = []
    for members in by_group.values():
        for a in members:
            for b in members:
                changed = [name for name in _FIELDS if rows[a].scene[name] != rows[b].scene[name]]
                if len(changed) == 1 and rows[a].scene["style"] == "photo":
                    pairs.append((a, b, changed[0]))
    return pairs


def write_edit(source: Row, target: Row, changed: str, rng: random.Random) -> str:
    """Return the instruction that turns the source's picture into the target's."""
    value = target.scene[changed]
    if changed == "height":
        return prompts.edit_prompt("camera", _height_words(source, target))
    if changed == "angle":
        return prompts.edit_prompt("camera", _angle_words(source.scene["angle"], value, rng))
    if changed in ("light", "background", "style", "expression"):
        return prompts.edit_prompt("lighting" if changed == "light" else changed, value)
    raise ValueError(f"no instruction is known for a change of {changed}")


def _height_words(source: Row, target: Row) -> str:
    return "higher" if _RISE.index(target.scene["height"]) > _RISE.index(source.scene["height"]) else "lower"


def _angle_words(before: str, after: str, rng: random.Random) -> str:
    if before in _TURN and after in _TURN and rng.random() < 0.75:
        steps = _TURN.index(after) - _TURN.index(before)
        if steps in (-1, 1):
            return "slightly left" if steps < 0 else "slightly right"
    return f"{after} view"
