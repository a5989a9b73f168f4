"""Step 1.2: every source picture is edited in a few ways; an identity gate draws edits that drifted again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image
from tqdm.auto import tqdm

from flenlib.dataset import captions, imports
from flenlib.dataset.files import link_or_copy
from flenlib.dataset.images import contact_sheet, open_image
from flenlib.dataset.label_folders import forget_copies
from flenlib.dataset.prompts import FACE_ANGLES, edits_offered, enrichment_plan
from flenlib.dataset.records import NOT_MEASURED, Dataset, ImageRecord
from flenlib.draw.editor import Editor, open_editor
from flenlib.draw.pictures import Job, finished, keep_planned, make, put_record, seed_of
from flenlib.draw.routes import open_routes
from flenlib.measure.face_store import faces_in, keep
from flenlib.measure.faces import ReferenceSet
from flenlib.measure.identity import KEPT, limit, references, verdict
from flenlib.measure.measures import FACE_DISTANCE, FACES_FOUND, MEASURES, SHARPNESS_KEPT, Measure, of_picture, recorded
from flenlib.measure.seen import Seen
from flenlib.measure.statistics import wilson
from flenlib.models import community
from flenlib.params import Captions, Character, Enrich, Iteration, ReviewEnriched
from flenlib.project import Project
from flenlib.steps import Criterion, Facts, Hand
from flenlib.wheel import results
from flenlib.wheel.labels import edit_failed, identity_policy

_TURN = {
    "slightly left": {
        "front": "half-left",
        "half-left": "profile-left",
        "half-right": "front",
        "profile-right": "half-right",
    },
    "slightly right": {
        "front": "half-right",
        "half-right": "profile-right",
        "half-left": "front",
        "profile-left": "half-left",
    },
}
"""What a camera edit makes of a recorded angle; other values leave it as it was."""


@dataclass(frozen=True)
class Enriched:
    """What enrichment came to."""

    dataset: Dataset
    thresholds: dict[str, float]
    criteria: list[Criterion]


QUESTIONS = {"background": "background", "lighting": "light", "style": "style"}
"""Which attribute an edit of a kind is to change; a camera edit changes the angle or the height."""


WANTED, USUAL = 50, 5
"""The edits step 1.2 should come to, and those of one source picture as long as that is enough."""


def edits_a_source(source: Dataset, settings: Enrich) -> int:
    """Return how many edits of each source picture are drawn.

    When the settings leave it open, that is `USUAL`, or more where it takes more to reach `WANTED`, but never more than
    the kinds of edit offer.
    """
    return edits_each(sum(not r.held_out for r in source.images), settings)


def edits_each(sources: int, settings: Enrich) -> int:
    """Return how many edits are drawn of each of so many source pictures, as `edits_a_source` says."""
    enough = max(USUAL, math.ceil(WANTED / max(sources, 1)))
    return settings.edits_per_source or min(edits_offered(tuple(settings.kinds)), enough)


def plan_sentence(source: Dataset, settings: Enrich) -> str:
    """Return how many edits will be drawn, and what to do when they cannot be enough."""
    sources, each = sum(not r.held_out for r in source.images), edits_a_source(source, settings)
    planned = f"{sources} source pictures x {each} edits: {sources * each} to draw"
    if sources * each >= WANTED:
        return planned
    offered = edits_offered(tuple(settings.kinds))
    more = f"raise edits_per_source (up to {offered})" if each < offered else "add kinds of edit"
    return f"{planned}, and the step wants {WANTED}: add source pictures, or {more}"


def plan(project: Project, source: Dataset, settings: Enrich, editor: Editor) -> list[Job]:
    """Return the first-try jobs: `edits_a_source` for every source picture that is not held out.

    Raises Refused, before a model is loaded, for an instruction that may not be drawn of this character.
    """
    jobs, recipe, each = [], editor.recipe(settings), edits_a_source(source, settings)
    for record in (r for r in source.images if not r.held_out):
        stem = record.filename.rsplit(".", 1)[0]
        edits = enrichment_plan(each, seed_of(settings.seed, record.filename), tuple(settings.kinds))
        for kind, value in edits:
            name = f"{stem}__{kind}_{value.replace(' ', '-')}.png"
            shown = after(record, kind, value)
            route = editor.routes.recipe(project.character, kind, value, angle=shown.get("angle", ""))
            seed, options = seed_of(settings.seed, name, 0), recipe | {"passes": route}
            jobs.append(Job(name, route[0]["prompt"], seed, options, record, shown, source.path(record)))
    return sorted(jobs, key=lambda job: str([each["loras"] for each in job.settings["passes"]]))


def enrich(
    project: Project,
    source: Dataset,
    editor: Editor,
    settings: Enrich,
    review: ReviewEnriched,
    hand: Hand | None = None,
    table: Captions = captions.TEMPLATE,
) -> Enriched:
    """Draw the plan with an editor into ``enriched/<version>``, gate by identity, and record lineage.

    An edit is drawn again with another seed, up to ``tries`` in all, until step 1.3's policy, as ``review`` sets it,
    would call it good: its face within its kind's threshold and not lost, the edit done (where ``hand`` can tell), a
    turned head without a face to measure not smeared. The best try is kept: the edit done, then the nearest face, then
    the sharper; the others stay in ``tries/``.
    """
    accept = identity_policy(review)
    for said in community.check_sampling(editor.routes.uses, settings.steps, settings.guidance):
        print(said)
    reference = references(source).training
    thresholds: dict[str, float] = {kind: reference.threshold(settings.slack, kind) for kind in settings.kinds}
    jobs = plan(project, source, settings, editor)
    dataset = Dataset.open(project.data("enriched"), create=True)
    keep_planned(dataset, jobs)
    for job in tqdm(jobs, desc="editing", unit="edit"):
        tries: list[tuple[dict[str, Any], Path, Job]] = []
        for number in range(settings.tries):
            again = replace(job, filename=f"{Path(job.filename).stem}__{number}.png", seed=job.seed + number)
            path = make(project, dataset.folder / "tries", again, editor)
            found = look(see(job, path, reference, thresholds[job.attributes["edit"]], hand))
            tries.append((found, path, again))
            if accept(ImageRecord(job.filename, attributes=job.attributes, measurements=found))[0] == "good":
                break
        found, path, best = min(tries, key=lambda item: _faults(item[0]))
        target = dataset.folder / job.filename
        if not finished(target, best):
            forget_copies(dataset.folder, job.filename)
            link_or_copy(path, target)
        best = replace(best, filename=job.filename)
        caption = caption_of(project.character, job.parent, job.attributes, table)
        record = put_record(dataset, best, target, "edit", editor.facts, caption, editor.routes.depth)
        keep(target, faces_in([path])[0])
        record.measurements |= found | {"tries": len(tries)}
        dataset.keep(record)
    dataset.save()
    editor.free()
    return Enriched(dataset, thresholds, _criteria(dataset, source, settings))


def caption_of(
    character: Character, source: ImageRecord, attributes: Mapping[str, str], table: Captions = captions.TEMPLATE
) -> str:
    """Return the caption of an edit: the source's as a person wrote it, with the change, or what is known put in words.

    What a person wrote beside the vocabulary, such as an outfit, stays: what no caption says is learnt as identity.
    """
    if source.caption == captions.build(character, source, table):
        return captions.build(character, attributes, table)
    attribute = question(attributes)
    return imports.changed(source.caption, attribute, captions.words_of(attribute, attributes.get(attribute, "")))


def identity_table(dataset: Dataset) -> pd.DataFrame:
    """Return, for each kind of edit: pictures, measured, within the threshold, the share with its Wilson interval."""
    rows = []
    for kind in sorted({r.attributes["edit"] for r in dataset.images}):
        records = [r for r in dataset.images if r.attributes["edit"] == kind]
        measured = [r for r in records if verdict(r) != NOT_MEASURED]
        within = [r for r in measured if verdict(r) == KEPT]
        low, high = wilson(len(within), len(measured)) if measured else (float("nan"), float("nan"))
        median = pd.Series([FACE_DISTANCE.read(r.measurements) for r in measured], dtype=float).median()
        rows.append(
            {"kind": kind, "pictures": len(records), "measured": len(measured), "within": len(within),
             "share": len(within) / len(measured) if measured else float("nan"), "low": low, "high": high,
             FACE_DISTANCE.name: median, FACE_DISTANCE.limit: limit(records[0])}
        )  # fmt: skip
    return pd.DataFrame(rows).set_index("kind").round(3)


def see(job: Job, path: Path, reference: ReferenceSet, threshold: float, hand: Hand | None = None) -> Seen:
    """Return the picture of an edit as measures see it: beside its source, whom it must show, and what was asked."""
    source = {**job.parent.attributes, "angle": job.parent.angle or ""}
    (before, found), picture = faces_in([job.picture, path]), open_image(path)
    expected = reference.measured and face_expected(job.parent, job.attributes)
    return Seen(
        picture, found, reference, threshold=threshold, face_expected=expected,
        source=Seen(open_image(job.picture), before, attributes=source), attributes=job.attributes,
        done=edit_done(hand, job.picture, picture, job.attributes),
    )  # fmt: skip


def look(seen: Seen, measures: Sequence[Measure] = MEASURES) -> dict[str, float | str]:
    """Return what step 1.3's policy asks about an edit: every measure of it, the threshold, and if a face must show."""
    found = of_picture(seen, measures) | {FACE_DISTANCE.limit: seen.threshold}
    return recorded(found) | {"face_expected": int(seen.face_expected)}


