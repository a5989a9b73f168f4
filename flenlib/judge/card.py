"""The model card: the 23 standard pictures, drawn at several seeds a cell, and what is measured on them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image
from tqdm.auto import tqdm

from flenlib.dataset.images import contact_sheet, open_image
from flenlib.dataset.prompts import FACE_ANGLES, PLAIN, model_card
from flenlib.dataset.records import Dataset
from flenlib.draw.generator import Generator, open_generator
from flenlib.draw.pictures import Job, check_jobs, make, prompt_jobs
from flenlib.measure.faces import Face, find_many
from flenlib.measure.identity import References, references
from flenlib.measure.quality import diversity
from flenlib.measure.statistics import wilson
from flenlib.params import Card, Models
from flenlib.project import Project
from flenlib.steps import Criterion


def jobs(project: Project, settings: Card, generator: Generator | None = None) -> list[Job]:
    """Return the card's jobs; the same settings give the same prompts and seeds whatever the LoRA, so cells pair.

    Without the ``generator`` they are its cells by name, and cannot be drawn.
    """
    recipe = generator.recipe(settings) if generator else {}
    wording = generator.wording if generator else PLAIN
    return prompt_jobs(model_card(project.character.subject, wording), settings.seeds_per_cell, settings.seed, recipe)


def draw(project: Project, generator: Generator, settings: Card, name: str) -> list[Path]:
    """Draw the card of one LoRA (or of the base model) into ``outputs/.../card_<name>/``; finished pictures stay."""
    folder = project.outputs / f"card_{name}"
    todo = check_jobs(project, jobs(project, settings, generator))
    return [make(project, folder, job, generator) for job in tqdm(todo, desc=f"model card {name}", unit="picture")]


def draw_all(
    project: Project, models: Models, settings: Card, loras: Mapping[str, Path | None]
) -> dict[str, list[Path]]:
    """Draw the card of several LoRAs (None: the base model alone), loading the generator for each; paths by name."""
    drawn = {}
    for name, path in loras.items():
        generator = open_generator(models, [] if path is None else [f"{path}:{settings.lora_weight}"])
        drawn[name] = draw(project, generator, settings, name)
        generator.free()
    return drawn


def threshold(source: Dataset) -> float:
    """Return the face distance up to which a card's picture counts as recognised, calibrated on the sources."""
    return references(source).training.threshold()


def measure_all(
    project: Project, settings: Card, source: Dataset, paths: Mapping[str, list[Path]]
) -> dict[str, pd.DataFrame]:
    """Return a table for each LoRA, one row a picture: cell, seed, faces found, distances (NaN: not measured).

    ``held_out_distance`` is to sources no training has seen; it is the one that counts.
    """
    known = references(source)
    todo = jobs(project, settings)
    tables = {}
    for name, pictures in paths.items():
        faces = find_many([open_image(path) for path in pictures])
        rows = [_row(*each, known) for each in zip(todo, pictures, faces, strict=True)]
        tables[name] = pd.DataFrame(rows).astype({"distance": float, "held_out_distance": float})
    return tables


def _row(job: Job, path: Path, faces: list[Face], known: References) -> dict[str, Any]:
    cell, seed = path.stem.rsplit("_", 1)
    return {
        "cell": cell,
        "seed": int(seed),
        "angle": job.attributes["angle"],
        "pose": job.attributes["pose"],
        "expression": job.attributes.get("expression"),
        "path": str(path),
        "faces": len(faces),
        "distance": known.training.distance(faces),
        "held_out_distance": known.held_out.distance(faces) if known.held_out else None,
    }


def sheet(paths: Mapping[str, list[Path]], settings: Card) -> Image.Image:
    """Return the first seed of every cell, one row of 23 cut into lines, LoRA above LoRA."""
    pictures, titles = [], []
    cells = [p[:: settings.seeds_per_cell] for p in paths.values()]
    for start in range(0, len(cells[0]), 12):
        for name, row in zip(paths, cells, strict=True):
            line = row[start : start + 12]
            blanks = [Image.new("RGB", (8, 8), "white")] * (12 - len(line))
            pictures += [*line, *blanks]
            titles += [f"{name}: {path.stem[:-2]}" for path in line] + [""] * len(blanks)
    return contact_sheet(pictures, titles, columns=12, cell=96)


def first_sheet(paths: list[Path]) -> Image.Image:
    """Return the first seed of every cell with its name."""
    first = [path for path in paths if path.stem.endswith("_0")]
    return contact_sheet(first, [path.stem[:-2].replace("_", " ") for path in first], columns=8)


def cell_table(table: pd.DataFrame, limit: float) -> pd.DataFrame:
    """Return, for every cell: pictures, faces found, median distance, pictures within ``limit``."""
    groups = table.groupby("cell", sort=False)
    rows = groups.agg(
        pictures=("seed", "count"), faces=("faces", lambda f: int((f > 0).sum())), median=("distance", "median")
    )
    rows["recognised"] = groups["distance"].apply(lambda d: int((d <= limit).sum()))
    return rows.round(3)


def summary(tables: Mapping[str, pd.DataFrame], limit: float) -> pd.DataFrame:
    """Return one row a LoRA: faces found in the views that show one, median distances, share recognised, diversity.

    ``recognised`` is the share of face-showing portraits found and within the threshold, with its Wilson interval.
    """
    rows = []
    for name, table in tables.items():
        views = table[table["angle"].isin(FACE_ANGLES) & (table["pose"] == "portrait")]
        hits = int((views["distance"] <= limit).sum())
        low, high = wilson(hits, len(views))
        rows.append(
            {"LoRA": name, "pictures": len(table), "faces found": (views["faces"] > 0).mean(),
             "median distance": table["distance"].median(),
             "median held-out distance": table["held_out_distance"].median(),
             "recognised": hits / len(views), "low": low, "high": high,
             "diversity": diversity([open_image(p) for p in table["path"]])}
        )  # fmt: skip
    return pd.DataFrame(rows).set_index("LoRA").round(3)


def success(table: pd.DataFrame, limit: float) -> list[Criterion]:
    """Return the card's own targets: every cell drawn, and 80 % of first tries right where identity can be measured."""
    first = table[(table["seed"] == 0) & table["angle"].isin(FACE_ANGLES) & (table["pose"] == "portrait")]
    rate = float((first["distance"] <= limit).mean())
    return [
        Criterion("all 23 cells drawn", table["cell"].nunique() == 23, f"{table['cell'].nunique()}"),
        Criterion(
            "80 % of first tries recognised, of the cells that show a face", rate >= 0.8, f"{rate:.0%} of {len(first)}"
        ),
    ]
