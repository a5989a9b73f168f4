"""Step 2.1: what review sent back becomes (source, instruction, corrected picture), by a hand or by trying again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from flenlib.dataset import layouts, triplets
from flenlib.dataset.files import link_or_copy
from flenlib.dataset.images import contact_sheet, open_image, read_provenance, save_picture
from flenlib.dataset.journal import Decision, in_force
from flenlib.dataset.prompts import edit_prompt
from flenlib.dataset.records import NOT_MEASURED, Dataset, ImageRecord
from flenlib.dataset.triplets import Triplet
from flenlib.measure.faces import ReferenceSet
from flenlib.measure.quality import diversity
from flenlib.mini import answers
from flenlib.params import Corrections
from flenlib.project import Project
from flenlib.record import Criterion
from flenlib.wheel.enrich import edit_done, question
from flenlib.wheel.identity import FACE_DISTANCE, distance
from flenlib.wheel.labels import PendingReview, open_journal

CLEAR = 2.3
"""Colour difference (Delta E 1976) below which two pictures look alike: the just noticeable one (Mahy et al. 1994)."""


@dataclass(frozen=True)
class Corrected:
    """What step 2.1 came to: the triplets and their folder, a table of before and after, the criteria."""

    folder: Path
    triplets: list[Triplet]
    table: pd.DataFrame
    criteria: list[Criterion]


def sent_back(enriched: Dataset, settings: Corrections) -> list[ImageRecord]:
    """Return the edits that are to be corrected."""
    return [record for label in settings.labels for record in enriched.labelled(label)]


def told(enriched: Dataset) -> dict[str, Decision]:
    """Return what reviewers said of each edit: the issue, a better prompt, a corrected picture."""
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


def by_hand(house: Project, source: Dataset, enriched: Dataset, settings: Corrections) -> list[Triplet]:
    """Return a triplet for each edit that a hand corrected: a person's picture, or in the mini studio the renderer's.

    The renderer (``hand: renderer``) draws what was asked of this character, which no photograph allows: it raises
    ValueError for a source the studio did not draw. Raises ValueError naming an edit whose source was deleted.
    """
    dataset, decided = _targets(house), told(enriched)
    made = []
    for record in sent_back(enriched, settings):
        said = decided.get(record.filename)
        target = dataset.folder / f"{Path(record.filename).stem}.png"
        parent = source_of(source, record)
        if said and said.corrected:
            link_or_copy(_given(enriched, said), target)
            who, how = "person", said.note or "corrected by hand"
        elif settings.hand == "renderer":
            facts = read_provenance(source.path(parent))
            picture = answers.answer(facts, record.attributes, open_image(enriched.path(record)).width)
            about = {"parent": parent.sha256, "corrects": record.sha256, "prompt": record.prompt}
            save_picture(picture, target, {"made_by": "renderer", "software": "flenlib.mini"} | about)
            who, how = "renderer", "the renderer drew what was asked of this character"
        else:
            continue
        made.append(_triplet(house, dataset, source, enriched, record, target, said, who, how))
    dataset.save()
    return made


def open_cases(enriched: Dataset, settings: Corrections, made: Sequence[Triplet]) -> list[ImageRecord]:
    """Return the edits to be tried again: all that no hand corrected, or (``hand: person``) those given a prompt.

    Raises PendingReview when a person is to correct and has not corrected enough yet.
    """
    done, decided = {Path(t.target_image).stem for t in made}, told(enriched)
    left = [r for r in sent_back(enriched, settings) if Path(r.filename).stem not in done]
    if settings.hand != "person":
        return left
    prompted = [r for r in left if r.filename in decided and decided[r.filename].prompt]
    reachable = (len(made) + len(prompted)) / (1 - settings.positive_share)
    if reachable < settings.minimum and len(left) > len(prompted):
        raise PendingReview(
            f"{len(left) - len(prompted)} of {len(left) + len(made)} edits wait for a correction: open "
            "13_review_enriched, give each a corrected picture or a better prompt, then run again; or set "
            "corrections.hand to 'tries' (the editor tries again) or 'off' (no second wheel)"
        )
    return prompted


def picked(house: Project, source: Dataset, enriched: Dataset, tries: Dataset, settings: Corrections) -> list[Triplet]:
    """Return a triplet for each edit of which one try was labelled good; of several the nearest face counts."""
    dataset, decided = _targets(house), told(enriched)
    made = []
    for record in sent_back(enriched, settings):
        good = [t for t in tries.labelled("good") if t.extra.get("corrects") == record.filename]
        if not good:
            continue
        best = min(
            good, key=lambda t: 9.0 if t.measurements[FACE_DISTANCE] == NOT_MEASURED else t.measurements[FACE_DISTANCE]
        )
        target = dataset.folder / f"{Path(record.filename).stem}.png"
        link_or_copy(tries.path(best), target)
        who = "person" if best.label["reviewer"] in ("human", "folder") else best.label["reviewer"]
        how = f"tried again with {best.prompt!r}, seed {best.seed}; picked by {who}"
        said = decided.get(record.filename)
        made.append(_triplet(house, dataset, source, enriched, record, target, said, "tries", how))
    dataset.save()
    return made


def positives(
    house: Project, source: Dataset, enriched: Dataset, settings: Corrections, corrected: int
) -> list[Triplet]:
    """Return good edits as pairs, ``positive_share`` of all, kinds in turn: so that the editor keeps what it can do."""
    wanted = round(corrected * settings.positive_share / (1 - settings.positive_share))
    good = [r for r in enriched.labelled("good") if r.measurements.get("edit_done") != 0]
    random.Random(settings.seed).shuffle(good)
    turns: dict[str, int] = {}
    order = []
    for record in good:
        kind = record.attributes["edit"]
        turns[kind] = turns.get(kind, 0) + 1
        order.append((turns[kind], record))
    chosen = [record for _, record in sorted(order, key=lambda item: item[0])[:wanted]]
    folder = house.data("corrections")
    made = []
    for record in chosen:
        pair = _pair(house, folder, source_of(source, record), record, enriched.path(record), record.depth)
        made.append(replace(pair, positive=True, by="editor", improvement="a good edit, kept as it is"))
    return made


def finish(house: Project, made: Sequence[Triplet], settings: Corrections) -> Corrected:
    """Add earlier and imported pairs, hold some out, check everything, write ``triplets.json`` and export it.

    Raises ValueError naming the file for whatever is wrong with a triplet, and when there are too few.
    """
    folder = house.data("corrections")
    before = house.before()
    pairs = list(made)
    if settings.earlier and before and (before.data("corrections") / triplets.FILE).is_file():
        old = before.data("corrections")
        pairs = triplets.merge(triplets.read(old), pairs, folder, old)
    for given in settings.pairs:
        imported = layouts.read(house.root / given)
        pairs += [_moved(pair, folder) for pair in imported]
    pairs = _hold_out(pairs, settings)
    triplets.check(folder, pairs, settings.minimum)
    triplets.write(folder, pairs)
    for layout in settings.export:
        out = folder / "pairs" / layout
        if not (out.is_dir() and any(out.iterdir())):
            layouts.export(folder, [p for p in pairs if not p.held_out], out, layout)
    return Corrected(folder, pairs, _table(pairs), _criteria(pairs, settings))


def measured(house: Project, made: Sequence[Triplet], reference: ReferenceSet) -> list[Triplet]:
    """Return the triplets with how far before and after differ, and each one's face distance to the references."""
    folder, out = house.data("corrections"), []
    for triplet in made:
        path, target = triplet.paths(folder)
        after = open_image(target)
        found: dict[str, float | str] = {"face after": _or_not(distance(after, reference))}
        if triplet.before_image:
            before = open_image(folder / triplet.before_image)
            found["face before"] = _or_not(distance(before, reference))
            found["colour difference"] = round(diversity([before, after.resize(before.size)]), 2)
        found["edit done after"] = done_of(path, after, triplet)
        out.append(replace(triplet, measurements=found))
    return out