def _faults(found: dict[str, Any]) -> tuple[bool, float, float]:
    """Return what orders tries, the best first."""
    distance, kept = FACE_DISTANCE.read(found), SHARPNESS_KEPT.read(found)
    return edit_failed(found), math.inf if distance is None else distance, -(kept or 0.0)


def face_expected(source: ImageRecord, attributes: dict[str, str]) -> bool:
    """Say whether an edit must show a face: its source does, it is no style, and its view is one that shows faces.

    From above or below the detector misses many real faces too (see ``benchmarks/mini_studio.py``).
    """
    shown = attributes.get("angle", "front") in FACE_ANGLES and attributes.get("height", "level") == "level"
    return FACES_FOUND.read(source.measurements) == 1 and attributes["edit"] != "style" and shown


def edit_done(hand: Hand | None, source: Path, picture: Image.Image, attributes: Mapping[str, str]) -> bool | None:
    """Say whether an edit shows what was asked for, where a hand can tell; None where only a person can."""
    return hand.done(source, picture, attributes, question(attributes)) if hand else None


def question(attributes: Mapping[str, str]) -> str:
    """Return which attribute an edit was to change."""
    turned = attributes["edit_value"] in _TURN
    return QUESTIONS.get(attributes["edit"]) or ("angle" if turned else "height")


