"""The work an iteration has a GPU, a processor and a person do, counted from its settings before anything is drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from flenlib.dataset.imports import list_pictures
from flenlib.dataset.prompts import PLAIN, model_card
from flenlib.dataset.records import Dataset
from flenlib.models import community, registry
from flenlib.models.community import ADOPTED, ALWAYS, FINISH
from flenlib.params import Iteration, Models, Train, TrainRun
from flenlib.predict.prices import Person
from flenlib.project import Project, from_base
from flenlib.wheel import results
from flenlib.wheel.enrich import edits_each

AGAIN = 0.3
"""Share of edits that drift and are drawn again, and that review sends back: step 1.2's own criterion is 70 % kept."""
SOURCES = 12
"""Source pictures assumed before there are any; 10 to 20 are asked for."""
MEASURING = 0.5
"""Seconds a processor takes to find the faces of a picture of 1024 x 1024 (dlib's HOG and encoding, one core)."""
PREVIEWS, PREVIEW_STEPS = 4, 16
"""Previews drawn at a look of a training, and the sampling steps of each."""
PERSON, PROCESSOR = "a person", "the processor"


@dataclass(frozen=True)
class Draw:
    """One picture drawn: all that decides its seconds and its memory; ``references`` are pictures it is made from."""

    model: str
    precision: str
    offload: str
    side: int
    steps: int
    guidance: float
    references: int = 0
    while_training: bool = False
    """Whether it is a preview: its texts are encoded already, and its memory is counted with the training's."""


@dataclass(frozen=True)
class Learn:
    """One micro-step of a training: all that decides its seconds and its memory."""

    model: str
    precision: str
    offload: str
    references: int
    resolution: tuple[int, ...]
    batch_size: int
    rank: int
    targets: str | tuple[str, ...]
    gradient_checkpointing: bool
    optimizer: str
    adapter: str
    ema: bool


@dataclass(frozen=True)
class By:
    """A stated number of seconds, by a person or the processor."""

    who: str
    seconds: float


@dataclass(frozen=True)
class Work:
    """What a step does how many times; ``made`` is a pattern of the pictures, or the log of the training, it leaves."""

    step: str
    what: str
    count: int
    how: Draw | Learn | By
    made: Path | None = None
    share: int = 1
    """Micro-steps of one row of a training's log."""


def of_iteration(settings: Iteration, project: Project, person: Person) -> list[Work]:
    """Return the work of an iteration, step by step, as far as it can be known now.

    Counts are those of the pictures there are, of the folder to import, or of `SOURCES`. Edits that drift, and are sent
    back, are taken to be `AGAIN` of all. Not counted: loading weights, encoding what is learnt, validation losses.
    """
    steps = [_wheel_1(settings, project, person)]
    if settings.corrections.hand != "off":
        steps.append(_wheel_2(settings, project, person))
    return [work for each in steps for work in each if work.count]


def of_run(run: TrainRun) -> list[Work]:
    """Return the work of one training outside the notebooks."""
    model = registry.resolve(run.model, run.role)
    editor = (run.role or ("editor" if "editor" in model.family.roles else "generator")) == "editor"
    references = model.family.references if editor else 0
    where = Models.model_construct(precision=run.precision, offload=run.offload)
    log = from_base(run.output) / "log.csv"
    learn = _learn(run.model, where, run.train, references)
    drawn = PREVIEWS if not run.prompts else len(run.prompts)
    look = Draw(run.model, run.precision, run.offload, model.resolution, run.preview_steps, run.preview_guidance,
                references, while_training=True)  # fmt: skip
    return [
        Work("train", "micro-steps", run.train.steps * run.train.accumulate, learn, log, run.train.accumulate),
        Work("train", "previews", _looks(run.train) * drawn, look),
    ]


def sources(settings: Iteration, project: Project) -> tuple[int, int, str]:
    """Return the source pictures edits are made of, those held out, and where the numbers come from."""
    folder = project.data("source")
    if (folder / "metadata.json").is_file():
        images = Dataset.open(folder).images
        held = sum(record.held_out for record in images)
        return len(images) - held, held, "pictures of step 1.1"
    raw, held = from_base(settings.curate.folder), settings.curate.held_out
    if settings.curate.folder and raw.is_dir():
        return max(0, len(list_pictures(raw)) - held), held, f"pictures in {settings.curate.folder}"
    return SOURCES - held, held, f"{SOURCES} pictures assumed"


