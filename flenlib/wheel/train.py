"""Steps 1.4 and 1.8: training a character LoRA, and showing how it goes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import display
from PIL import Image

from flenlib.content import allow
from flenlib.dataset.folders import check_captions
from flenlib.dataset.images import contact_sheet
from flenlib.dataset.prompts import caption
from flenlib.dataset.records import Dataset
from flenlib.draw.editor import Editor
from flenlib.draw.generator import Generator, open_generator
from flenlib.draw.load import Waiting
from flenlib.measure import plots
from flenlib.measure.face_store import faces_in
from flenlib.measure.faces import ReferenceSet
from flenlib.measure.measures import FACE_FOUND, HELD_OUT_FACE_DISTANCE, VALIDATION_LOSS, Measure
from flenlib.models.families.base import Family
from flenlib.models.tokens import tokens_of
from flenlib.params import Iteration, Train
from flenlib.project import Project
from flenlib.steps import Criterion, Facts, check_lint
from flenlib.train import planning
from flenlib.train.cache import Sample
from flenlib.train.checkpoints import OtherRun, Row
from flenlib.train.loop import Result, finished, train
from flenlib.train.watch import OnEvent, Preview
from flenlib.wheel import guards, results
from flenlib.wheel.guards import TrainingSet
from flenlib.wheel.mixture import held_out


def previews(project: Project, seed: int) -> list[Preview]:
    """Return the pictures drawn at fixed seeds while training, so that checkpoints can be compared by eye."""
    subject = project.character.subject
    texts = (
        caption(subject, angle="front", expression="neutral", background="clean", light="studio", lead="portrait"),
        caption(subject, angle="half-left", expression="smiling", background="forest", light="daylight"),
        caption(subject, angle="front", expression="angry", background="spaceship", light="nighttime"),
        caption(subject, angle="front", pose="standing", background="clean"),
    )
    allowed = [allow(project.character, text) for text in texts]
    return [Preview(text, seed + number, project.character) for number, text in enumerate(allowed)]


def train_character(
    project: Project,
    generator: Generator,
    samples: Sequence[Sample],
    settings: Train,
    version: str,
    on_event: OnEvent | None = None,
    source: Dataset | None = None,
) -> Result:
    """Train ``char_lora_<version>`` from the base model and return the result; a finished training returns at once.

    Every measure is taken while it trains, against the held-out pictures of ``source``, when that is given.
    When the folder holds a run on another model, samples or settings it is kept aside as
    ``char_lora_<version>.<number>``. Raises ValueError for a caption that is empty or without the trigger.
    """
    check_captions([(s.image, s.caption) for s in samples], project.character.trigger, "one in metadata.json")
    check_fits(generator.model, settings, references=0)
    path = project.lora(version)
    options = {
        "previews": previews(project, settings.seed),
        "on_event": on_event,
        "admit": project.admit,
        "cache_folder": project.outputs / "cache",
    }
    if source is not None:
        kept = held_out(project.character, source)
        options |= {
            "held_out": kept,
            "faces": ReferenceSet.if_any(faces_in([s.image for s in kept]), [s.name for s in kept]),
        }
    result = train_with(generator, samples, settings, path.parent, **options)
    generator.free()
    if result.lora != path:
        raise RuntimeError(f"training wrote {result.lora}, expected {path}")
    return result


def check_fits(model: Waiting, settings: Train, references: int | None = None) -> None:
    """Raise RuntimeError, with the nearest settings that fit, for a model that cannot be trained here; loads nothing.

    ``references`` are the pictures a sample is edited from: 0 for a generator, the family's own number when not given.
    """
    planning.expected(model.model.source, model.precision, model.offload, settings, model.device, references)


def train_with(
    model: Generator | Editor, samples: Sequence[Sample], settings: Train, folder: Path, **options: Any
) -> Result:
    """Train as `train_or_set_aside` does; a training that is done returns without loading the model."""
    done = finished(model.model.model.family, model.facts, samples, settings, folder)
    return done or train_or_set_aside(model.family, samples, settings, folder, **options)


def train_or_set_aside(
    family: Family, samples: Sequence[Sample], settings: Train, folder: Path, **options: Any
) -> Result:
    """Train into a folder as `flenlib.train.loop.train` does; a run on another model, samples or settings is set aside.

    It is renamed to ``<folder>.<number>``, so nothing trained is lost. A family whose text encoders an interrupted
    call let go is loaded again.
    """
    _ready(family)
    try:
        return train(family, list(samples), settings, folder, **options)
    except OtherRun as changed:
        number = 1 + len(list(folder.parent.glob(f"{folder.name}.*")))
        aside = folder.rename(folder.with_name(f"{folder.name}.{number}"))
        print(f"{changed}; that run is kept in {aside} and training starts anew")
        _ready(family)
        return train(family, list(samples), settings, folder, **options)


def _ready(family: Family) -> None:
    if not family.can_encode_text:
        family.reload(transformer=False)


class LivePlot:
    """Shows a training while it runs, in one place, every few seconds; `finish` shows the whole of it."""

    def __init__(self, every_seconds: float = 5.0) -> None:
        self.every, self.shown, self.handle = every_seconds, 0.0, None
        self.rows: dict[str, list[Row]] = {"step": [], "watch": []}

    def __call__(self, kind: str, facts: Row) -> None:
        """Take one event of the training loop."""
        if kind not in self.rows:
            return
        self.rows[kind].append(facts)
        if self.rows["step"] and time.monotonic() - self.shown >= self.every:
            self.shown = time.monotonic()
            self._show(pd.DataFrame(self.rows["step"]), pd.DataFrame(self.rows["watch"]))

    def finish(self, result: Result) -> None:
        """Show the whole of a training, also of one that was done already."""
        self._show(result.log, result.watched)

    def _show(self, log: pd.DataFrame, watched: pd.DataFrame) -> None:
        figure = plots.loss_curves(log, watched)
        if self.handle is None:
            self.handle = display(figure, display_id=True)
        else:
            self.handle.update(figure)


def preview_sheet(result: Result) -> Image.Image:
    """Return the previews of a training: one row a prompt, the checkpoints from left to right."""
    pictures = sorted((result.lora.parent / "samples").glob("step_*.png"))
    steps = sorted({path.stem.split("_")[1] for path in pictures})
    rows: dict[str, list[Path]] = {}
    for path in pictures:
        rows.setdefault(path.stem.split("_")[2], []).append(path)
    ordered = [path for number in sorted(rows) for path in rows[number]]
    titles = [f"step {int(path.stem.split('_')[1])}" for path in ordered]
    return contact_sheet(ordered, titles, columns=len(steps))


def loss_ends(log: pd.DataFrame, share: float = 0.2) -> tuple[float, float]:
    """Return the mean loss over the first and over the last fifth of a training."""
    count = max(1, int(len(log) * share))
    return float(log["loss"].head(count).mean()), float(log["loss"].tail(count).mean())


def criteria(result: Result, settings: Train) -> list[Criterion]:
    """Return step 1.4's success criteria: it finished, the loss fell, the LoRA stands, and what was watched agrees."""
    first, last = loss_ends(result.log)
    size = result.lora.stat().st_size / 2**20 if result.lora.is_file() else 0.0
    return [
        Criterion(
            f"{settings.steps} steps done", result.steps >= settings.steps, f"{result.steps} in {result.seconds:.0f} s"
        ),
        Criterion("the loss fell", last < first, f"{first:.3f} at the start, {last:.3f} at the end"),
        Criterion("the LoRA is saved", size > 0, f"{result.lora.name}, {size:.1f} MiB"),
        *_watched(result.watched),
    ]


