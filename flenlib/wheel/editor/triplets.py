"""The second half of step 2.1: corrections, earlier and imported pairs and some good edits become one training set."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from flenlib.content import allow
from flenlib.dataset import layouts, triplets
from flenlib.dataset.images import contact_sheet, open_image
from flenlib.dataset.records import Dataset
from flenlib.dataset.triplets import Triplet
from flenlib.draw.pictures import check_person
from flenlib.measure.measures import COLOUR_DIFFERENCE, EDIT_DONE, FACE_DISTANCE
from flenlib.measure.quality import unchanged
from flenlib.params import Corrections
from flenlib.project import Project, from_base
from flenlib.steps import Criterion
from flenlib.wheel.editor.corrections import before, pair_of, source_of
from flenlib.wheel.labels import edit_failed

CLEAR = 2.3
"""Colour difference (Delta E 1976) below which two pictures look alike: the just noticeable one (Mahy et al. 1994)."""


@dataclass(frozen=True)
class Corrected:
    """What step 2.1 came to: the triplets and their folder, a table of before and after, the criteria."""

    folder: Path
    triplets: list[Triplet]
    table: pd.DataFrame
    criteria: list[Criterion]


def assemble(project: Project, made: Sequence[Triplet], settings: Corrections) -> list[Triplet]:
    """Return this iteration's corrections, imported pairs and earlier ones together, some of them held out by source.

    Pictures of imported pairs must lie in the folders that the settings name, or in the project, into which they are
    linked. A newer correction replaces an older one of the same source and instruction. Of the good edits among them no
    more stay than ``positive_share`` allows. Raises ValueError or FileNotFoundError naming the file for imported pairs
    that cannot be read.
    """
    folder, last = project.data("corrections"), project.before()
    pairs = [*made, *imported(project, settings)]
    if settings.earlier and last and (last.data("corrections") / triplets.FILE).is_file():
        old = last.data("corrections")
        pairs = triplets.merge(triplets.read(old, project.places), pairs, folder, old)
    pairs = triplets.hold_out(folder, pairs, settings.held_out_share, settings.seed)
    spare = [pair for pair in pairs if pair.positive][_wanted(pairs, settings) :]
    return [pair for pair in pairs if pair not in spare]


def imported(project: Project, settings: Corrections) -> list[Triplet]:
    """Return the pairs of the folders the settings name, as this iteration's triplets file has them.

    Raises as `assemble`, and Refused naming the file for an instruction that may not be learnt of this character, or
    for a picture of a real person when it is none.
    """
    folder = project.data("corrections")
    places = [*project.places, *map(from_base, settings.pictures)]
    pairs = [pair for given in settings.pairs for pair in layouts.read(given, places)]
    _allow(project, pairs)
    for path in {path for pair in pairs for path in pair.paths(Path())}:
        check_person(project.character, path)
    return [triplets.taken_in(pair, folder) for pair in pairs]


def _allow(project: Project, pairs: Sequence[Triplet]) -> None:
    for pair in pairs:
        allow(project.character, pair.edit_prompt, f"instruction of {Path(pair.target_image).name}")


def positives(
    project: Project, source: Dataset, enriched: Dataset, settings: Corrections, pairs: Sequence[Triplet]
) -> list[Triplet]:
    """Return good edits to add to assembled pairs, kinds in turn, so that the editor keeps what it can do.

    Their number makes good edits ``positive_share`` of all that is learnt. Left out are edits of a held-out source,
    edits with a correction or a good edit already, and edits that equal their source.
    """
    folder = project.data("corrections")
    keys = list(zip(pairs, triplets.keys(folder, pairs), strict=True))
    taken, held = {key for _, key in keys}, {key[0] for pair, key in keys if pair.held_out}
    wanted = _wanted(pairs, settings) - sum(pair.positive for pair in pairs)
    good = [r for r in enriched.labelled("good") if not edit_failed(r.measurements)]
    random.Random(settings.seed).shuffle(good)
    turns: dict[str, int] = {}
    order = []
    for record in good:
        kind = record.attributes["edit"]
        turns[kind] = turns.get(kind, 0) + 1
        order.append((turns[kind], record))
    made: list[Triplet] = []
    for _, record in sorted(order, key=lambda item: item[0]):
        if len(made) >= wanted:
            break
        pair = pair_of(project, folder, source_of(source, record), record, enriched.path(record), record.depth)
        ((original, words),) = triplets.keys(folder, [pair])
        if original in held or (original, words) in taken or unchanged(*map(open_image, pair.paths(folder))):
            continue
        taken.add((original, words))
        made.append(replace(pair, positive=True, by="editor", improvement="a good edit, kept as it is"))
    return made


def finish(project: Project, pairs: Sequence[Triplet], settings: Corrections) -> Corrected:
    """Check everything, write ``triplets.json``, and export what is to be learnt where an export differs from it.

    Raises ValueError naming the file for whatever is wrong with a triplet, and Refused for an instruction that may not
    be learnt of this character.
    """
    folder = project.data("corrections")
    _allow(project, pairs)
    triplets.check_places(folder, pairs, project.places)
    triplets.check(folder, pairs, minimum=0)
    triplets.write(folder, pairs)
    for layout in settings.export:
        layouts.refresh(folder, [p for p in pairs if not p.held_out], folder / "pairs" / layout, layout)
    return Corrected(folder, list(pairs), _table(pairs), _criteria(pairs, settings))


def sheet(corrected: Corrected, rows: int = 8) -> Image.Image:
    """Return source, what was sent back and the correction side by side, two triplets a line."""
    cells: list[tuple[Any, str]] = []
    for triplet in [t for t in corrected.triplets if t.before_image][: 2 * rows]:
        source, target = triplet.paths(corrected.folder)
        found = triplet.measurements
        cells.append((source, f"source: {triplet.kind} {triplet.value}"))
        cells.append((corrected.folder / triplet.before_image, f"before: face {before(FACE_DISTANCE).shown(found)}"))
        cells.append((target, f"after: face {FACE_DISTANCE.shown(found)} ({triplet.by})"))
    return contact_sheet([picture for picture, _ in cells], [title for _, title in cells], columns=6, cell=112)


def _wanted(pairs: Sequence[Triplet], settings: Corrections) -> int:
    """Return how many good edits make ``positive_share`` of what is learnt with these corrections."""
    learnt = sum(not (pair.positive or pair.held_out) for pair in pairs)
    return round(learnt * settings.positive_share / (1 - settings.positive_share))


def _table(pairs: Sequence[Triplet]) -> pd.DataFrame:
    """Return a row a triplet, with what its criteria are about, of the target and of what it replaces."""
    shown = [name for m in (FACE_DISTANCE, EDIT_DONE, COLOUR_DIFFERENCE) for name in (m.name, before(m).name)]
    rows = [
        {"target": Path(p.target_image).name, "edit": f"{p.kind} {p.value}".strip() or p.edit_prompt, "by": p.by,
         "held out": p.held_out, **{n: p.measurements[n] for n in shown if n in p.measurements}, "issue": p.issue}
        for p in pairs
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=None if rows else ["target", "edit", "by"]).set_index("target")


def _difference(pair: Triplet) -> float:
    """Return how far what was sent back lies from what it became; a pair without such a picture counts as clear."""
    found = before(COLOUR_DIFFERENCE).read(pair.measurements)
    return CLEAR if found is None else found


def _criteria(pairs: Sequence[Triplet], settings: Corrections) -> list[Criterion]:
    corrections = [p for p in pairs if not p.positive]
    held = [p for p in corrections if p.held_out]
    learnt = [p for p in pairs if not p.held_out]
    unclear = [Path(p.target_image).name for p in corrections if _difference(p) < CLEAR]
    good = sum(p.positive for p in learnt)
    share = good / len(learnt) if learnt else 0.0
    unknown = [Path(p.target_image).name for p in pairs if not (p.source_sha256 and p.target_sha256)]
    few = f"; the process asks for {triplets.MINIMUM}" if len(corrections) < triplets.MINIMUM else ""
    made = [
        Criterion(
            f"at least {settings.minimum} corrections", len(corrections) >= settings.minimum,
            f"{len(corrections)}, {len(held)} of them held out; {good} good edits beside them{few}",
            blocking=True,
        ),
        Criterion("a clear difference between before and after", not unclear, ", ".join(unclear) or "all"),
        Criterion("good edits no more than corrections", share <= 0.5, f"{share:.0%} of what is learnt"),
        Criterion("source and target of every triplet known by content", not unknown, ", ".join(unknown) or "all"),
    ]  # fmt: skip
    if settings.held_out_share:
        apart, sources = ({p.source_image for p in of} for of in (held, corrections))
        found = f"{len(held)}, which are all of {len(apart)} of the {len(sources)} sources"
        made.append(Criterion("corrections held out to choose a checkpoint by", bool(held), found))
    return made