def _wheel_1(settings: Iteration, project: Project, person: Person) -> Iterator[Work]:
    kept, held, _ = sources(settings, project)
    models, outputs, now = settings.models, project.outputs, project.iteration
    edits = kept * edits_each(kept, settings.enrich)
    if settings.curate.folder:
        yield Work(results.CurateSource.notebook, "sources looked at", kept + held, By(PERSON, person.curate))
    step, tries = results.Enrich.notebook, sum(AGAIN**number for number in range(settings.enrich.tries))
    drawn = math.ceil(edits * tries) * _passes(models)
    yield Work(step, "edits, drifted ones again", drawn, _edit(models, settings.enrich.steps, settings.enrich.guidance),
               project.data("enriched") / "tries" / "*.png")  # fmt: skip
    if settings.review_enriched.reviewer == "human":
        yield Work(results.ReviewEnriched.notebook, "edits reviewed", edits, By(PERSON, person.review))
    yield from _training(results.TrainCharacter.notebook, settings.train, models, project.lora(now).parent)
    generate = settings.generate
    pictures = generate.prompts * generate.seeds_per_prompt
    yield Work(results.GenerateSynthetic.notebook, "pictures", pictures,
               _drawn(models, generate.steps, generate.guidance, generate.size),
               project.data("synthetic") / "*.png")  # fmt: skip
    yield Work(results.FilterIdentity.notebook, "faces measured", pictures, By(PROCESSOR, MEASURING))
    if settings.review_synthetic.reviewer == "human":
        yield Work(results.ReviewSynthetic.notebook, "pictures reviewed", pictures, By(PERSON, person.review))
    step, card = results.RetrainAndCompare.notebook, settings.card
    yield from _training(step, settings.retrain, models, project.lora(results.refined(now)).parent)
    cells = len(model_card(project.character.subject, PLAIN)) * card.seeds_per_cell
    yield Work(step, "model cards of three LoRAs", 3 * cells, _drawn(models, card.steps, card.guidance, card.size),
               outputs / "card_*" / "*.png")  # fmt: skip


def _wheel_2(settings: Iteration, project: Project, person: Person) -> Iterator[Work]:
    kept, held, _ = sources(settings, project)
    models, corrections = settings.models, settings.corrections
    cases = math.ceil(AGAIN * kept * edits_each(kept, settings.enrich))
    step, tried = results.CurateCorrections.notebook, {"tries": cases, "person": cases // 2}.get(corrections.hand, 0)
    if corrections.hand == "person":
        yield Work(step, "edits corrected or prompted", cases, By(PERSON, person.correct))
    yield Work(step, "tries", tried * corrections.tries * _passes(models),
               _edit(models, corrections.steps, corrections.guidance),
               project.data("corrections") / "tries" / "*.png")  # fmt: skip
    if corrections.reviewer == "human":
        yield Work(step, "tries reviewed", tried * corrections.tries, By(PERSON, person.review))
    step, train = results.TrainEditor.notebook, settings.train_editor
    references = registry.resolve(models.editor, "editor").family.references
    yield Work(step, "micro-steps", train.steps * train.accumulate,
               _learn(models.editor, models, train, references), project.outputs / "editor_training" / "log.csv",
               train.accumulate)  # fmt: skip
    scored = (1 + math.ceil(train.steps / train.checkpoint_every)) * math.ceil(corrections.held_out_share * cases)
    yield Work(step, "pictures to score checkpoints", scored, _edit(models, train.sampling_steps, train.guidance))
    step, compare = results.CompareEditors.notebook, settings.compare_editors
    editors = 1 + _not_for_speed(models)
    counted = {"use": len(compare.community)}
    editors += sum(counted.get(strategy, 1) for strategy in compare.strategies)
    yield Work(step, f"edits by {editors} editors", editors * (kept + held) * compare.edits_per_source,
               _edit(models, compare.steps, compare.guidance), project.outputs / "editors" / "*" / "*.png")  # fmt: skip


def _training(step: str, train: Train, models: Models, folder: Path) -> Iterator[Work]:
    yield Work(step, "micro-steps", train.steps * train.accumulate, _learn(models.generator, models, train, 0),
               folder / "log.csv", train.accumulate)  # fmt: skip
    guidance = registry.resolve(models.generator, "generator").family.guidance
    preview = replace(_drawn(models, PREVIEW_STEPS, guidance), while_training=True)
    yield Work(step, "previews", _looks(train) * PREVIEWS, preview)


def _looks(train: Train) -> int:
    """Return how often previews are drawn: before the first step, every so many, and at the last."""
    return 1 + math.ceil(train.steps / train.sample_every)


def _learn(model: str, where: Models, train: Train, references: int) -> Learn:
    sizes = train.resolution or [registry.resolve(model).resolution]
    targets = train.targets if isinstance(train.targets, str) else tuple(train.targets)
    return Learn(
        model, where.precision, where.offload, references, tuple(sorted(sizes)), train.batch_size, train.rank, targets,
        train.gradient_checkpointing, train.optimizer, train.adapter, bool(train.ema),
    )  # fmt: skip


def _drawn(models: Models, steps: int, guidance: float, size: int = 0) -> Draw:
    side = size or registry.resolve(models.generator, "generator").resolution
    return Draw(models.generator, models.precision, models.offload, side, steps, guidance)


def _edit(models: Models, steps: int, guidance: float) -> Draw:
    side = registry.resolve(models.editor, "editor").resolution  # of a reference's area, whatever it shows
    return Draw(models.editor, models.precision, models.offload, side, steps, guidance, references=1)


def _kinds(models: Models) -> list[tuple[str, ...]]:
    """Return what each LoRA on the editor is for; what ``adopted`` stands for is not known before."""
    named = [text for text in models.editor_loras if text.strip() != ADOPTED]
    return [community.parse(text, models.editor).kinds for text in named]


def _passes(models: Models) -> int:
    """Return how often the editor runs for one edit."""
    return 1 + (sum(FINISH in kinds for kinds in _kinds(models)) if models.editor_mode == "sequence" else 0)


def _not_for_speed(models: Models) -> int:
    """Return 1 where step 1.2 uses LoRAs that make it another editor than the base, as step 2.3 counts them."""
    return int(ADOPTED in models.editor_loras or any(ALWAYS not in kinds for kinds in _kinds(models)))
