"""Making pictures one by one so that a killed run goes on without losing or repeating any."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from flenlib import __version__
from flenlib.content import Allowed, allow
from flenlib.content.refusal import refuse
from flenlib.dataset import marks
from flenlib.dataset.images import open_image, read_provenance, save_picture, sha256
from flenlib.dataset.label_folders import SET_ASIDE, forget_copies
from flenlib.dataset.prompts import Prompt
from flenlib.dataset.records import Dataset, ImageRecord
from flenlib.measure.quality import grade
from flenlib.models.registry import ModelFacts
from flenlib.params import Character
from flenlib.project import Project

Recipe = dict[str, Any]
"""What of a job's settings decides its pixels: steps, guidance, the model, an edit's passes."""


@dataclass(frozen=True)
class Job:
    """One picture to make: its file name and all that decides its pixels; ``picture`` is the parent's file."""

    filename: str
    prompt: Allowed
    seed: int
    settings: Recipe
    parent: ImageRecord | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    picture: Path | None = None

    @property
    def key(self) -> str:
        """A hash of all that decides the pixels: the same key means the same picture."""
        parts = (self.prompt, self.seed, self.settings, self.parent.sha256 if self.parent else None)
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


class Sampling(Protocol):
    """The part of a section that says how a picture is sampled."""

    steps: int
    guidance: float


class Drawing(Sampling, Protocol):
    """The part of a section that says how a generator draws a picture."""

    size: int


class Draws(Protocol):
    """Whoever draws the pictures of jobs: a generator or an editor. ``facts`` are what a record keeps of it."""

    facts: ModelFacts

    def draw(self, job: Job) -> Image.Image:
        """Return the picture of a job."""


def finished(path: Path, job: Job) -> bool:
    """Say whether the picture of this very job stands on disk, by the key in its provenance."""
    try:
        return path.is_file() and read_provenance(path).get("job") == job.key
    except ValueError:  # cut short by a crash of the machine: it is drawn again
        return False


def drawn_by(models: ModelFacts) -> dict[str, Any]:
    """Return the part of a model's facts that decides pixels, without folders, so that a moved project stays done."""
    loras = [
        {"file": Path(str(use["file"])).name, "sha256": use["sha256"], "weight": use["weight"]}
        for use in models.get("loras", ())
    ]
    return {name: models.get(name) for name in ("name", "hash", "precision")} | {"loras": loras}


def kept_of(models: ModelFacts) -> dict[str, Any]:
    """Return the part of a model's facts that a picture carries: what decides pixels, and revisions on the hub."""
    found = drawn_by(models)
    for kept, use in zip(found["loras"], models.get("loras", ()), strict=True):
        kept |= {"revision": use["revision"]} if use.get("revision") else {}
    return found | ({"revision": models["revision"]} if models.get("revision") else {})


def make(project: Project, folder: Path, job: Job, model: Draws) -> Path:
    """Return the path of a job's picture, drawing it only when it is neither on disk yet nor among those set aside.

    Raises RuntimeError for a picture that is one colour all over, and Refused once consent is withdrawn.
    """
    path, aside = folder / job.filename, folder / SET_ASIDE / job.filename
    if not finished(path, job) and finished(aside, job):  # the plan is as it was
        forget_copies(folder, job.filename)
        os.replace(aside, path)
    if not finished(path, job):
        project.admit()
        forget_copies(folder, job.filename)
        picture = model.draw(job)
        check_drawn(picture, job.filename)
        save_picture(picture, path, provenance(project, job, model.facts))
    return path


def one_colour(picture: Image.Image, name: str) -> str:
    """Return the sentence on a picture that is one colour all over, under the name it has; "" for any other."""
    found = picture.convert("RGB").getcolors(1)
    return (
        f"{name} was drawn as one colour all over, {found[0][1]}, as by a model whose numbers overflow" if found else ""
    )


def check_drawn(picture: Image.Image, name: str) -> None:
    """Raise RuntimeError for a picture that is one colour all over, before it is kept."""
    if said := one_colour(picture, name):
        raise RuntimeError(f"{said}, and is not kept; take another LoRA or a lower weight, or another precision")


