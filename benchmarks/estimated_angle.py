"""How often the angle estimated from a found face is the angle a rendered person was drawn from.

    python benchmarks/estimated_angle.py

Draws people no model has seen, each from five sides, with an expression, a light and a background at random, and
prints for each true angle: pictures, faces found, and what was estimated.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter

import pandas as pd
from PIL import Image
from tqdm.auto import tqdm

from flenlib.dataset import prompts
from flenlib.measure.angle import estimate_angle
from flenlib.measure.faces import find_faces
from flenlib.measure.statistics import wilson
from flenlib.mini.people import TRAINING_SEEDS, person
from flenlib.mini.render import Scene, render

FIRST = TRAINING_SEEDS.stop + 60_000


def measure(people: int, size: int) -> pd.DataFrame:
    """Return, for each true angle: pictures, faces found, and how many were estimated as each angle."""
    chance = random.Random(0)
    counts = {angle: Counter() for angle in prompts.ANGLES[:5]}
    for number in tqdm(range(people), desc="people"):
        someone = person(FIRST + number)
        for angle, counted in counts.items():
            about = {
                "expression": chance.choice(prompts.EXPRESSIONS),
                "light": chance.choice(prompts.LIGHTS),
                "background": chance.choice(prompts.BACKGROUNDS),
            }
            picture = Image.fromarray(render(someone, Scene(angle=angle, seed=chance.randrange(10**9), **about), size))
            faces = find_faces(picture)
            counted["pictures"] += 1
            if faces:
                counted["faces found"] += 1
                counted[estimate_angle(picture, faces[0])] += 1
    columns = ["pictures", "faces found", "front", "half-left", "half-right"]
    return pd.DataFrame(counts.values(), index=list(counts), columns=columns).fillna(0).astype(int)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--people", type=int, default=60)
    parser.add_argument("--size", type=int, default=96, help="pixels of a picture")
    options = parser.parse_args()
    table = measure(options.people, options.size)
    print(table.to_string())
    seen = table.loc[list(prompts.FACE_ANGLES)]
    right, found = sum(int(seen.loc[angle, angle]) for angle in seen.index), int(seen["faces found"].sum())
    low, high = wilson(right, found)
    print(f"front and half views: {right} of {found} right, {right / found:.1%} ({low:.1%} to {high:.1%})")


if __name__ == "__main__":
    main()
