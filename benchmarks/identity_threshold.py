"""How far a threshold on face distance may lie above a character's own spread: kept of the same person, and of others.

    python benchmarks/identity_threshold.py

For each of ``--people`` unseen rendered people, ten source pictures are the reference set and six pictures in other
scenes are probes. Prints, for each slack (threshold = median leave-one-out distance of the references x slack), the
share of probes kept of the same person and of all other people.
"""

from __future__ import annotations

import argparse

import numpy as np
from PIL import Image

from flenlib.measure.faces import Face, ReferenceSet, find_faces
from flenlib.mini.people import TRAINING_SEEDS, person
from flenlib.mini.render import Scene, render
from flenlib.mini.sources import scenes

SLACKS = (1.0, 1.15, 1.25, 1.5, 1.75, 2.0)
PROBES = 6


def probes(seed: int) -> list[list[Face]]:
    """Return the faces of a person in scenes none of the sources shows; pictures without a face are left out."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(PROBES):
        scene = Scene(
            angle=str(rng.choice(["front", "half-left", "half-right"])),
            expression=str(rng.choice(["neutral", "smiling", "angry", "sad"])),
            light=str(rng.choice(["studio", "daylight", "sunset"])),
            background=str(rng.choice(["clean", "forest", "urban"])),
            seed=777_000 + number,
        )
        found.append(find_faces(Image.fromarray(render(person(seed), scene))))
    return [faces for faces in found if faces]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=10)
    people = [TRAINING_SEEDS.stop + 300 + number for number in range(parser.parse_args().people)]
    seen = {seed: probes(seed) for seed in people}
    same, others = [], []
    for seed in people:
        pictures = [find_faces(Image.fromarray(render(person(seed), scene))) for scene in scenes(seed, 10)]
        reference = ReferenceSet.from_faces(pictures, [str(number) for number in range(10)])
        for other in people:
            distances = [reference.distance(faces) / reference.ceiling for faces in seen[other]]
            (same if other == seed else others).extend(distances)
    print(f"{len(people)} people, {len(same)} pictures of the same person, {len(others)} of others")
    for slack in SLACKS:
        print(f"slack {slack:<5} kept of the same {np.mean(np.array(same) <= slack):4.0%}   "
              f"of others {np.mean(np.array(others) <= slack):4.0%}")  # fmt: skip


if __name__ == "__main__":
    main()
