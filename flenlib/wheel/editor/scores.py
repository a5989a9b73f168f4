"""The measurements of step 2.3: every edit of every editor, fractions with intervals, paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from PIL import Image

from flenlib.dataset.images import contact_sheet
from flenlib.dataset.records import Dataset, ImageRecord
from flenlib.draw.pictures import Job
from flenlib.measure.faces import ReferenceSet
from flenlib.measure.measures import FACE_DISTANCE, MEASURES, SHARE, Measure, applying, of_picture
from flenlib.measure.seen import Seen
from flenlib.measure.statistics import Interval, wilson
from flenlib.measure.tables import difference_table, differences, sums
from flenlib.params import ReviewEnriched
from flenlib.steps import Hand
from flenlib.wheel.enrich import look, see
from flenlib.wheel.labels import identity_policy

BASE, CURRENT = "base", "current"
"""The editor without LoRAs, and the one step 1.2 of this iteration used where that is another."""


def accepted(review: ReviewEnriched) -> Measure:
    """Return whether the stated policy of step 1.3, with the settings of ``review``, would label an edit good."""
    accept = identity_policy(review)

    def compute(seen: Seen, *needed: object) -> float:
        record = ImageRecord("", attributes=dict(seen.attributes), measurements=look(seen))
        return float(accept(record)[0] == "good")

    needs = ("training", "threshold", "source")
    return Measure("accepted", "picture", compute, unit=SHARE, better="higher", needs=needs)


ACCEPTED = accepted(ReviewEnriched())
COMPARED = (ACCEPTED, *MEASURES)
"""What editors are compared by, where it applies to an edit."""


def in_use(tables: Mapping[str, pd.DataFrame]) -> str:
    """Return the editor all others are compared with: the one step 1.2 used."""
    return CURRENT if CURRENT in tables else BASE


def measure(
    source: Dataset,
    jobs: Sequence[Job],
    paths: Sequence[Path],
    reference: ReferenceSet,
    slack: float,
    review: ReviewEnriched,
    hand: Hand | None = None,
    measures: Sequence[Measure] = MEASURES,
) -> pd.DataFrame:
    """Return a row an edit: its source, kind and value, and a column a measure (NaN: not measured).

    The first measure is whether the review would accept it.
    """
    chosen, rows = (accepted(review), *measures), []
    for job, path in zip(jobs, paths, strict=True):
        kind = job.attributes["edit"]
        seen = see(job, path, reference, reference.threshold(slack, kind), hand)
        facts = {"source": job.parent.filename, "kind": kind, "value": job.attributes["edit_value"], "path": str(path)}
        rows.append(facts | {"held_out": job.parent.held_out} | of_picture(seen, chosen))
    return pd.DataFrame(rows).astype({m.name: float for m in applying(chosen, "training", "threshold", "source")})


def summary(tables: Mapping[str, pd.DataFrame], measures: Sequence[Measure] = COMPARED) -> pd.DataFrame:
    """Return one row an editor: shares and medians, and the 95 % Wilson interval of the share accepted."""
    rows = []
    for name, table in tables.items():
        low, high = wilson(int(table[ACCEPTED.name].sum()), len(table))
        rows.append({"editor": name, "edits": len(table), **sums(table, measures), "low": low, "high": high})
    return pd.DataFrame(rows).set_index("editor").round(3)


def by_source(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the acceptance rate for sources in training and, apart, for held-out ones, which no training saw."""
    rows = [
        {"editor": name, "sources": "held out" if held else "in training", "edits": len(part),
         **sums(part, (FACE_DISTANCE, ACCEPTED))}
        for name, table in tables.items() for held, part in table.groupby("held_out")
    ]  # fmt: skip
    return pd.DataFrame(rows).set_index(["editor", "sources"]).round(3)


def intervals(
    tables: Mapping[str, pd.DataFrame], name: str, seed: int = 0, measures: Sequence[Measure] = COMPARED
) -> dict[Measure, Interval]:
    """Return the paired differences of an editor to the one in use, resampled by source picture (95 %)."""
    before = tables[in_use(tables)]
    return differences(before, tables[name], list(before["source"]), measures, seed)


def intervals_table(tables: Mapping[str, pd.DataFrame], measures: Sequence[Measure] = COMPARED) -> pd.DataFrame:
    """Return the paired differences of every editor to the one in use as a table; ``n`` counts sources."""
    others = [name for name in tables if name != in_use(tables)]
    found = {name: difference_table(intervals(tables, name, measures=measures)) for name in others}
    return pd.concat(found, names=["editor"]) if found else pd.DataFrame()


def sheet(source: Dataset, jobs: Sequence[Job], drawn: Mapping[str, Sequence[Path]], rows: int = 12) -> Image.Image:
    """Return one row an edit: the source, then every editor's picture of it."""
    cells = []
    for number, job in enumerate(jobs[:rows]):
        asked = f"{job.attributes['edit']} {job.attributes['edit_value']}"
        cells.append((source.path(job.parent), f"source: {asked}"))
        cells += [(paths[number], name) for name, paths in drawn.items()]
    columns = (1 + len(drawn)) * (2 if len(drawn) < 3 else 1)
    return contact_sheet([picture for picture, _ in cells], [title for _, title in cells], columns=columns, cell=112)
