"""Step 1.6: the face distance removes pictures that are plainly not the character, before a person looks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd
from PIL import Image

from flenlib.dataset.images import contact_sheet
from flenlib.dataset.records import NOT_MEASURED, Dataset
from flenlib.measure.identity import DROPPED, KEPT, NEAR_COPY, calibrated, measure, references, verdict
from flenlib.measure.measures import FACE_DISTANCE, recorded
from flenlib.params import Filter, Guards, Iteration
from flenlib.project import Project
from flenlib.steps import Criterion
from flenlib.wheel import results


@dataclass(frozen=True)
class Filtered:
    """What the filter came to: the dataset with a verdict on every record, the threshold, the real-to-real ceiling."""

    dataset: Dataset
    threshold: float
    ceiling: float
    criteria: list[Criterion]

    def verdicts(self) -> pd.Series:
        """Return how many pictures were kept, dropped, and not measured."""
        found = pd.Series([verdict(r) for r in self.dataset.images], dtype=str)
        return found.value_counts().reindex([KEPT, DROPPED, NOT_MEASURED], fill_value=0)


def filter_identity(project: Project, source: Dataset, settings: Filter, guards: Guards | None = None) -> Filtered:
    """Measure every synthetic picture against the training sources and write its verdict into ``synthetic/<version>``.

    Without a threshold in the settings it is calibrated on the sources: their own leave-one-out spread times
    ``slack``. A picture without a face is *not measured*: a back view cannot be wrong about a face; none is measured
    where fewer than two sources show one. ``guards`` set the other end of the acceptance band: what lies nearer to a
    source is a copy, and step 1.7 does not select it.
    """
    guards = guards or Guards()
    reference = references(source).training
    given = settings.threshold if reference.measured else 0
    threshold = given or reference.threshold(settings.slack)
    dataset = Dataset.open(project.data("synthetic"))
    measure(dataset, dataset.images, reference)
    for record in dataset.images:
        limits = {FACE_DISTANCE.limit: threshold, NEAR_COPY: guards.nearest * reference.ceiling}
        record.measurements |= recorded(limits)
    dataset.save()
    return Filtered(dataset, threshold, reference.ceiling, [*_criteria(dataset), _band(dataset, guards)])


def distances(dataset: Dataset) -> dict[str, list[float | None]]:
    """Return the face distances of what was drawn; None where not measured."""
    return {"synthetic": [FACE_DISTANCE.read(r.measurements) for r in dataset.images]}


def sheet(dataset: Dataset, wanted: str) -> Image.Image:
    """Return a contact sheet of the pictures with one verdict, the nearest face first."""
    records = [r for r in dataset.images if verdict(r) == wanted]
    if wanted != NOT_MEASURED:
        records.sort(key=lambda r: FACE_DISTANCE.read(r.measurements))
    titles = [f"{wanted} {FACE_DISTANCE.shown(r.measurements)}" for r in records]
    return contact_sheet([dataset.path(r) for r in records], titles, columns=10, cell=96)


def _criteria(dataset: Dataset) -> list[Criterion]:
    kept = sum(verdict(r) == KEPT for r in dataset.images)
    total = len(dataset.images)
    looked = sum(FACE_DISTANCE.name in r.measurements for r in dataset.images)
    removed = 1 - kept / total if total else 0.0
    if not any(map(calibrated, dataset.images)):
        said = "not measured: fewer than two sources show a face, so every picture goes to review"
        return [Criterion("obviously wrong pictures removed by identity", False, said)]
    return [
        Criterion("every picture looked at", looked == total, f"{looked} of {total}"),
        Criterion("candidates reduced by 50-70 %", 0.5 <= removed <= 0.7, f"{removed:.0%} are no candidates any more"),
        Criterion("at least 10 candidates left for review", kept >= 10, f"{kept}"),
    ]


def _band(dataset: Dataset, guards: Guards) -> Criterion:
    """Return how many pictures lie under the near end of the acceptance band: they would teach one picture by heart."""
    if not guards.nearest:
        return Criterion("guard: acceptance band", True, "off")
    measured = [r.measurements for r in dataset.images if verdict(r) != NOT_MEASURED]
    near = sum(float(found[FACE_DISTANCE.name]) < float(found[NEAR_COPY]) for found in measured)
    name = f"guard: copies of a source (under {guards.nearest:g} x the sources' own spread) are few"
    if not measured:
        return Criterion(name, False, NOT_MEASURED)
    return Criterion(name, near <= len(measured) / 2, f"{near} of {len(measured)}, which step 1.7 does not select")


def result(filtered: Filtered) -> results.FilterIdentity:
    """Return what step 1.6 came to."""
    counts = {str(name): int(count) for name, count in filtered.verdicts().items()}
    return results.FilterIdentity(
        sentence=f"{counts[KEPT]} kept, {counts[DROPPED]} dropped, {counts[NOT_MEASURED]} not measured",
        criteria=filtered.criteria,
        threshold=None if math.isnan(filtered.threshold) else filtered.threshold,
        ceiling=None if math.isnan(filtered.ceiling) else filtered.ceiling,
        verdicts=counts,
    )


def run(project: Project, settings: Iteration) -> results.FilterIdentity:
    """Do step 1.6: measure every synthetic picture against the training sources."""
    source = Dataset.open(project.data("source"))
    return result(filter_identity(project, source, settings.filter, settings.guards))