def done_of(source: Path, picture: Image.Image, pair: Triplet) -> int | str:
    """Return whether a picture shows what a triplet asked for: 1, 0, or *not measured* where that cannot be told."""
    if not pair.asked:
        return NOT_MEASURED
    return edit_done(source, picture, {"edit": pair.kind, "edit_value": pair.value, **pair.asked})


def sheet(corrected: Corrected, rows: int = 8) -> Image.Image:
    """Return source, what was sent back and the correction side by side, two triplets a line."""
    cells: list[tuple[Any, str]] = []
    for triplet in [t for t in corrected.triplets if t.before_image][: 2 * rows]:
        source, target = triplet.paths(corrected.folder)
        found = triplet.measurements
        cells.append((source, f"source: {triplet.kind} {triplet.value}"))
        cells.append((corrected.folder / triplet.before_image, f"before: face {found.get('face before', '')}"))
        cells.append((target, f"after: face {found.get('face after', '')} ({triplet.by})"))
    return contact_sheet([picture for picture, _ in cells], [title for _, title in cells], columns=6, cell=112)


def source_of(source: Dataset, record: ImageRecord) -> ImageRecord:
    """Return the source picture an edit was made from. Raises ValueError naming the edit when it was deleted."""
    parent = next((r for r in source.images if r.sha256 == record.parent), None)
    if parent is None or not source.path(parent).is_file():
        name = parent.filename if parent else f"{record.parent}"[:12]
        raise ValueError(
            f"the source of {record.filename} ({name}) is no longer in {source.folder}: restore it, or run step 1.2 "
            "again"
        )
    return parent


