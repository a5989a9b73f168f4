"""Step 2.1 without a hand: improved prompts and other seeds are tried, and a person or a stated policy picks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm.auto import tqdm

from flenlib.dataset.images import open_image
from flenlib.dataset.records import NOT_MEASURED, Dataset, ImageRecord
from flenlib.measure.faces import ReferenceSet
from flenlib.params import Corrections
from flenlib.project import Project
from flenlib.wheel.corrections import source_of, told
from flenlib.wheel.enrich import edit_done
from flenlib.wheel.identity import FACE_DISTANCE, distance
from flenlib.wheel.labels import Policy, Verdict
from flenlib.wheel.pictures import Job, check_jobs, drawn_by, make, put_record, seed_of

IMPROVED = (
    "{prompt}. Do not change the face",
    "{prompt}. Keep the same face, hair, skin and age as in the picture",
)
"""What is asked instead when no reviewer wrote a better prompt; tries take them in turn."""


def jobs(
    source: Dataset, enriched: Dataset, cases: Sequence[ImageRecord], settings: Corrections, models: dict[str, Any]
) -> list[Job]:
    """Return the tries of every case: a reviewer's prompt, or the improved ones in turn, each at its own seed."""
    recipe = {"steps": settings.steps, "guidance": settings.guidance, "editor": drawn_by(models)}
    decided, planned = told(enriched), []
    for record in cases:
        said = decided.get(record.filename)
        prompts = [said.prompt] if said and said.prompt else [p.format(prompt=record.prompt) for p in IMPROVED]
        for number in range(settings.tries):
            name = f"{Path(record.filename).stem}__{number}.png"
            seed = seed_of(settings.seed, record.filename, number)
            parent = source_of(source, record)
            planned.append(Job(name, prompts[number % len(prompts)], seed, recipe, parent, record.attributes))
    return planned


def draw(
    house: Project,
    source: Dataset,
    enriched: Dataset,
    cases: Sequence[ImageRecord],
    editor: Any,
    settings: Corrections,
    models: dict[str, Any],
    reference: ReferenceSet,
) -> Dataset:
    """Draw the tries into ``corrections/<version>/tries`` and measure them; finished pictures stay."""
    tries = Dataset.open(house.data("corrections") / "tries", create=True)
    planned = check_jobs(house, jobs(source, enriched, cases, settings, models))
    names = {job.filename for job in planned}
    tries.images = [r for r in tries.images if r.filename in names]
    how = {"steps": settings.steps, "guidance": settings.guidance}

    def one(job: Job) -> Image.Image:
        return editor.sample(job.prompt, seed=job.seed, references=(open_image(source.path(job.parent)),), **how)

    for job in tqdm(planned, desc="trying again", unit="picture"):
        path = make(house, tries.folder, job, one, models)
        case = next(r for r in cases if job.filename.startswith(f"{Path(r.filename).stem}__"))
        record = put_record(tries, job, path, "edit", models, case.caption)
        picture = open_image(path)
        found = distance(picture, reference)
        record.extra["corrects"] = case.filename
        record.measurements |= {
            FACE_DISTANCE: NOT_MEASURED if found is None else round(found, 4),
            "threshold": case.measurements["threshold"],
            "edit_done": edit_done(source.path(job.parent), picture, job.attributes),
        }
    tries.save()
    return tries


def policy(tries: Dataset) -> Policy:
    """Return the stated policy ``auto``: of each case the try with the nearest face, if it is within its threshold."""
    best: dict[str, ImageRecord] = {}
    for record in tries.images:
        found = record.measurements[FACE_DISTANCE]
        if found == NOT_MEASURED or found > record.measurements["threshold"] or record.measurements["edit_done"] == 0:
            continue
        known = best.get(record.extra["corrects"])
        if known is None or found < known.measurements[FACE_DISTANCE]:
            best[record.extra["corrects"]] = record

    def decide(record: ImageRecord) -> Verdict:
        found = record.measurements[FACE_DISTANCE]
        if best.get(record.extra["corrects"]) is record:
            return "good", (
                f"the nearest try: face distance {found:.2f} within {record.measurements['threshold']:.2f}",
            )
        return "reject", ("another try is nearer, or none is near enough",)

    return decide
