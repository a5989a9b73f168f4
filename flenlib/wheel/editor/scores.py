"""What editors are compared by in step 2.3: every edit measured, shares with intervals, differences paired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from PIL import Image

from flenlib.dataset.images import contact_sheet, open_image, read_provenance
from flenlib.dataset.records import NOT_MEASURED, Dataset, ImageRecord
from flenlib.draw.pictures import Job
from flenlib.measure import quality
from flenlib.measure.faces import Face, ReferenceSet, find_faces
from flenlib.measure.identity import FACE_DISTANCE
from flenlib.measure.statistics import Interval, cluster_bootstrap, wilson
from flenlib.mini import answers
from flenlib.params import Review
from flenlib.wheel.enrich import look
from flenlib.wheel.labels import identity_policy

BASE, CURRENT = "base", "current"
"""The editor without LoRAs, and the one step 1.2 of this iteration used where that is another."""

BLURRED = 0.5
"""An edit has an artefact when its face is less than half as sharp as its source's (variance of the Laplacian)."""

COMPARED = {
    "accepted (share)": "accepted",
    "identity kept (share)": "identity kept",
    "edit done (share)": "edit done",
    "unchanged (share)": "unchanged",
    "artefacts (share)": "artefact",
    "face distance": "face distance",
}


def in_use(tables: Mapping[str, pd.DataFrame]) -> str:
    """Return the editor all others are compared with: the one step 1.2 used."""
    return CURRENT if CURRENT in tables else BASE


def measure(
    source: Dataset, jobs: Sequence[Job], paths: Sequence[Path], reference: ReferenceSet, slack: float, review: Review
) -> pd.DataFrame:
    """Return a row an edit: face distance, identity kept, edit done, unchanged, an artefact seen, and accepted.

    Accepted is what the stated policy of step 1.3 with the settings of ``review`` would label good. NaN is *not
    measured*. An edit is *unchanged* when its picture is the source again: it was not done, whoever judges, unless the
    mini studio's renderer knows that the source showed what was asked.
    """
    accept = identity_policy(review)
    rows, sharp = [], {r.filename: _face_sharpness(open_image(source.path(r))) for r in source.images}
    for job, path in zip(jobs, paths, strict=True):
        kind, original = job.attributes["edit"], source.path(job.parent)
        picture = open_image(path)
        faces = find_faces(picture)
        seen = look(original, picture, job, reference, reference.threshold(slack, kind), faces)
        found, done = seen[FACE_DISTANCE], seen["edit_done"]
        kept = found <= seen["threshold"] if found != NOT_MEASURED else False if seen["face_expected"] else None
        now, then = _face_sharpness(picture, faces), sharp[job.parent.filename]
        blurred = None if now is None or then is None or kind == "style" else now < BLURRED * then
        judge = answers.known(read_provenance(original))
        rows.append(
            {"source": job.parent.filename, "kind": kind, "value": job.attributes["edit_value"], "path": str(path),
             "held out": job.parent.held_out, "face distance": None if found == NOT_MEASURED else found,
             "identity kept": kept, "edit done": done if judge else None,
             "unchanged": done == 0 and quality.unchanged(open_image(original), picture), "artefact": blurred,
             "accepted": accept(ImageRecord(path.name, attributes=job.attributes, measurements=seen))[0] == "good"}
        )  # fmt: skip
    table = pd.DataFrame(rows)
    return table.astype({name: float for name in COMPARED.values()})


def summary(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return one row an editor: shares with how many they stand on, and accepted with its 95 % Wilson interval."""
    rows = []
    for name, table in tables.items():
        good, count = int(table["accepted"].sum()), len(table)
        low, high = wilson(good, count)
        rows.append(
            {"editor": name, "edits": count, "median face distance": table["face distance"].median(),
             "identity kept": table["identity kept"].mean(), "edit done": table["edit done"].mean(),
             "unchanged": table["unchanged"].mean(), "artefacts": table["artefact"].mean(),
             "accepted": good / count, "low": low, "high": high}
        )  # fmt: skip
    return pd.DataFrame(rows).set_index("editor").round(3)


def by_source(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return what was accepted of sources a triplet could be made of, and of held-out ones, which no training saw."""
    rows = [
        {"editor": name, "sources": "held out" if held else "in training", "edits": len(part),
         "median face distance": part["face distance"].median(), "accepted": part["accepted"].mean()}
        for name, table in tables.items() for held, part in table.groupby("held out")
    ]  # fmt: skip
    return pd.DataFrame(rows).set_index(["editor", "sources"]).round(3)


def intervals(tables: Mapping[str, pd.DataFrame], name: str, seed: int = 0) -> dict[str, Interval]:
    """Return the paired differences of an editor to the one in use, resampled by source picture (95 %)."""
    before, other = tables[in_use(tables)], tables[name]
    return {
        label: cluster_bootstrap(list(before[column]), list(other[column]), list(before["source"]), seed)
        for label, column in COMPARED.items()
    }


def intervals_table(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the paired differences of every editor to the one in use as a table."""
    rows = [
        {"editor": name, "measure": label, "difference": i.mean_difference, "low": i.low, "high": i.high,
         "sources": i.n}
        for name in tables if name != in_use(tables)
        for label, i in intervals(tables, name).items()
    ]  # fmt: skip
    columns = ["editor", "measure", "difference", "low", "high", "sources"]
    return pd.DataFrame(rows, columns=columns).set_index(["editor", "measure"]).round(4)


def sheet(source: Dataset, jobs: Sequence[Job], drawn: Mapping[str, Sequence[Path]], rows: int = 12) -> Image.Image:
    """Return one row an edit: the source, then every editor's picture of it."""
    cells = []
    for number, job in enumerate(jobs[:rows]):
        asked = f"{job.attributes['edit']} {job.attributes['edit_value']}"
        cells.append((source.path(job.parent), f"source: {asked}"))
        cells += [(paths[number], name) for name, paths in drawn.items()]
    columns = (1 + len(drawn)) * (2 if len(drawn) < 3 else 1)
    return contact_sheet([picture for picture, _ in cells], [title for _, title in cells], columns=columns, cell=112)


def _face_sharpness(picture: Image.Image, faces: Sequence[Face] | None = None) -> float | None:
    """Return how sharp the largest face of a picture is, None where there is none."""
    faces = find_faces(picture) if faces is None else faces
    return quality.sharpness(picture, faces[0].box) if faces else None
