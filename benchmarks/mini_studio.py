"""What the mini studio can do, measured on people no weights were trained on.

    python benchmarks/mini_studio.py
    python benchmarks/mini_studio.py --n 120         (narrower intervals)

Prints one table: faces found in generated frontal and half views; how often the asked-for angle, expression,
background and light are reached (judged by a classifier trained on renders; its own accuracy on renders is the
ceiling); how much of the identity edits keep, beside same-person and different-people distances; autoencoders.
"""

from __future__ import annotations

import argparse
import io
import itertools
import random
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from flenlib import words
from flenlib.content import allow
from flenlib.dataset import prompts
from flenlib.draw import load
from flenlib.measure.statistics import wilson
from flenlib.mini.judge import Judge, face_encoding, load_judge, renders
from flenlib.mini.people import TRAINING_SEEDS, describe, person
from flenlib.mini.render import Scene, render_many
from flenlib.models.families.flux import Flux
from flenlib.models.families.qwen_edit import QwenEdit
from flenlib.params import Character

SIDE = 96
SOMEBODY = Character(name="somebody", trigger="ohwx_char", kind="fictional", age="adult")
FIRST = TRAINING_SEEDS.stop + 500_000
"""The first benchmark person; demos and tests use smaller numbers."""


class Table:
    """Rows of a result: what, how often or how much, and of how many."""

    def __init__(self) -> None:
        self.rows: list[dict[str, object]] = []

    def share(self, what: str, hits: list[bool]) -> None:
        """Add a share with its 95 % Wilson interval."""
        if not hits:
            self.rows.append({"what": what, "value": "not measured", "n": 0})
            return
        low, high = wilson(sum(hits), len(hits))
        self.rows.append({"what": what, "value": f"{np.mean(hits):.0%} ({low:.0%} to {high:.0%})", "n": len(hits)})

    def distance(self, what: str, values: list[float]) -> None:
        """Add a median face distance."""
        value = f"{np.median(values):.3f}" if values else "not measured"
        self.rows.append({"what": what, "value": value, "n": len(values)})

    def show(self) -> None:
        """Print the rows in columns."""
        for row in self.rows:
            print(f"{row['what']:<58}{row['value']:<24}n={row['n']}")


def distances(pairs: list[tuple[np.ndarray, np.ndarray]]) -> list[float]:
    """Return the face distance of each pair of pictures in which both faces are found."""
    encoded = [(face_encoding(a), face_encoding(b)) for a, b in pairs]
    return [float(np.linalg.norm(a - b)) for a, b in encoded if a is not None and b is not None]


def measure_people(table: Table, n: int) -> None:
    """Measure how far renders of one person and of different people lie apart: the scale of all distances below."""
    jobs = []
    for i in range(n):
        jobs.append((person(FIRST + i), Scene(seed=i)))
        jobs.append((person(FIRST + i), Scene(seed=i + n, angle="half-left", expression="smiling", background="urban")))
    pictures = render_many(jobs, SIDE)
    same = [(pictures[2 * i], pictures[2 * i + 1]) for i in range(n)]
    different = [(pictures[2 * i], pictures[(2 * i + 2) % (2 * n)]) for i in range(n)]
    table.distance("renders: same person, another view", distances(same))
    table.distance("renders: different people", distances(different))
    table.distance("renders: the same picture, JPEG at quality 75", distances([(p, as_jpeg(p)) for p in pictures[::2]]))


def as_jpeg(picture: np.ndarray, quality: int = 75) -> np.ndarray:
    """Return a uint8 picture (H, W, 3) after JPEG compression: a loss that hardly shows, to compare others with."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file, formats=("JPEG",)))


def measure_autoencoder(table: Table, name: str, vae: torch.nn.Module, n: int) -> None:
    """Measure what encoding and decoding does to the faces of unseen people."""
    angles = itertools.cycle(prompts.FACE_ANGLES)
    pictures = render_many([(person(FIRST + i), Scene(angle=next(angles), seed=i)) for i in range(n)], SIDE)
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    video = hasattr(vae, "temperal_downsample")
    with torch.no_grad():
        x = x.unsqueeze(2) if video else x
        out = vae.decode(vae.encode(x).latent_dist.mode()).sample
    out = out[:, :, 0] if video else out
    back = ((out.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    found = [i for i in range(n) if face_encoding(pictures[i]) is not None]
    table.share(f"{name} autoencoder: faces still found", [face_encoding(back[i]) is not None for i in found])
    table.distance(f"{name} autoencoder: distance to the original", distances([(pictures[i], back[i]) for i in found]))


def generate(n: int, steps: int) -> tuple[Flux, list[dict[str, str]], np.ndarray]:
    """Return the generator, what each of ``n`` prompts asked for, and the pictures drawn."""
    generator = load.load_family("mini-flux")
    rng, wanted, drawn = random.Random(0), [], []
    angles = itertools.cycle(
        ("front", "half-left", "front", "half-right", "profile-left", "front", "half-right", "profile-right")
    )
    for i in range(n):
        ask = {
            "angle": next(angles),
            "expression": rng.choice(prompts.EXPRESSIONS),
            "background": rng.choice(prompts.BACKGROUNDS),
            "light": rng.choice(prompts.LIGHTS),
        }
        text = prompts.caption(describe(person(FIRST + i)), **ask)
        wanted.append(ask)
        drawn.append(np.asarray(generator.sample(allow(SOMEBODY, text), seed=i, steps=steps, guidance=3.5)))
    return generator, wanted, np.stack(drawn)


def measure_generator(table: Table, judge: Judge, wanted: list[dict[str, str]], pictures: np.ndarray) -> None:
    """Measure whether faces are found and the prompts are followed."""
    for name, angles in (("frontal", ("front",)), ("half", ("half-left", "half-right"))):
        faces = [
            face_encoding(p) is not None for p, ask in zip(pictures, wanted, strict=True) if ask["angle"] in angles
        ]
        table.share(f"generator: face found in {name} views", faces)
    share_reached(table, "generator", wanted, judge.answers(pictures))


def share_reached(table: Table, what: str, wanted: list[dict[str, str]], answers: dict[str, list[str]]) -> None:
    """Add how often each question's answer is the wanted one; expressions only where a face can be seen."""
    for name in ("angle", "expression", "background", "light"):
        hits = [
            ask[name] == got
            for ask, got in zip(wanted, answers[name], strict=True)
            if name != "expression" or ask["angle"] in prompts.FACE_ANGLES
        ]
        table.share(f"{what}: {name} as asked", hits)


