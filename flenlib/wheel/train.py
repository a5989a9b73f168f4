"""Steps 1.4 and 1.8: which pictures a character LoRA learns from, how often each, and the training itself."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import display
from PIL import Image

from flenlib.dataset.folders import check_captions
from flenlib.dataset.images import contact_sheet, open_image
from flenlib.dataset.prompts import caption
from flenlib.dataset.records import Dataset, ImageRecord
from flenlib.draw.generator import Generator
from flenlib.measure import plots
from flenlib.measure.coverage import value_of
from flenlib.models.families.base import Family
from flenlib.params import Train
from flenlib.project import Project
from flenlib.steps.record import Criterion
from flenlib.train.cache import Sample
from flenlib.train.checkpoints import OtherRun
from flenlib.train.loop import Result, train
from flenlib.train.watch import Preview, identity_of


def mixture(
    source: Dataset,
    extra: Sequence[tuple[str, Dataset, Sequence[ImageRecord]]],
    settings: Train,
    real_share: float = 0.5,
) -> list[Sample]:
    """Return the training samples: sources (never held-out ones), repeated to be ``real_share`` of what is drawn.

    ``extra`` are (name, dataset, records) of pictures the kit made. ``source_repeats`` overrides the repeats. Real
    pictures staying in every version is what keeps a self-training loop from drifting.
    Raises ValueError when there is nothing to learn from.
    """
    sources = [r for r in source.images if not r.held_out]
    if not sources:
        raise ValueError(f"{source.folder} holds no picture to train on; run step 1.1 (notebook 11) first")
    others = [(name, dataset, record) for name, dataset, records in extra for record in records]
    needed = real_share / (1 - real_share) * len(others) / len(sources)
    repeats = settings.source_repeats or max(1, math.ceil(needed))
    samples = [_sample(source, r, "source", repeats) for r in sources]
    return samples + [_sample(dataset, record, name) for name, dataset, record in others]


def held_out(source: Dataset) -> list[Sample]:
    """Return the sources kept from training, to measure the loss on."""
    return [_sample(source, r, "held out") for r in source.images if r.held_out]


def _sample(dataset: Dataset, record: ImageRecord, name: str, repeats: int = 1) -> Sample:
    framing = value_of(record, "pose") or ""
    return Sample(dataset.path(record), record.caption, repeats, name=f"{name}/{record.filename}", kind=framing)


def mixture_table(samples: Sequence[Sample]) -> pd.DataFrame:
    """Return, for each dataset: pictures, repeats, and the share of what training draws."""
    frame = pd.DataFrame({"dataset": [s.name.split("/")[0] for s in samples], "repeats": [s.repeats for s in samples]})
    table = frame.groupby("dataset")["repeats"].agg(pictures="count", drawn="sum")
    table["share"] = (table["drawn"] / table["drawn"].sum()).round(3)
    return table


def previews(project: Project, seed: int) -> list[Preview]:
    """Return the pictures drawn at fixed seeds while training, so that checkpoints can be compared by eye."""
    subject = project.character.subject
    texts = (
        caption(subject, angle="front", expression="neutral", background="clean", light="studio", lead="portrait"),
        caption(subject, angle="half-left", expression="smiling", background="forest", light="daylight"),
        caption(subject, angle="front", expression="angry", background="spaceship", light="nighttime"),
        caption(subject, angle="front", pose="standing", background="clean"),
    )
    return [Preview(text, seed + number) for number, text in enumerate(texts)]


def train_character(
    project: Project,
    generator: Generator,
    samples: Sequence[Sample],
    settings: Train,
    version: str,
    on_event: Callable[[str, dict[str, Any]], None] | None = None,
    source: Dataset | None = None,
) -> Result:
    """Train ``char_lora_<version>`` from the base model and return the result; a finished training returns at once.

    Loss and identity are measured while it trains on the held-out pictures of ``source``, when that is given.
    When the folder holds a run on another model, samples or settings it is kept aside as
    ``char_lora_<version>.<number>``. Raises ValueError for a caption that is empty or without the trigger.
    """
    check_captions([(s.image, s.caption) for s in samples], project.character.trigger, "one in metadata.json")
    path = project.lora(version)
    options = {
        "previews": previews(project, settings.seed),
        "on_event": on_event,
        "cache_folder": project.outputs / "cache",
    }
    if source is not None:
        kept = held_out(source)
        options |= {
            "held_out": kept,
            "identity": identity_of([open_image(s.image) for s in kept], [s.name for s in kept]),
        }
    result = train_or_set_aside(generator.family, samples, settings, path.parent, **options)
    if result.lora != path:
        raise RuntimeError(f"training wrote {result.lora}, expected {path}")
    return result


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
    """Shows a training while it runs, in one place, every few seconds; `finish` leaves the whole of it there."""

    def __init__(self, every_seconds: float = 5.0) -> None:
        self.every, self.shown, self.handle = every_seconds, 0.0, None
        self.rows: dict[str, list[dict[str, Any]]] = {"step": [], "watch": []}

    def __call__(self, kind: str, facts: dict[str, Any]) -> None:
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
    """Return what held-out pictures and previews say of a training, where they were looked at before and after."""
    loss, faces = watched.dropna(subset=["validation"]), watched.dropna(subset=["identity"])
    made = []
    if len(loss) > 1:
        first, last = loss["validation"].iloc[0], loss["validation"].iloc[-1]
        said, held = f"{first:.3f} before training, {last:.3f} at the end", bool(last <= first)
        heart = "" if held else ": it learns its pictures by heart; fewer steps, a lower rank or more pictures help"
        made.append(Criterion("the loss on held-out pictures did not rise", held, said + heart))
    if len(faces) > 1:
        first, last = faces.iloc[0], faces.iloc[-1]
        best = faces.loc[faces["identity"].idxmin()]
        said = f"face distance {first['identity']:.3f} before training, {last['identity']:.3f} at the end"
        said += f" ({last['faces']:.0f} faces in {last['previews']:.0f} previews)"
        if best["step"] != last["step"]:
            said += f"; nearest at step {best['step']:.0f}: {best['identity']:.3f}, kept in checkpoints/"
        near = bool(last["identity"] < first["identity"])
        made.append(Criterion("the previews came nearer to the held-out pictures", near, said))
    return made
