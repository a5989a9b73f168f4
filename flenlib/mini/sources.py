"""Source pictures of one unseen person, as a creator would bring them: mostly faces, a few lights and places."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from flenlib.dataset import prompts
from flenlib.dataset.captions import write_txt
from flenlib.dataset.images import save_picture
from flenlib.mini.answers import facts
from flenlib.mini.people import TRAINING_SEEDS, person
from flenlib.mini.render import Scene, render

SIZE = 96
_ANGLES = (
    "front",
    "half-left",
    "front",
    "half-right",
    "front",
    "half-left",
    "half-right",
    "front",
    "profile-left",
    "front",
)
_BACKGROUNDS = ("clean", "studio", "clean", "urban", "forest", "clean", "beach")
_LIGHTS = ("studio", "daylight", "studio", "studio", "daylight", "sunset")


def scenes(seed: int, n: int) -> list[Scene]:
    """Return ``n`` scenes: angles, expressions, backgrounds and lights in turn, the same for every person."""
    return [
        Scene(
            angle=_ANGLES[i % len(_ANGLES)],
            expression=prompts.EXPRESSIONS[i % 2] if i % 5 else prompts.EXPRESSIONS[i // 5 % 4],
            background=_BACKGROUNDS[i % len(_BACKGROUNDS)],
            light=_LIGHTS[i % len(_LIGHTS)],
            seed=1000 * seed + i,
        )
        for i in range(n)
    ]


def draw(seed: int, out: Path, n: int, name: str) -> list[Path]:
    """Write the pictures of person ``TRAINING_SEEDS.stop + seed``; see `flenlib.mini.draw_sources`."""
    if seed < 0 or n < 1:
        raise ValueError(f"seed must be at least 0 and n at least 1; got seed {seed}, n {n}")
    someone = person(TRAINING_SEEDS.stop + seed)
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, scene in enumerate(scenes(seed, n), start=1):
        path = out / f"{name}_{number:02d}.png"
        picture = Image.fromarray(render(someone, scene, SIZE))
        save_picture(picture, path, facts(TRAINING_SEEDS.stop + seed, scene))
        words = {name: getattr(scene, name) for name in ("angle", "expression", "background", "light")}
        write_txt(path, prompts.caption("a person", **words))
        paths.append(path)
    return paths