def _watched(watched: pd.DataFrame) -> list[Criterion]:
    """Return the criteria on held-out pictures and previews, where they were measured at the start and at the end."""
    loss, faces = (_measured(watched, m) for m in (VALIDATION_LOSS, HELD_OUT_FACE_DISTANCE))
    made = []
    if len(loss) > 1:
        first, last = loss[VALIDATION_LOSS.name].iloc[0], loss[VALIDATION_LOSS.name].iloc[-1]
        said, held = f"{first:.3f} before training, {last:.3f} at the end", bool(last <= first)
        heart = "" if held else ": it learns its pictures by heart; fewer steps, a lower rank or more pictures help"
        made.append(Criterion("the loss on held-out pictures did not rise", held, said + heart))
    if len(faces) > 1:
        measure, first, last = HELD_OUT_FACE_DISTANCE, faces.iloc[0], faces.iloc[-1]
        name, shown = measure.name, last[FACE_FOUND.name] * last["previews"]
        best = faces.loc[measure.gain(faces[name]).idxmax()]
        said = f"{measure.words} {first[name]:.3f} before training, {last[name]:.3f} at the end"
        said += f" ({shown:.0f} faces in {last['previews']:.0f} previews)"
        if best["step"] != last["step"]:
            said += f"; nearest at step {best['step']:.0f}: {best[name]:.3f}, kept in checkpoints/"
        near = bool(measure.gain(last[name] - first[name]) > 0)
        made.append(Criterion("the previews came nearer to the held-out pictures", near, said))
    return made


def _measured(watched: pd.DataFrame, measure: Measure) -> pd.DataFrame:
    """Return the rows in which a measure was taken; none where it never was."""
    return watched.dropna(subset=[measure.name]) if measure.name in watched else watched[:0]


def result(trained: Result, learned: TrainingSet, settings: Train, models: Facts) -> results.TrainCharacter:
    """Return what step 1.4 came to; ``models`` are the facts of the generator the LoRA is for."""
    first, last = loss_ends(trained.log)
    return results.TrainCharacter(
        sentence=f"{trained.steps} steps; loss {first:.3f} at the start, {last:.3f} at the end",
        criteria=(*criteria(trained, settings), *learned.criteria),
        models=models,
        lora=trained.lora,
        loss=(first, last),
        depth=learned.depth,
    )


def run(project: Project, settings: Iteration, learned: TrainingSet | None = None) -> results.TrainCharacter:
    """Do step 1.4: train the character LoRA on sources, good edits and inherited pictures, or on ``learned``."""
    source = Dataset.open(project.data("source"))
    if learned is None:
        enriched = Dataset.open(project.data("enriched"))
        table, tokens = settings.captions, tokens_of(settings.models.generator)
        given = (settings.train, settings.guards)
        learned = guards.training_set(project, source, enriched, *given, table=table, tokens=tokens)
    check_lint(learned.findings, settings.anyway)
    generator = open_generator(settings.models, transformer=False)  # it comes once the text encoders are gone
    trained = train_character(project, generator, learned.samples, settings.train, project.iteration, source=source)
    return result(trained, learned, settings.train, generator.facts)
