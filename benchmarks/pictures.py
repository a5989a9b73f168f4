"""What pictures of other people cost step 1.1 in time and memory, and what scaling down for the face search changes.

    python benchmarks/pictures.py
    PYTHONPATH=<another checkout> python benchmarks/pictures.py        the same of its code

Each row is a process of its own, which says its seconds of processor time, its peak of resident memory and that before
the first picture; records that are equal to the last digit have the same hash. The last rows put rendered heads into
photographs of 12 megapixels and search them scaled down and as they are.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from flenlib import params
from flenlib.measure import faces
from flenlib.mini.people import TRAINING_SEEDS, person
from flenlib.mini.render import render
from flenlib.mini.sources import scenes
from flenlib.project import open_iteration
from flenlib.wheel import curate

FIRST = TRAINING_SEEDS.stop + 80_000
PHOTOGRAPH = (4032, 3024)
ROWS = (
    "12 renders, 96 px", "10 photographs, 12 MP", "1 black picture, 64 MP", "a strip, 50000 x 64",
    "a strip, 200000 x 200",
)  # fmt: skip


def photograph(number: int, side: int, scene: int = 0) -> Image.Image:
    """Return a picture of 12 megapixels: a rendered head ``side`` pixels large before something like a wall."""
    chance = np.random.default_rng(number)
    wall = Image.fromarray(chance.integers(90, 160, (63, 84, 3), dtype=np.uint8)).resize(PHOTOGRAPH)
    head = Image.fromarray(render(person(FIRST + number), scenes(number, 12)[scene]))
    place = (int(chance.integers(PHOTOGRAPH[0] - side)), int(chance.integers(PHOTOGRAPH[1] - side)))
    wall.paste(head.resize((side, side), Image.Resampling.LANCZOS), place)
    return wall


def write(row: str, folder: Path) -> None:
    """Write the pictures of a row."""
    if row == ROWS[0]:
        for number, scene in enumerate(scenes(0, 12)):
            Image.fromarray(render(person(FIRST), scene)).save(folder / f"{number:02d}_{scene.angle}.png")
    elif row == ROWS[1]:
        for number in range(10):
            photograph(number, 1800).save(folder / f"{number}_front.jpg", quality=90)
    elif row == ROWS[2]:
        Image.new("RGB", (8000, 8000)).save(folder / "black_front.png")


def work(row: str, folder: Path) -> str:
    """Do what a row measures in this process, and return what came of it with seconds and megabytes."""
    faces.find_faces(Image.new("RGB", (96, 96)))  # loads the detector
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    if row in ROWS[3:]:
        size = (50_000, 64) if row == ROWS[3] else (200_000, 200)
        came = f"{len(faces.find_faces(Image.new('RGB', size, 'grey')))} faces"
    else:
        character = {"name": "tester", "trigger": "ohwx_char", "kind": "fictional"}
        settings = params.check("curate", {"folder": str(folder), "minimum_size": 64, "minimum_sharpness": 0})
        project = open_iteration(character, root=folder.parent / "projects")
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            images = curate.curate(project, settings).dataset.images
        found = [(record.filename, record.sha256, record.quality, record.measurements) for record in images]
        came = f"{len(images)} usable, records {hashlib.sha256(json.dumps(found).encode()).hexdigest()[:8]}"
    seconds, peak = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f"{seconds:7.1f} s {peak / 1024:8.0f} MB {before / 1024:8.0f} MB   {came}"


def drift(people: int) -> None:
    """Print how far the faces of one photograph lie apart, searched scaled down and as it is."""
    print(f"\n{'in 12 megapixels':<24}{'found as it is':>15}{'scaled down':>13}{'distance, median':>18}{'largest':>9}")
    for side in (2400, 1200, 600, 300, 150):
        whole, small, apart = 0, 0, []
        for number in range(people):
            picture = photograph(number, side)
            ours = faces.find_faces(picture)
            limit, faces.LONGEST = faces.LONGEST, max(PHOTOGRAPH)
            theirs = faces.find_faces(picture)
            faces.LONGEST = limit
            whole, small = whole + bool(theirs), small + bool(ours)
            if ours and theirs:
                apart.append(float(np.linalg.norm(ours[0].encoding - theirs[0].encoding)))
        far = f"{np.median(apart):18.3f}{max(apart):9.3f}" if apart else ""
        print(f"{f'head {side} px':<24}{f'{whole} of {people}':>15}{f'{small} of {people}':>13}{far}")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--people", type=int, default=20, help="photographs a size of head")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.row:
        print(work(asked.row, asked.folder))
        return
    print(f"{'':<24}{'processor':>9}{'peak':>12}{'before':>12}")
    for row in ROWS:
        with tempfile.TemporaryDirectory() as base:
            folder = Path(base) / "raw"
            folder.mkdir()
            write(row, folder)
            command = [sys.executable, __file__, "--row", row, "--folder", str(folder)]
            ran = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
        ended = f"{'':>35}   killed by signal {-ran.returncode}: {ran.stderr.strip().splitlines()[-1:]}"
        print(f"{row:<24}{ran.stdout.rstrip() if ran.returncode == 0 else ended}", flush=True)
    if hasattr(faces, "LONGEST"):
        drift(asked.people)


if __name__ == "__main__":
    main()
