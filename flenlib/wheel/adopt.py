"""Step 2.3: the base editor, community LoRAs and our own on the same pictures, prompts and seeds; one is adopted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image
from tqdm.auto import tqdm

from flenlib.dataset.images import contact_sheet, open_image
from flenlib.dataset.prompts import edit_prompt, enrichment_plan
from flenlib.dataset.records import NOT_MEASURED, Dataset, ImageRecord
from flenlib.dataset.triplets import Triplet
from flenlib.measure import quality
from flenlib.measure.faces import Face, ReferenceSet, find_faces
from flenlib.measure.statistics import FEWEST_PAIRS, Interval, cluster_bootstrap, verdict, wilson
from flenlib.models import community, lora
from flenlib.params import CompareEditors, Models, Review
from flenlib.project import Project
from flenlib.record import Criterion
from flenlib.wheel import routes
from flenlib.wheel.enrich import after, edit_done, face_expected
from flenlib.wheel.identity import FACE_DISTANCE
from flenlib.wheel.labels import identity_policy
from flenlib.wheel.pictures import Job, check_jobs, drawn_by, make, seed_of
from flenlib.wheel.routes import Routes

BASE = "base"
BLURRED = 0.5
"""An edit has an artefact when its face is less than half as sharp as its source's (variance of the Laplacian)."""


@dataclass(frozen=True)
class Choice:
    """Which editor is adopted, and the sentence that says why."""

    name: str
    sentence: str


def candidates(house: Project, models: Models, settings: CompareEditors) -> dict[str, Routes]:
    """Return the editors to compare by name: base, and what the strategies say.

    ``use``: each community LoRA by itself; ``combine``: all of them; ``train``: our own; ``hybrid``: ours with them.
    Raises FileNotFoundError when our own is asked for and not trained, ValueError for a strategy that needs LoRAs and
    has none.
    """
    published = [community.parse(text, models.editor) for text in settings.community]
    found = {BASE: Routes()}
    own = (
        community.parse(f"{house.editor_lora}:{settings.weight}")
        if {"train", "hybrid"} & {*settings.strategies}
        else None
    )
    for strategy in settings.strategies:
        if strategy != "train" and not published:
            raise ValueError(f"compare_editors.strategies has {strategy!r}: name LoRAs in compare_editors.community")
        if strategy == "use":
            found |= {_short(use.text): Routes([use], settings.mode) for use in published}
        elif strategy == "combine":
            found["combined"] = Routes(published, settings.mode)
        elif strategy == "train":
            found["ours"] = Routes([own])
        else:
            found["hybrid"] = Routes([*published, own], settings.mode)
    return found


def plan(
    house: Project, source: Dataset, pairs: Sequence[Triplet], settings: CompareEditors, models: dict[str, Any]
) -> list[Job]:
    """Return the edits every editor draws: of all sources, held-out ones too, none that a LoRA was trained on."""
    recipe = {"steps": settings.steps, "guidance": settings.guidance, "editor": drawn_by({**models, "loras": []})}
    folder = house.data("corrections")
    learned = {(p.paths(folder)[0].name, p.kind, p.value) for p in pairs if not p.held_out}
    jobs = []
    for record in source.images:
        every = enrichment_plan(
            15 if len(settings.kinds) == 4 else 3, seed_of(settings.seed, record.filename), tuple(settings.kinds)
        )
        fresh = [edit for edit in every if (record.filename, *edit) not in learned]
        for kind, value in fresh[: settings.edits_per_source]:
            name = f"{Path(record.filename).stem}__{kind}_{value.replace(' ', '-')}.png"
            told = recipe | {"passes": []}
            jobs.append(
                Job(
                    name,
                    edit_prompt(kind, value),
                    seed_of(settings.seed, name),
                    told,
                    record,
                    after(record, kind, value),
                )
            )
    return jobs