def keep_planned(dataset: Dataset, jobs: Iterable[Job]) -> None:
    """Take out of a dataset what no job makes any more: its records, its copies in the label folders, its pictures.

    Nothing is lost: the pictures go to ``set_aside/``, with copies a person edited, and labels stay in the journal.
    """
    names, aside = {job.filename for job in jobs}, dataset.folder / SET_ASIDE
    for record in (r for r in dataset.images if r.filename not in names):
        aside.mkdir(exist_ok=True)
        forget_copies(dataset.folder, record.filename)
        if dataset.path(record).is_file():
            os.replace(dataset.path(record), aside / record.filename)
    dataset.images = [record for record in dataset.images if record.filename in names]
    dataset.save()


def about(character: Character) -> dict[str, Any]:
    """Return what every picture of a character carries, whoever makes it: of whom it is, their kind and consent."""
    return {
        "software": f"flenwheel {__version__}",
        "character": character.name,
        "character_kind": character.kind,
        "consent": character.consent and character.consent.model_dump(),
    }


def check_person(character: Character, path: Path) -> None:
    """Raise Refused, naming the file, for a picture marked as one of a real person when the character is none.

    A profile of a real person has their consent on record, which this one lacks.
    """
    person = marks.read(path).real_person
    if person and character.kind != "real":
        raise refuse(
            f"refused: {path.name} says that it shows a real person ({person!r}) and the profile of {character.name!r} "
            "is of nobody real: set kind to real with that person's consent, or take the picture out",
            "a real person's picture",
        )


def provenance(project: Project, job: Job, models: ModelFacts) -> dict[str, Any]:
    """Return what a picture carries about itself: who made it, from what, and of whom."""
    return about(project.character) | {
        "made_by": models.get("name", "model"),
        "iteration": project.iteration,
        "prompt": job.prompt,
        "seed": job.seed,
        "settings": job.settings,
        "parent": job.parent.sha256 if job.parent else None,
        "models": kept_of(models),
        "job": job.key,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def put_record(
    dataset: Dataset, job: Job, path: Path, kind: str, models: ModelFacts, caption: str, learnt_depth: int = 0
) -> ImageRecord:
    """Add or replace the record of a finished picture; measurements of the very same picture are kept.

    It is one generation deeper than its parent, and than what the LoRA that drew it learnt from (``learnt_depth``).
    """
    digest = sha256(path)
    known = dataset.find(path.name)
    known = known if known and known.sha256 == digest else None
    record = ImageRecord(
        filename=path.name,
        sha256=digest,
        caption=caption,
        angle=job.attributes.get("angle"),
        expression=job.attributes.get("expression"),
        quality=known.quality if known else grade(open_image(path)),
        kind=kind,
        depth=1 + max(job.parent.depth if job.parent else 0, learnt_depth),
        parent=job.parent.sha256 if job.parent else None,
        prompt=job.prompt,
        seed=job.seed,
        models=kept_of(models),
        measurements=dict(known.measurements) if known else {},
        label=known.label if known else None,
        attributes=job.attributes,
        extra=dict(known.extra) if known else {},
    )
    dataset.put(record)
    return record


def seed_of(base: int, *parts: Any) -> int:
    """Return a seed derived from a base seed and names, the same on every machine."""
    text = "/".join(map(str, (base, *parts)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def prompt_jobs(
    character: Character, prompts: Iterable[Prompt], seeds_per_prompt: int, base_seed: int, settings: Recipe
) -> list[Job]:
    """Return one job for each prompt and seed; names end in the seed's number so that files sort by prompt.

    Raises Refused for a prompt that may not be drawn of this character.
    """
    asked = [(p, allow(character, p.text)) for p in prompts]
    return [
        Job(f"{p.name}_{n}.png", text, seed_of(base_seed, p.name, n), settings, attributes=p.wanted())
        for p, text in asked
        for n in range(seeds_per_prompt)
    ]
