"""How often a picture of somebody else among a character's is named, and how often one of the character's own is.

    python benchmarks/strangers.py

Draws ``--people`` people no model has seen in twelve scenes each, as step 1.1 gets them. Prints the share of whole sets
of which a picture is named wrongly, and how often one picture, or two of one other person, put among them is named.
"""

from __future__ import annotations

import argparse
import random

from PIL import Image
from tqdm.auto import tqdm

from flenlib.dataset.prompts import FACE_ANGLES
from flenlib.measure.faces import Face, find_faces
from flenlib.measure.statistics import wilson
from flenlib.measure.strangers import strangers
from flenlib.mini.people import TRAINING_SEEDS, person
from flenlib.mini.render import render
from flenlib.mini.sources import scenes

FIRST = TRAINING_SEEDS.stop + 70_000
TRIES = 4
"""Strangers put among the pictures of each person."""


def draw(number: int) -> list[Face]:
    """Return the faces of one person, one a scene that shows them from the front or half from the side."""
    someone, shown = person(FIRST + number), [s for s in scenes(number, 12) if s.angle in FACE_ANGLES]
    found = [find_faces(Image.fromarray(render(someone, scene))) for scene in shown]
    return [faces[0] for faces in found if faces]


def named(own: list[Face], others: list[Face]) -> tuple[bool, bool]:
    """Return whether all the others' pictures are named among one's own, and whether any of one's own is."""
    faces = {f"own {n}": face for n, face in enumerate(own)} | {f"other {n}": face for n, face in enumerate(others)}
    found = strangers(faces)
    return all(f"other {n}" in found for n in range(len(others))), any(name.startswith("own") for name in found)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--people", type=int, default=120)
    people = parser.parse_args().people
    drawn, chance = [draw(number) for number in tqdm(range(people), desc="people")], random.Random(0)
    wrong, one, two = [named(own, [])[1] for own in drawn], [], []
    for own in drawn:
        for other in chance.sample([faces for faces in drawn if faces is not own], TRIES):
            strange = chance.sample(other, 2)
            one.append(named(own[:-1], strange[:1])[0])
            two.append(named(own[:-2], strange)[0])
    for what, hits in {"a set with an own picture named": wrong, "a stranger named": one, "two of one": two}.items():
        low, high = wilson(sum(hits), len(hits))
        print(f"{what:32} {sum(hits):4} of {len(hits)}, {sum(hits) / len(hits):.1%} ({low:.1%} to {high:.1%})")


if __name__ == "__main__":
    main()
