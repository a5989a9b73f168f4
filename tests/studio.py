"""A character's raw pictures for tests: twelve renders of one person no model has seen, named by what they show."""

from pathlib import Path
from types import SimpleNamespace

from flenlib.dataset.images import save_picture

SHOTS = (
    ("front", "neutral", "studio", "clean"),
    ("front", "smiling", "daylight", "beach"),
    ("front", "sad", "studio", "studio"),
    ("front", "angry", "studio", "clean"),
    ("half-left", "neutral", "studio", "clean"),
    ("half-left", "smiling", "daylight", "forest"),
    ("half-right", "neutral", "studio", "studio"),
    ("half-right", "smiling", "daylight", "clean"),
    ("front", "smiling", "sunset", "desert"),
    ("profile-left", "neutral", "studio", "clean"),
    ("profile-right", "neutral", "studio", "clean"),
    ("front", "neutral", "daylight", "urban"),
)


def write_sketches(folder: Path, seed: int = 1_000_123) -> Path:
    """Write twelve sketches in which no face is found, named by what they show, into a folder and return it."""
    from PIL import Image

    from flenlib.dataset.prompts import BACKGROUNDS, EXPRESSIONS
    from flenlib.mini.people import person
    from flenlib.mini.render import Scene, render

    folder.mkdir(parents=True, exist_ok=True)
    for number in range(12):
        angle, background = ("profile-left", "back", "profile-right")[number % 3], BACKGROUNDS[number % 8]
        scene = Scene(angle, expression=EXPRESSIONS[number % 4], background=background, style="sketch", seed=number)
        Image.fromarray(render(person(seed), scene)).save(folder / f"sketch_{number:02d}_{angle}.png")
    return folder


def write_raw(folder: Path, seed: int = 1_000_123, count: int = len(SHOTS)) -> Path:
    """Write the first of the twelve pictures as PNG into a folder and return it."""
    from PIL import Image

    from flenlib.mini.answers import facts
    from flenlib.mini.people import person
    from flenlib.mini.render import Scene, render_many

    scenes = [
        Scene(angle=a, expression=e, light=light, background=b, seed=number)
        for number, (a, e, light, b) in enumerate(SHOTS[:count])
    ]
    pictures = render_many([(person(seed), scene) for scene in scenes], workers=1)
    folder.mkdir(parents=True, exist_ok=True)
    for number, (picture, scene) in enumerate(zip(pictures, scenes, strict=True)):
        path = folder / f"maya_{number:02d}_{scene.angle}_{scene.expression}.png"
        save_picture(Image.fromarray(picture), path, facts(seed, scene))
    return folder


class Ready:
    """A model that is there already, where others are loaded when they first draw: whatever samples as families do."""

    def __init__(self, family):
        self.family, self.model = family, SimpleNamespace(family=type(family))

    loaded = True

    def free(self):
        """Nothing to give back."""
