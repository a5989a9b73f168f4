"""Step 2.1 without a hand: improved prompts and other seeds are tried, and a person or a stated policy picks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tqdm.auto import tqdm

from flenlib.dataset.records import NOT_MEASURED, Dataset, ImageRecord
from flenlib.draw.editor import Editor
from flenlib.draw.pictures import Job, keep_planned, make, put_record, seed_of
from flenlib.measure.faces import ReferenceSet
from flenlib.measure.identity import KEPT, limit, verdict
from flenlib.measure.measures import FACE_DISTANCE
from flenlib.params import Corrections
from flenlib.project import Project
from flenlib.steps import Hand
from flenlib.wheel.editor.corrections import decisions_on, source_again, source_of
from flenlib.wheel.enrich import look, see
from flenlib.wheel.labels import Policy, Verdict, edit_failed

IMPROVED = (
    "{prompt}. Do not change the face",
    "{prompt}. Keep the same face, hair, skin and age as in the picture",
)
"""What is asked instead when no reviewer wrote a better prompt; tries take them in turn."""


def jobs(
    project: Project,
    source: Dataset,
    enriched: Dataset,
    cases: Sequence[ImageRecord],
    settings: Corrections,
    editor: Editor,
) -> list[tuple[Job, ImageRecord]]:
    """Return the tries, each with the case it is of: a reviewer's prompt or the improved ones in turn, at its own seed.

    They go through the editor's LoRAs; a reviewer's prompt is asked as it was written. Raises Refused, before a model
    is loaded, for one that may not be drawn of this character.
    """
    recipe, decided, planned = editor.recipe(settings), decisions_on(enriched), []
    for record in cases:
        said, edit = decided.get(record.filename), (record.attributes["edit"], record.attributes["edit_value"])
        prompts = [said.prompt] if said and said.prompt else [p.format(prompt=record.prompt) for p in IMPROVED]
        parent = source_of(source, record)
        for number in range(settings.tries):
            name = f"{Path(record.filename).stem}__{number}.png"
            seed, prompt = seed_of(settings.seed, record.filename, number), prompts[number % len(prompts)]
            route = editor.routes.recipe(project.character, *edit, prompt)
            how = recipe | {"passes": route}
            parts = (name, route[0]["prompt"], seed, how, parent, record.attributes, source.path(parent))
            planned.append((Job(*parts), record))
    return planned


def draw(
    project: Project,
    source: Dataset,
    enriched: Dataset,
    cases: Sequence[ImageRecord],
    editor: Editor,
    settings: Corrections,
    reference: ReferenceSet,
    hand: Hand | None = None,
) -> Dataset:
    """Draw the tries into ``corrections/<version>/tries`` and measure them; finished pictures stay.

    The editor's routes are step 1.2's, so that an adopted editor tries again with what it drew with.
    """
    tries = Dataset.open(project.data("corrections") / "tries", create=True)
    planned = jobs(project, source, enriched, cases, settings, editor)
    keep_planned(tries, [job for job, _ in planned])
    for job, case in tqdm(planned, desc="trying again", unit="picture"):
        path = make(project, tries.folder, job, editor)
        record = put_record(tries, job, path, "edit", editor.facts, case.caption, editor.routes.depth)
        record.extra["corrects"] = case.sha256
        record.measurements |= look(see(job, path, reference, limit(case), hand))
        tries.keep(record)
    tries.save()
    return tries


def policy(tries: Dataset) -> Policy:
    """Return the stated policy ``auto``: of each case the try with the nearest face, if it is within its threshold.

    It never picks a try that equals its source (nearer to it than the change floor): that has the nearest face of all,
    and would teach the editor to do nothing.
    """
    best: dict[str, ImageRecord] = {}
    for record in tries.images:
        if verdict(record) != KEPT or edit_failed(record.measurements) or source_again(record):
            continue
        known, found = best.get(record.extra["corrects"]), FACE_DISTANCE.read(record.measurements)
        if known is None or found < FACE_DISTANCE.read(known.measurements):
            best[record.extra["corrects"]] = record

    def decide(record: ImageRecord) -> Verdict:
        if best.get(record.extra["corrects"]) is record:
            found = FACE_DISTANCE.read(record.measurements)
            return "good", (f"the nearest try: face distance {found:.2f} within {limit(record):.2f}",)
        if source_again(record):
            return "reject", ("the source again: nothing was edited",)
        if verdict(record) == NOT_MEASURED:
            return "reject", ("identity not measured: only a person can pick it",)
        return "reject", ("another try is nearer, or none is near enough",)

    return decide