def draw(
    house: Project, source: Dataset, editor: Any, found: Mapping[str, Routes], jobs: Sequence[Job],
    settings: CompareEditors, models: dict[str, Any],
) -> dict[str, list[Path]]:  # fmt: skip
    """Draw every job with every editor into ``outputs/.../editors/<name>/``; finished pictures stay."""
    drawn: dict[str, list[Path]] = {}
    check_jobs(house, jobs)
    for name, way in found.items():
        if editor.loras:
            lora.unstack(editor)
        facts = models | {"loras": way.facts()}

        def one(job: Job, way: Routes = way) -> Image.Image:
            kind, value = job.attributes["edit"], job.attributes["edit_value"]
            told = {"seed": job.seed, "steps": settings.steps, "guidance": settings.guidance}
            return way.draw(editor, kind, value, open_image(source.path(job.parent)), **told)

        folder, todo = house.outputs / "editors" / name, []
        for job in jobs:
            route = way.recipe(job.attributes["edit"], job.attributes["edit_value"])
            todo.append(
                Job(
                    job.filename,
                    route[0]["prompt"],
                    job.seed,
                    {**job.settings, "passes": route},
                    job.parent,
                    job.attributes,
                )
            )
        drawn[name] = [make(house, folder, job, one, facts) for job in tqdm(todo, desc=f"editing: {name}", unit="edit")]
    return drawn


def measure(
    source: Dataset, jobs: Sequence[Job], paths: Sequence[Path], reference: ReferenceSet, slack: float
) -> pd.DataFrame:
    """Return a row an edit: face distance, whether identity is kept, the edit done, an artefact seen, and accepted.

    Accepted is what the stated policy of step 1.3 would label good. NaN is *not measured*.
    """
    accept = identity_policy(Review())
    rows, sharp = [], {r.filename: _face_sharpness(open_image(source.path(r))) for r in source.images}
    for job, path in zip(jobs, paths, strict=True):
        kind, original = job.attributes["edit"], source.path(job.parent)
        picture = open_image(path)
        faces = find_faces(picture)
        found, limit = reference.distance(faces), reference.threshold(slack, kind)
        expected, done = face_expected(job.parent, job.attributes), edit_done(original, picture, job.attributes)
        now, then = _face_sharpness(picture, faces), sharp[job.parent.filename]
        blurred = None if now is None or then is None or kind == "style" else float(now < BLURRED * then)
        judged = ImageRecord(path.name, attributes=job.attributes, measurements={
            FACE_DISTANCE: NOT_MEASURED if found is None else found, "threshold": limit,
            "face_expected": int(expected), "edit_done": done,
        })  # fmt: skip
        kept = found <= limit if found is not None else False if expected else None
        rows.append(
            {"source": job.parent.filename, "kind": kind, "value": job.attributes["edit_value"], "path": str(path),
             "held out": job.parent.held_out, "face distance": found, "identity kept": kept,
             "edit done": None if done == NOT_MEASURED else done, "artefact": blurred,
             "accepted": float(accept(judged)[0] == "good")}
        )  # fmt: skip
    table = pd.DataFrame(rows)
    return table.astype(
        {name: float for name in ("face distance", "identity kept", "edit done", "artefact", "accepted")}
    )


