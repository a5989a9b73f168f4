"""Step 2.1: edits that review sent back become (source, instruction, corrected picture), by hand or by trying again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from PIL import Image

from flenlib.dataset import triplets
from flenlib.dataset.files import link_or_copy
from flenlib.dataset.images import open_image, save_picture
from flenlib.dataset.journal import Decision, in_force
from flenlib.dataset.places import inside
from flenlib.dataset.prompts import edit_prompt
from flenlib.dataset.records import Dataset, ImageRecord
from flenlib.dataset.triplets import Triplet
from flenlib.draw.pictures import about
from flenlib.measure.face_store import faces_in
from flenlib.measure.faces import ReferenceSet
from flenlib.measure.measures import COLOUR_CHANGE, FACE_DISTANCE, MEASURES, Measure, of_picture, recorded
from flenlib.measure.quality import CHANGE_FLOOR
from flenlib.measure.seen import Seen
from flenlib.params import Corrections
from flenlib.project import Project
from flenlib.steps import Hand
from flenlib.wheel.enrich import edit_done, question
from flenlib.wheel.labels import PEOPLE, PendingReview, open_journal


def sent_back(enriched: Dataset, settings: Corrections) -> list[ImageRecord]:
    """Return the edits that are to be corrected."""
    return [record for label in settings.labels for record in enriched.labelled(label)]


def decisions_on(enriched: Dataset) -> dict[str, Decision]:
    """Return the reviewers' decision on each edit: the issue, a better prompt, a corrected picture."""
    return in_force(open_journal(enriched), enriched)


def sent_back_table(enriched: Dataset, settings: Corrections) -> pd.DataFrame:
    """Return, for each kind of edit, how many were drawn and how many are to be corrected."""
    back = sent_back(enriched, settings)
    rows = []
    for kind in sorted({r.attributes["edit"] for r in enriched.images}):
        drawn = [r for r in enriched.images if r.attributes["edit"] == kind]
        mine = [r for r in back if r.attributes["edit"] == kind]
        why = sorted({"; ".join(r.label["reasons"])[:60] for r in mine})
        rows.append({"edit": kind, "drawn": len(drawn), "sent back": len(mine), "such as": why[0] if why else ""})
    return pd.DataFrame(rows).set_index("edit")


def by_hand(
    project: Project, source: Dataset, enriched: Dataset, settings: Corrections, hand: Hand | None = None
) -> list[Triplet]:
    """Return a triplet for each edit that was corrected: by a person, else by the ``hand`` that the settings name.

    Raises ValueError for a source that hand does not know, and naming an edit whose source was deleted.
    """
    if settings.hand not in ("person", "tries", "off") and hand is None:
        raise ValueError(f"corrections.hand is {settings.hand!r} and nobody of that name is here; set it to 'person'")
    dataset, decided = _targets(project), decisions_on(enriched)
    made = []
    for record in sent_back(enriched, settings):
        said = decided.get(record.filename)
        target = dataset.folder / f"{Path(record.filename).stem}.png"
        parent = source_of(source, record)
        if said and said.corrected:
            link_or_copy(_given(project, enriched, said), target)
            who, how = "person", said.note or "corrected by hand"
        elif hand and settings.hand == hand.name:
            project.admit()
            picture = hand.correct(source.path(parent), record.attributes, open_image(enriched.path(record)).width)
            if picture is None:
                raise ValueError(f"the {hand.name} does not know {parent.filename}; set corrections.hand to 'person'")
            facts = {"made_by": hand.name, "parent": parent.sha256, "corrects": record.sha256, "prompt": record.prompt}
            save_picture(picture, target, about(project.character) | facts)
            who, how = hand.name, f"the {hand.name} drew what was asked of this character"
        else:
            continue
        made.append(_triplet(project, dataset, source, enriched, record, target, said, who, how))
    dataset.save()
    return made


def open_cases(
    enriched: Dataset, settings: Corrections, made: Sequence[Triplet], anyway: bool = False
) -> list[ImageRecord]:
    """Return the edits to be tried again: all that no hand corrected, or (``hand: person``) those given a prompt.

    Raises PendingReview when a person is to correct and has not corrected enough yet, unless ``anyway``.
    """
    done, decided = {Path(t.target_image).stem for t in made}, decisions_on(enriched)
    left = [r for r in sent_back(enriched, settings) if Path(r.filename).stem not in done]
    if settings.hand != "person":
        return left
    prompted = [r for r in left if r.filename in decided and decided[r.filename].prompt]
    if not anyway and len(made) + len(prompted) < settings.minimum and len(left) > len(prompted):
        raise PendingReview(
            f"{len(left) - len(prompted)} of {len(left) + len(made)} edits wait for a correction: open "
            "13_review_enriched, give each a corrected picture or a better prompt, then run again; or set "
            "corrections.hand to 'tries' (the editor tries again) or 'off' (no second wheel)"
        )
    return prompted


def cases_sentence(made: Sequence[Triplet], cases: Sequence[ImageRecord]) -> str:
    """Return how many edits a hand corrected and how many are to be tried again."""
    return f"{len(made)} corrected by a hand, {len(cases)} to be tried again"