def edit_sheet(source: Dataset, dataset: Dataset) -> Image.Image:
    """Return a contact sheet with one row a source picture: itself, then its edits with their face distances."""
    found = {r.sha256: [(source.path(r), r.filename)] for r in source.images if not r.held_out}
    for r in dataset.images:
        title = f"{r.attributes['edit_value']} {FACE_DISTANCE.shown(r.measurements)}"
        found.get(r.parent, []).append((dataset.path(r), title))
    rows = list(found.values())
    width = max(map(len, rows))
    blank = (Image.new("RGB", (8, 8), "white"), "")
    cells = [cell for row in rows for cell in row + [blank] * (width - len(row))]
    return contact_sheet([picture for picture, _ in cells], [title for _, title in cells], columns=width, cell=112)


def distances_by_kind(dataset: Dataset) -> dict[str, list[float | None]]:
    """Return the face distances of each kind of edit; None where not measured."""
    found: dict[str, list[float | None]] = {}
    for record in dataset.images:
        found.setdefault(record.attributes["edit"], []).append(FACE_DISTANCE.read(record.measurements))
    return found


def _criteria(dataset: Dataset, source: Dataset, settings: Enrich) -> list[Criterion]:
    judged = [r for r in dataset.images if verdict(r) != NOT_MEASURED or r.measurements.get("face_expected")]
    share = sum(verdict(r) == KEPT for r in judged) / len(judged) if judged else 0.0
    found = f"{share:.0%} of {len(judged)}; " if judged else ""
    known = {r.sha256 for r in source.images}
    kinds = {r.attributes["edit"] for r in dataset.images}
    linked = sum(r.parent in known for r in dataset.images)
    return [
        Criterion(f"at least {WANTED} enriched pictures", len(dataset.images) >= WANTED, f"{len(dataset.images)}"),
        Criterion(
            "identity kept in 70 % of the pictures that show a face or should", share >= 0.7,
            f"{found}{len(dataset.images) - len(judged)} not measured",
        ),
        Criterion("every kind of edit present", kinds == set(settings.kinds), ", ".join(sorted(kinds))),
        Criterion("every picture linked to its source", linked == len(dataset.images), f"{linked}"),
    ]  # fmt: skip


def after(record: ImageRecord, kind: str, value: str) -> dict[str, str]:
    """Return the attributes an edited picture should have: the source's, with the one change asked for."""
    known = {"angle": record.angle or "", "expression": record.expression or ""}
    attributes = {**record.attributes, **known, "edit": kind, "edit_value": value}
    if kind == "background":
        attributes["background"] = value
    elif kind == "lighting":
        attributes["light"] = value
    elif kind == "style":
        attributes["style"] = value
    elif value in _TURN:
        attributes["angle"] = _TURN[value].get(attributes["angle"], attributes["angle"])
    else:
        attributes["height"] = {"higher": "high", "lower": "low"}.get(value, "level")
    return {name: word for name, word in attributes.items() if word}


def result(enriched: Enriched, models: Facts) -> results.Enrich:
    """Return what step 1.2 came to; ``models`` are the facts of the editor and its LoRAs."""
    within = identity_table(enriched.dataset)[["measured", "within"]].sum()
    count = len(enriched.dataset.images)
    return results.Enrich(
        sentence=f"{count} edits; {within.within} of {within.measured} measured faces within their threshold",
        criteria=enriched.criteria,
        models=models,
        edits=count,
        thresholds={kind: value for kind, value in enriched.thresholds.items() if not math.isnan(value)},
    )


def run(project: Project, settings: Iteration, hand: Hand | None = None) -> results.Enrich:
    """Do step 1.2: edit every source that is not held out, with the editor and the LoRAs the settings name."""
    source = Dataset.open(project.data("source"))
    print(plan_sentence(source, settings.enrich))
    editor = open_editor(settings.models, open_routes(project, settings.models))
    enriched = enrich(project, source, editor, settings.enrich, settings.review_enriched, hand, settings.captions)
    return result(enriched, editor.facts)