def summary(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return one row an editor: shares with how many they stand on, and accepted with its 95 % Wilson interval."""
    rows = []
    for name, table in tables.items():
        good, count = int(table["accepted"].sum()), len(table)
        low, high = wilson(good, count)
        rows.append(
            {"editor": name, "edits": count, "median face distance": table["face distance"].median(),
             "identity kept": table["identity kept"].mean(), "edit done": table["edit done"].mean(),
             "artefacts": table["artefact"].mean(), "accepted": good / count, "low": low, "high": high}
        )  # fmt: skip
    return pd.DataFrame(rows).set_index("editor").round(3)


def intervals(tables: Mapping[str, pd.DataFrame], name: str, seed: int = 0) -> dict[str, Interval]:
    """Return the paired differences of an editor to the base editor, resampled by source picture (95 %)."""
    base, other = tables[BASE], tables[name]
    columns = {"accepted (share)": "accepted", "edit done (share)": "edit done", "face distance": "face distance"}
    return {
        label: cluster_bootstrap(list(base[column]), list(other[column]), list(base["source"]), seed)
        for label, column in columns.items()
    }


def intervals_table(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the paired differences of every editor to the base editor as a table."""
    rows = [
        {"editor": name, "measure": label, "difference": i.mean_difference, "low": i.low, "high": i.high,
         "sources": i.n}
        for name in tables if name != BASE
        for label, i in intervals(tables, name).items()
    ]  # fmt: skip
    columns = ["editor", "measure", "difference", "low", "high", "sources"]
    return pd.DataFrame(rows, columns=columns).set_index(["editor", "measure"]).round(4)


def choose(tables: Mapping[str, pd.DataFrame], settings: CompareEditors) -> Choice:
    """Return the editor to adopt and why.

    ``auto``: the one of which most edits would be accepted, if that is more than of the base editor's and its identity
    is not shown to be worse; otherwise the base editor. Whether the difference is beyond chance is said either way.
    Raises ValueError when the settings name an editor that was not compared.
    """
    if settings.adopt != "auto":
        if settings.adopt not in tables:
            raise ValueError(f"compare_editors.adopt is {settings.adopt!r}; compared were {', '.join(tables)}")
        return Choice(settings.adopt, f"{settings.adopt} is adopted because the settings say so")
    shares = {name: float(table["accepted"].mean()) for name, table in tables.items()}
    fit = [name for name in tables if name != BASE and shares[name] > shares[BASE] and not _worse(tables, name)]
    if not fit:
        return Choice(
            BASE, f"the base editor stays: of no other would more edits be accepted ({shares[BASE]:.0%} of its)"
        )
    best = max(fit, key=lambda name: shares[name])
    shown = verdict(intervals(tables, best)["accepted (share)"], lower_is_better=False, names=(BASE, best))
    sentence = f"{best} is adopted: {shares[best]:.0%} of its edits would be accepted, {shares[BASE]:.0%} of the base"
    return Choice(best, f"{sentence} editor's; {shown}")


def adopt(house: Project, choice: Choice, found: Mapping[str, Routes]) -> Path:
    """Write the choice where step 1.2 of the next iteration reads it (``models.editor_loras: [adopted]``)."""
    way = found[choice.name]
    return routes.adopt(house, choice.name, way.uses, way.mode, choice.sentence)


def sheet(source: Dataset, jobs: Sequence[Job], drawn: Mapping[str, Sequence[Path]], rows: int = 12) -> Image.Image:
    """Return one row an edit: the source, then every editor's picture of it."""
    cells = []
    for number, job in enumerate(jobs[:rows]):
        asked = f"{job.attributes['edit']} {job.attributes['edit_value']}"
        cells.append((source.path(job.parent), f"source: {asked}"))
        cells += [(paths[number], name) for name, paths in drawn.items()]
    columns = (1 + len(drawn)) * (2 if len(drawn) < 3 else 1)
    return contact_sheet([picture for picture, _ in cells], [title for _, title in cells], columns=columns, cell=112)


def criteria(tables: Mapping[str, pd.DataFrame], choice: Choice) -> list[Criterion]:
    """Return step 2.3's success criteria of the adopted editor against the base editor."""
    told = tables[choice.name]
    share, base = float(told["accepted"].mean()), float(tables[BASE]["accepted"].mean())
    made = [
        Criterion(
            "more edits would be accepted than of the base editor", share > base, f"{share:.0%} against {base:.0%}"
        ),
        Criterion(
            "identity is not shown to be worse", choice.name == BASE or not _worse(tables, choice.name), choice.name
        ),
    ]
    done = told["edit done"].dropna()
    found = f"{done.mean():.0%} of {len(done)}" if len(done) else "not measured: of a photograph only a person can say"
    return [*made, Criterion("edits done in 70 %", bool(len(done)) and float(done.mean()) >= 0.7, found)]


def _worse(tables: Mapping[str, pd.DataFrame], name: str) -> bool:
    faces = intervals(tables, name)["face distance"]
    return faces.n >= FEWEST_PAIRS and faces.low > 0


def _face_sharpness(picture: Image.Image, faces: Sequence[Face] | None = None) -> float | None:
    """Return how sharp the largest face of a picture is, None where there is none."""
    faces = find_faces(picture) if faces is None else faces
    return quality.sharpness(picture, faces[0].box) if faces else None


def _short(text: str) -> str:
    body = text.partition("=")[0].split(":")[0]
    return Path(body).stem.replace(" ", "-")