EDITS = (
    ("background", "forest", "background", "forest"),
    ("lighting", "sunset", "light", "sunset"),
    ("expression", "smiling", "expression", "smiling"),
    ("camera", "slightly left", "angle", "half-left"),
    ("background", "urban", "background", "urban"),
    ("lighting", "nighttime", "light", "nighttime"),
    ("style", "oil painting", "style", "oil painting"),
    ("camera", "higher", "height", "high"),
)
"""Kind and value of the instruction, then which question judges it and the wanted answer."""


def measure_editor(table: Table, judge: Judge, n: int, steps: int) -> tuple[QwenEdit, np.ndarray]:
    """Edit frontal pictures of unseen people; measure whether the edit is made and the person is still the same."""
    editor = load.load_family("mini-qwen-edit")
    sources = render_many([(person(FIRST + 1000 + i), Scene(seed=i)) for i in range(n)], SIDE)
    edited = []
    for i, (kind, value, _, _) in zip(range(n), itertools.cycle(EDITS)):
        picture = Image.fromarray(sources[i])
        text = prompts.edit_prompt(kind, value)
        edited.append(
            np.asarray(editor.sample(allow(SOMEBODY, text), seed=i, steps=steps, guidance=2.0, references=(picture,)))
        )
    pictures = np.stack(edited)
    answers = judge.answers(pictures)
    for kind in (*words.EDITS, "expression"):
        mine = [i for i in range(n) if EDITS[i % len(EDITS)][0] == kind]
        table.share(
            f"editor: {kind} as asked", [answers[EDITS[i % len(EDITS)][2]][i] == EDITS[i % len(EDITS)][3] for i in mine]
        )
        table.distance(
            f"editor: distance to the source after {kind}", distances([(sources[i], pictures[i]) for i in mine])
        )
    table.share("editor: face still found", [face_encoding(p) is not None for p in pictures])
    return editor, np.concatenate([sources, pictures])


def sheet(pictures: np.ndarray, columns: int = 16) -> Image.Image:
    """Return pictures (N, H, W, 3) in a grid, filled up with white."""
    rows = -(-len(pictures) // columns)
    grid = np.full((rows * columns, *pictures.shape[1:]), 255, np.uint8)
    grid[: len(pictures)] = pictures
    side = pictures.shape[1]
    return Image.fromarray(
        grid.reshape(rows, columns, side, side, 3).swapaxes(1, 2).reshape(rows * side, columns * side, 3)
    )


def main() -> None:
    """Measure everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=48, help="pictures for each measurement")
    parser.add_argument("--steps", type=int, default=20, help="sampling steps")
    parser.add_argument("--judge", type=Path, default=Path("data/mini_build/judge.pt"), help="cached classifier")
    parser.add_argument("--sheets", type=Path, default=None, help="folder for contact sheets of what was drawn")
    arguments = parser.parse_args()
    table = Table()
    judge = load_judge(arguments.judge)
    pictures, truth = renders(2 * arguments.n, FIRST + 5000)
    asked = [dict(zip(truth, words, strict=True)) for words in zip(*truth.values(), strict=True)]
    share_reached(table, "judge on renders", asked, judge.answers(pictures))
    measure_people(table, arguments.n)
    flux, wanted, drawn = generate(arguments.n, arguments.steps)
    measure_autoencoder(table, "mini-flux", flux.pipeline.vae, arguments.n)
    measure_generator(table, judge, wanted, drawn)
    editor, edited = measure_editor(table, judge, arguments.n, arguments.steps)
    measure_autoencoder(table, "mini-qwen-edit", editor.pipeline.vae, arguments.n)
    table.show()
    if arguments.sheets:
        arguments.sheets.mkdir(parents=True, exist_ok=True)
        sheet(drawn).save(arguments.sheets / "generated.png")
        sheet(edited).save(arguments.sheets / "edited.png")


if __name__ == "__main__":
    main()
