"""The model card: the 23 standard pictures, drawn at several seeds a cell, and what is measured on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image
from tqdm.auto import tqdm

from flenlib.dataset.images import contact_sheet, open_image
from flenlib.dataset.prompts import FACE_ANGLES, PLAIN, model_card
from flenlib.dataset.records import Dataset
from flenlib.draw.generator import Generator, open_generator
from flenlib.draw.pictures import Job, make, prompt_jobs
from flenlib.measure.face_store import faces_in
from flenlib.measure.faces import Face
from flenlib.measure.identity import References, references
from flenlib.measure.measures import MEASURES, RECOGNISED, SHARE, Measure, among, applying, of_picture, of_set
from flenlib.measure.seen import Seen
from flenlib.measure.statistics import wilson
from flenlib.measure.tables import sums
from flenlib.params import Card, Models
from flenlib.project import Project
from flenlib.steps import Criterion

FACTS = ("cell", "seed", "angle", "pose", "expression", "path")
"""The columns of a card's table beside its measures."""


def jobs(project: Project, settings: Card, generator: Generator | None = None) -> list[Job]:
    """Return the card's jobs; the same settings give the same prompts and seeds whatever the LoRA, so cells pair.

    Without the ``generator`` they are its cells by name, and cannot be drawn. Raises Refused, before a model is loaded,
    for a prompt that may not be drawn of this character.
    """
    recipe = generator.recipe(settings) if generator else {}
    prompts = model_card(project.character.subject, generator.wording if generator else PLAIN)
    return prompt_jobs(project.character, prompts, settings.seeds_per_cell, settings.seed, recipe)


def plan_sentence(project: Project, settings: Card, names: Iterable[str]) -> str:
    """Return how many pictures the card of each LoRA has. Raises as `jobs`."""
    return f"model card of {', '.join(names)}: {len(jobs(project, settings))} pictures each"


def draw(project: Project, generator: Generator, settings: Card, name: str) -> list[Path]:
    """Draw the card of one LoRA (or of the base model) into ``outputs/.../card_<name>/``; finished pictures stay."""
    folder = project.outputs / f"card_{name}"
    todo = jobs(project, settings, generator)
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


def measure_all(
    project: Project,
    settings: Card,
    source: Dataset,
    paths: Mapping[str, list[Path]],
    measures: Sequence[Measure] = MEASURES,
) -> dict[str, pd.DataFrame]:
    """Return a table for each LoRA, one row a picture: cell, seed, and a column a measure (NaN: not measured).

    Recognised is what lies within the threshold calibrated on the sources. `HELD_OUT_FACE_DISTANCE` is to sources no
    training has seen; it is the one by which LoRAs are compared.
    """
    known, todo = references(source), jobs(project, settings)
    taken = [m.name for m in applying(measures, "training", "held_out", "threshold")]
    tables = {}
    for name, pictures in paths.items():
        rows = [
            _facts(job, path) | of_picture(_seen(job, path, faces, known), measures)
            for job, path, faces in zip(todo, pictures, faces_in(pictures), strict=True)
        ]
        tables[name] = pd.DataFrame(rows, columns=[*FACTS, *taken]).astype(dict.fromkeys(taken, float))
    return tables


def _seen(job: Job, path: Path, faces: list[Face], known: References) -> Seen:
    return Seen(
        open_image(path), faces, known.training, known.held_out, known.training.threshold(),
        face_expected=known.training.measured and _shows_face(job),
        attributes=job.attributes,
    )  # fmt: skip


def _shows_face(job: Job) -> bool:
    return job.attributes["angle"] in FACE_ANGLES and job.attributes["pose"] == "portrait"


def _facts(job: Job, path: Path) -> dict[str, Any]:
    cell, seed = path.stem.rsplit("_", 1)
    shown = {name: job.attributes.get(name) for name in ("angle", "pose", "expression")}
    return {"cell": cell, "seed": int(seed), **shown, "path": str(path)}


def sheet(paths: Mapping[str, list[Path]], settings: Card) -> Image.Image:
    """Return the first seed of every cell, one row of 23 cut into lines, LoRA above LoRA."""
    pictures: list[Path | Image.Image] = []
    titles: list[str] = []
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


def cell_table(table: pd.DataFrame, measures: Sequence[Measure] = MEASURES) -> pd.DataFrame:
    """Return, for every cell: pictures, and of each measure how many of them, or its median."""
    groups = table.groupby("cell", sort=False)
    rows = groups.agg(pictures=("seed", "count"))
    for m in among(table.columns, measures):
        rows[m.name] = groups[m.name].sum().astype(int) if m.unit == SHARE else groups[m.name].median()
    return rows.round(3)


def summary(tables: Mapping[str, pd.DataFrame], measures: Sequence[Measure] = MEASURES) -> pd.DataFrame:
    """Return one row a LoRA: pictures and every measure; shares are of the views that show a face, others medians.

    ``low`` and ``high`` are the Wilson interval of the share that is recognised.
    """
    rows = []
    for name, table in tables.items():
        views = _views(table)
        shares = sums(views, [m for m in measures if m.unit == SHARE])
        low, high = wilson(int(views[RECOGNISED.name].sum()), int(views[RECOGNISED.name].count()))
        pictures = [Seen(open_image(path)) for path in table["path"]]
        rows.append(
            {"LoRA": name, "pictures": len(table), **sums(table, measures), **shares, "low": low, "high": high,
             **of_set(pictures, measures)}
        )  # fmt: skip
    return pd.DataFrame(rows).set_index("LoRA").round(3)


def success(table: pd.DataFrame) -> list[Criterion]:
    """Return the card's own targets: every cell drawn, and 80 % of first tries right where identity can be measured."""
    views = _views(table)
    first = views[views["seed"] == 0][RECOGNISED.name].dropna()
    rate = float(first.mean()) if len(first) else 0.0
    found = f"{rate:.0%} of {len(first)}" if len(first) else "not measured: fewer than two sources show a face"
    return [
        Criterion("all 23 cells drawn", table["cell"].nunique() == 23, f"{table['cell'].nunique()}"),
        Criterion("80 % of first tries recognised, of the cells that show a face", rate >= 0.8, found),
    ]


def _views(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the portraits in which a face must be seen."""
    return table[table["angle"].isin(FACE_ANGLES) & (table["pose"] == "portrait")]