def picked(
    project: Project, source: Dataset, enriched: Dataset, tries: Dataset, settings: Corrections
) -> list[Triplet]:
    """Return a triplet for each edit of which one try was labelled good; of several the nearest face counts.

    A try that equals its source comes after all others.
    """
    dataset, decided = _targets(project), decisions_on(enriched)
    good: dict[str, list[ImageRecord]] = {}
    for each in tries.labelled("good"):
        good.setdefault(each.extra["corrects"], []).append(each)
    made = []
    for record in sent_back(enriched, settings):
        if record.sha256 not in good:
            continue
        best = min(good[record.sha256], key=_nearest)
        target = dataset.folder / f"{Path(record.filename).stem}.png"
        link_or_copy(tries.path(best), target)
        who = "person" if best.label["reviewer"] in PEOPLE else best.label["reviewer"]
        how = f"tried again with {best.prompt!r}, seed {best.seed}; picked by {who}"
        said = decided.get(record.filename)
        made.append(_triplet(project, dataset, source, enriched, record, target, said, "tries", how, drawn=best))
    dataset.save()
    return made


def measured(
    project: Project,
    made: Sequence[Triplet],
    reference: ReferenceSet,
    hand: Hand | None = None,
    measures: Sequence[Measure] = MEASURES,
) -> list[Triplet]:
    """Return the triplets with every measure of their target, and of the picture it replaces (`before`)."""
    folder, out = project.data("corrections"), []
    for triplet in made:
        source, target = triplet.paths(folder)
        found = of_picture(see(triplet, source, target, reference, hand), measures)
        if triplet.before_image:
            seen = see(triplet, source, folder / triplet.before_image, reference, hand, target=open_image(target))
            found |= of_picture(seen, [before(m) for m in measures])
        out.append(replace(triplet, measurements=recorded(found)))
    return out


def before(measure: Measure) -> Measure:
    """Return a measure as a triplet has it of the picture that was sent back."""
    return replace(measure, name=f"{measure.name}_before")


def see(
    pair: Triplet,
    source: Path,
    path: Path,
    reference: ReferenceSet,
    hand: Hand | None = None,
    target: Image.Image | None = None,
) -> Seen:
    """Return a picture made of a triplet's source as measures see it; whether it was done only where that was asked."""
    picture, asked = open_image(path), {"edit": pair.kind, "edit_value": pair.value, **pair.asked}
    done = edit_done(hand, source, picture, asked) if pair.asked else None
    before, faces = faces_in([source, path])
    original = Seen(open_image(source), before)
    return Seen(picture, faces, reference, source=original, target=target, attributes=asked, done=done)


def source_of(source: Dataset, record: ImageRecord) -> ImageRecord:
    """Return the source picture an edit was made from. Raises ValueError naming the edit when it was deleted."""
    parent = source.of_hash(record.parent)
    if parent is None or not source.path(parent).is_file():
        name = parent.filename if parent else f"{record.parent}"[:12]
        raise ValueError(
            f"the source of {record.filename} ({name}) is no longer in {source.folder}: restore it, or run step 1.2 "
            "again"
        )
    return parent


def _given(project: Project, enriched: Dataset, said: Decision) -> Path:
    path = inside(enriched.folder / said.corrected, project.places, f"the journal of {enriched.folder}")
    if not path.is_file():
        raise ValueError(f"the corrected picture {path} of {said.filename} does not exist; give it again in the review")
    return path


def _targets(project: Project) -> Dataset:
    return Dataset.open(project.data("corrections"), create=True)


def _triplet(
    project: Project, dataset: Dataset, source: Dataset, enriched: Dataset, record: ImageRecord, target: Path,
    said: Decision | None, who: str, how: str, drawn: ImageRecord | None = None,
) -> Triplet:  # fmt: skip
    parent = source_of(source, record)
    depth, of = (drawn.depth, drawn) if drawn else (parent.depth + 1, record)
    dataset.put(
        ImageRecord(
            target.name, caption=record.caption, angle=record.angle, expression=record.expression, kind="correction",
            depth=depth, parent=parent.sha256, prompt=of.prompt, seed=of.seed, models=drawn.models if drawn else {},
            attributes=record.attributes, extra={"corrects": record.sha256, "by": who},
        )
    )  # fmt: skip
    issue = (said.issue if said else "") or "; ".join(record.label["reasons"])
    pair = pair_of(project, dataset.folder, parent, record, target, depth)
    if said and said.prompt:
        how += f"; better prompt: {said.prompt}"
    before = triplets.relative(enriched.path(record), dataset.folder)
    return replace(pair, issue=issue, improvement=how, before_image=before, by=who)


def pair_of(
    project: Project, folder: Path, parent: ImageRecord, record: ImageRecord, target: Path, depth: int
) -> Triplet:
    """Return an edit of a source as a triplet: what was asked, and ``target`` as what should come out."""
    kind, value = record.attributes["edit"], record.attributes["edit_value"]
    changed = question(record.attributes)
    asked = {changed: record.attributes[changed]} if changed in record.attributes else {}
    source = project.data("source") / parent.filename
    pair = Triplet(
        triplets.relative(source, folder), edit_prompt(kind, value), triplets.relative(target, folder),
        kind=kind, value=value, asked=asked, iteration=project.iteration, depth=depth,
    )  # fmt: skip
    return triplets.hashed(folder, pair)


def source_again(record: ImageRecord) -> bool:
    """Say whether a try looks like its source, whatever was asked."""
    return COLOUR_CHANGE.read(record.measurements) < CHANGE_FLOOR


def _nearest(record: ImageRecord) -> tuple[bool, float]:
    found = FACE_DISTANCE.read(record.measurements)
    return source_again(record), 9.0 if found is None else found