def _given(enriched: Dataset, said: Decision) -> Path:
    path = enriched.folder / said.corrected
    if not path.is_file():
        raise ValueError(f"the corrected picture {path} of {said.filename} does not exist; give it again in the review")
    return path


def _targets(house: Project) -> Dataset:
    return Dataset.open(house.data("corrections"), create=True)


def _triplet(
    house: Project, dataset: Dataset, source: Dataset, enriched: Dataset, record: ImageRecord, target: Path,
    said: Decision | None, who: str, how: str,
) -> Triplet:  # fmt: skip
    parent = source_of(source, record)
    dataset.put(
        ImageRecord(
            target.name, caption=record.caption, angle=record.angle, expression=record.expression, kind="correction",
            depth=parent.depth + 1, parent=parent.sha256, prompt=record.prompt, seed=record.seed,
            attributes=record.attributes, extra={"corrects": record.sha256, "by": who},
        )
    )  # fmt: skip
    issue = (said.issue if said else "") or "; ".join(record.label["reasons"])
    pair = _pair(house, dataset.folder, parent, record, target, parent.depth + 1)
    if said and said.prompt:
        how += f"; better prompt: {said.prompt}"
    before = triplets.relative(enriched.path(record), dataset.folder)
    return replace(pair, issue=issue, improvement=how, before_image=before, by=who)


def _pair(house: Project, folder: Path, parent: ImageRecord, record: ImageRecord, target: Path, depth: int) -> Triplet:
    kind, value = record.attributes["edit"], record.attributes["edit_value"]
    changed = question(record.attributes)
    asked = {changed: record.attributes[changed]} if changed in record.attributes else {}
    source = house.data("source") / parent.filename
    pair = Triplet(
        triplets.relative(source, folder), edit_prompt(kind, value), triplets.relative(target, folder),
        kind=kind, value=value, asked=asked, iteration=house.iteration, depth=depth,
    )  # fmt: skip
    return replace(pair, **triplets.hashed(folder, pair))


def _moved(pair: Triplet, folder: Path) -> Triplet:
    names = ("source_image", "target_image")
    return Triplet(**{**asdict(pair), **{n: triplets.relative(Path(getattr(pair, n)), folder) for n in names}})


def _hold_out(pairs: Sequence[Triplet], settings: Corrections) -> list[Triplet]:
    """Keep the wanted share of all pairs from training, seeded, but never so many that too few are left to learn from.

    Only corrections are held out: a good edit is what the base editor drew, so it would judge in the base's favour.
    """
    corrections = [number for number, pair in enumerate(pairs) if not pair.positive]
    count = min(round(settings.held_out_share * len(pairs)), max(0, len(pairs) - settings.minimum), len(corrections))
    kept = set(random.Random(settings.seed).sample(corrections, count))
    return [replace(pair, held_out=number in kept) for number, pair in enumerate(pairs)]


def _or_not(value: float | None) -> float | str:
    return NOT_MEASURED if value is None else round(value, 4)


def _table(pairs: Sequence[Triplet]) -> pd.DataFrame:
    rows = [
        {"target": Path(p.target_image).name, "edit": f"{p.kind} {p.value}", "by": p.by, "held out": p.held_out,
         **p.measurements, "issue": p.issue}
        for p in pairs
    ]  # fmt: skip
    return pd.DataFrame(rows).set_index("target")


def _criteria(pairs: Sequence[Triplet], settings: Corrections) -> list[Criterion]:
    learned = [p for p in pairs if not p.held_out]
    corrections = [p for p in pairs if not p.positive]
    unclear = [
        Path(p.target_image).name for p in corrections if float(p.measurements.get("colour difference", CLEAR)) < CLEAR
    ]
    share = 1 - len(corrections) / len(pairs)
    unknown = [Path(p.target_image).name for p in pairs if not (p.source_sha256 and p.target_sha256)]
    return [
        Criterion(
            f"at least {settings.minimum} triplets to learn from", len(learned) >= settings.minimum,
            f"{len(learned)}, and {len(pairs) - len(learned)} held out; {len(corrections)} are corrections",
        ),
        Criterion("a clear difference between before and after", not unclear, ", ".join(unclear) or "all"),
        Criterion("positive pairs no more than corrections", share <= 0.5, f"{share:.0%} are good edits as they are"),
        Criterion("source and target of every triplet known by content", not unknown, ", ".join(unknown) or "all"),
    ]  # fmt: skip
