"""Step 2.2: the editor's own LoRA from triplets, and which of its checkpoints is best on triplets it never saw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from tqdm.auto import tqdm

from flenlib.content import allow
from flenlib.dataset import triplets
from flenlib.dataset.files import link_or_copy
from flenlib.dataset.images import contact_sheet, open_image, save_picture, sha256
from flenlib.dataset.records import NOT_MEASURED, Dataset
from flenlib.dataset.triplets import Triplet
from flenlib.draw.editor import Editor, open_editor
from flenlib.draw.pictures import about, check_drawn, drawn_by, seed_of
from flenlib.measure.faces import ReferenceSet
from flenlib.measure.identity import references
from flenlib.measure.measures import (
    COLOUR_DIFFERENCE,
    EDIT_DONE,
    FACE_DISTANCE,
    FACE_FOUND,
    MEASURES,
    UNCHANGED,
    Measure,
    among,
    applying,
    of_picture,
)
from flenlib.models import lora, registry
from flenlib.params import Character, Iteration, TrainEditor
from flenlib.project import Project
from flenlib.steps import Criterion, Facts, Hand
from flenlib.train.cache import Sample
from flenlib.train.checkpoints import recorded
from flenlib.train.loop import Result
from flenlib.train.watch import OnEvent
from flenlib.wheel import results
from flenlib.wheel.editor.corrections import see
from flenlib.wheel.train import check_fits, loss_ends, train_with

BASE = 0
"""The step of the base editor in the table of checkpoints."""

NEARNESS = (FACE_DISTANCE, COLOUR_DIFFERENCE)
"""What `nearness` is made of."""


def samples(
    character: Character, folder: Path, pairs: Sequence[Triplet], held_out: bool = False
) -> list[Sample]:  # fmt: skip
    """Return the triplets as samples: the target is learnt, the instruction its caption, the source its reference.

    Held-out triplets are never among those trained on; ``held_out`` returns them instead. Raises Refused for an
    instruction that may not be learnt or drawn of this character.
    """
    made = []
    for pair in pairs:
        if pair.held_out == held_out:
            source, target = pair.paths(folder)
            kind = "good edit" if pair.positive else "correction"
            name = f"{kind}/{pair.iteration}/{target.name}"
            text = allow(character, pair.edit_prompt, f"instruction of {target.name}")
            made.append(Sample(target, text, references=(source,), name=name, kind=pair.kind))
    return made


def train_editor(
    project: Project,
    editor: Editor,
    folder: Path,
    pairs: Sequence[Triplet],
    settings: TrainEditor,
    on_event: OnEvent | None = None,
) -> Result:
    """Train the editor's LoRA into ``outputs/.../editor_training/`` from the base editor; a finished one returns.

    Dropped captions keep their reference picture. Loss is also measured on the held-out triplets. An ``editor`` loaded
    without its transformer lets its text encoders go while it trains.
    """
    check_fits(editor.model, settings)
    learnt, held = (samples(project.character, folder, pairs, held_out=held) for held in (False, True))
    options = {"held_out": held, "on_event": on_event, "admit": project.admit}
    options |= {"cache_folder": project.outputs / "cache"}
    where = project.outputs / "editor_training"
    return train_with(editor, learnt, settings, where, **options)


def checkpoints(result: Result) -> dict[int, Path | None]:
    """Return the LoRA of every checkpoint by its step; step 0 is the base editor without one."""
    folder = result.lora.parent / "checkpoints"
    found = {int(path.parent.name.split("_")[1]): path for path in sorted(folder.glob("step_*/lora.safetensors"))}
    return {BASE: None} | found


def score(
    project: Project,
    editor: Editor,
    result: Result,
    folder: Path,
    pairs: Sequence[Triplet],
    settings: TrainEditor,
    reference: ReferenceSet,
    hand: Hand | None = None,
    measures: Sequence[Measure] = MEASURES,
) -> pd.DataFrame:
    """Draw every held-out triplet with every checkpoint at one seed and return a row for each of these pictures.

    Columns: step, source, target, path, and a column a measure (NaN: not measured). Pictures lie in
    ``editor_training/scored/``.

    Parts of the editor that were freed for training are loaded again when there is something to draw.
    """
    rows, held = [], [(p, allow(project.character, p.edit_prompt, "instruction")) for p in pairs if p.held_out]
    work = [(step, path, *each) for step, path in checkpoints(result).items() for each in held]
    for step, path, pair, text in tqdm(work, desc="scoring checkpoints", unit="picture"):
        source, target = pair.paths(folder)
        drawn = result.lora.parent / "scored" / f"step_{step:06d}_{target.stem}.png"
        if not drawn.is_file():
            project.admit()
            family = editor.family
            if not family.can_encode_text:
                family.reload()
            family.load_transformer()
            wanted = [] if path is None else [(path, 1.0)]
            if [use.file for use in family.loras] != [str(p) for p, _ in wanted]:
                lora.stack(family, wanted)
            seed = seed_of(settings.seed, target.name)
            how: dict[str, Any] = {"steps": settings.sampling_steps, "guidance": settings.guidance}
            picture = family.sample(text, seed=seed, **how, references=(open_image(source),))
            check_drawn(picture, drawn.name)
            models = drawn_by(registry.model_facts(family))
            facts = {"made_by": models["name"], "prompt": text, "seed": seed, "settings": how, "models": models}
            facts |= {"parent": sha256(source), "step": step}
            save_picture(picture, drawn, about(project.character) | facts)
        facts = {"step": step, "source": source.name, "target": target.name, "path": str(drawn)}
        seen = see(pair, source, drawn, reference, hand, target=open_image(target))
        rows.append(facts | of_picture(seen, measures))
    editor.free()
    taken = [m.name for m in applying(measures, "training", "source", "target")]
    table = pd.DataFrame(rows, columns=["step", "source", "target", "path", *taken])
    return table.astype(dict.fromkeys(taken, float))


def by_step(scored: pd.DataFrame, measures: Sequence[Measure] = MEASURES) -> pd.DataFrame:
    """Return the scores of each checkpoint: the mean of each measure over the held-out triplets, how many pictures."""
    groups = scored.groupby("step")
    table = groups[[m.name for m in among(scored.columns, measures)]].mean()
    table["pictures"] = groups["target"].count()
    return table.round(3)


def nearness(table: pd.DataFrame) -> pd.Series:
    """Return what checkpoints are ranked by (lower is better; the base editor's is 1).

    The mean of two distances, each divided by the base editor's: of the face to the character, which must not
    change, and of the colours to the target, which shows whether the edit was made. The face counts where every
    checkpoint shows one. Neither would do alone: the nearest face of all is the source's own, unedited, and colours
    differ by whatever the picture leaves open, such as the trees of a forest.
    """
    names = [m.name for m in NEARNESS if table[m.name].notna().all()]
    return (table[names] / table.loc[BASE, names].clip(lower=1e-6)).mean(axis=1)


def fit(table: pd.DataFrame) -> pd.DataFrame:
    """Return the checkpoints that do as many edits as the base, and hand back no more sources and lose no more faces.

    An edit for which *edit done* is not measured does not count.
    """
    trained, base = table.drop(index=BASE), table.loc[BASE]
    lost = [m.gain(trained[m.name] - base[m.name]) < 0 for m in (UNCHANGED, EDIT_DONE, FACE_FOUND)]
    return trained[~np.any(lost, axis=0)]


def best_step(scored: pd.DataFrame, result: Result) -> int:
    """Return the checkpoint to keep: the nearest of those that are `fit`, and among equals the earliest.

    Where none is fit, the best of all. Without held-out triplets it is the last one.
    """
    table = by_step(scored)
    if len(table) < 2:
        return result.steps
    good = fit(table)
    candidates = good if len(good) else table.drop(index=BASE)
    return int(nearness(table).loc[candidates.index].idxmin())


def evidence(scored: pd.DataFrame) -> str:
    """Return how many held-out triplets of how many sources the choice of a checkpoint stands on."""
    return f"{scored['target'].nunique()} held-out triplets of {scored['source'].nunique()} sources"


def kept_sentence(scored: pd.DataFrame, step: int, path: Path) -> str:
    """Return which checkpoint is kept as which file, and on how much evidence."""
    return f"checkpoint of step {step} is kept as {path.name}, by {evidence(scored)}"


def keep(project: Project, result: Result, step: int) -> Path:
    """Make the checkpoint of a step this iteration's editor LoRA, ``qwen_char_lora_<iteration>``, and return it.

    Raises ValueError for a checkpoint that is not as it was written.
    """
    found = checkpoints(result)[step] or result.lora
    if recorded(found) not in ("", sha256(found)):
        raise ValueError(
            f"{found} is damaged: its sha256 is not the recorded one; delete {result.lora.parent} to train again"
        )
    link_or_copy(found, project.editor_lora)
    return project.editor_lora


def sheet(folder: Path, pairs: Sequence[Triplet], scored: pd.DataFrame) -> Image.Image:
    """Return one row a held-out triplet: source, the checkpoints from the base editor on, and the target."""
    cells = []
    for pair in (p for p in pairs if p.held_out):
        source, target = pair.paths(folder)
        mine = scored[scored["target"] == target.name].sort_values("step")
        cells += [(source, f"source: {pair.kind} {pair.value}")]
        cells += [
            (path, f"step {step}" if step else "base") for path, step in zip(mine["path"], mine["step"], strict=True)
        ]
        cells += [(target, "target")]
    columns = 2 + scored["step"].nunique()
    return contact_sheet([picture for picture, _ in cells], [title for _, title in cells], columns=columns, cell=96)


def criteria(result: Result, settings: TrainEditor, scored: pd.DataFrame, path: Path) -> list[Criterion]:
    """Return step 2.2's success criteria: it finished, the loss fell, nearer to held-out targets, saved."""
    first, last = loss_ends(result.log)
    table = by_step(scored)
    nearer, found = False, "not measured: no triplet was held out"
    if len(table) > 1:
        step = best_step(scored, result)
        ends = [f"{m.words} {_shown(table, step, m)} against {_shown(table, BASE, m)}" for m in NEARNESS]
        nearer = step in fit(table).index and bool(nearness(table)[step] < 1)
        found = f"{', '.join(ends)} of the base editor on {evidence(scored)}"
    size = path.stat().st_size / 2**20 if path.is_file() else 0.0
    return [
        Criterion(f"{settings.steps} steps done", result.steps >= settings.steps, f"{result.steps}"),
        Criterion("the loss fell", last < first, f"{first:.3f} at the start, {last:.3f} at the end"),
        Criterion("better on the held-out triplets than the base editor", nearer, found),
        Criterion("the LoRA is saved", size > 0, f"{path.name}, {size:.1f} MiB"),
    ]


def _shown(table: pd.DataFrame, step: int, measure: Measure) -> str:
    value = table.loc[step, measure.name]
    return NOT_MEASURED if np.isnan(value) else f"{value:.3f}"


def read_triplets(project: Project) -> list[Triplet]:
    """Return the triplets step 2.1 wrote, checked. Raises ValueError naming what is wrong with one."""
    folder = project.data("corrections")
    pairs = triplets.read(folder, project.places)
    triplets.check(folder, pairs, minimum=1)
    return pairs


def result(
    trained: Result, pairs: Sequence[Triplet], scored: pd.DataFrame, best: int, path: Path, settings: TrainEditor,
    models: Facts,
) -> results.TrainEditor:  # fmt: skip
    """Return what step 2.2 came to: ``best`` is the checkpoint kept as ``path``, ``models`` the editor's facts."""
    learnt = sum(not pair.held_out for pair in pairs)
    return results.TrainEditor(
        sentence=f"{trained.steps} steps on {learnt} triplets; checkpoint {best} is kept, by {evidence(scored)}",
        criteria=criteria(trained, settings, scored, path),
        models=models,
        lora=path,
        checkpoint=best,
        scores=by_step(scored),
    )


def run(project: Project, settings: Iteration, hand: Hand | None = None) -> results.TrainEditor:
    """Do step 2.2: train the editor's LoRA on the triplets and keep the checkpoint that is best on held-out ones."""
    folder, pairs, wanted = project.data("corrections"), read_triplets(project), settings.train_editor
    editor = open_editor(settings.models, transformer=False)  # it comes once the text encoders are gone
    trained = train_editor(project, editor, folder, pairs, wanted)
    reference = references(Dataset.open(project.data("source"))).training
    scored = score(project, editor, trained, folder, pairs, wanted, reference, hand)
    best = best_step(scored, trained)
    return result(trained, pairs, scored, best, keep(project, trained, best), wanted, editor.facts)
