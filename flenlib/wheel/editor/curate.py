"""Step 2.1: what review sent back becomes triplets: by a hand, by trying again, and with earlier and good edits."""

from __future__ import annotations

from collections.abc import Sequence

from flenlib.dataset.records import Dataset, ImageRecord
from flenlib.dataset.triplets import Triplet
from flenlib.draw.editor import open_editor
from flenlib.draw.routes import open_routes
from flenlib.measure.faces import ReferenceSet
from flenlib.measure.identity import references
from flenlib.params import Corrections, Iteration, Models, Review
from flenlib.project import Project
from flenlib.steps import Hand
from flenlib.wheel import labels, results
from flenlib.wheel.editor import corrections, tries, triplets
from flenlib.wheel.editor.triplets import Corrected


def draw_tries(
    project: Project, source: Dataset, enriched: Dataset, cases: Sequence[ImageRecord], settings: Corrections,
    models: Models, reference: ReferenceSet, hand: Hand | None = None,
) -> Dataset:  # fmt: skip
    """Try the cases again with the editor and the LoRAs that drew the edits; return the tries as a dataset.

    Raises Refused, before a model is loaded, for what may not be asked or learnt, imported pairs among it.
    """
    triplets.imported(project, settings)
    editor = open_editor(models, open_routes(project, models))
    drawn = tries.draw(project, source, enriched, cases, editor, settings, reference, hand)
    editor.free()
    return drawn


def review_of(settings: Corrections) -> Review:
    """Return the settings by which tries are reviewed."""
    return Review(reviewer=settings.reviewer, file=settings.file)


def result(corrected: Corrected) -> results.CurateCorrections:
    """Return what step 2.1 came to."""
    counts = {str(who): int(count) for who, count in corrected.table["by"].value_counts().items()}
    makers = ", ".join(f"{count} by {who}" for who, count in counts.items())
    return results.CurateCorrections(
        sentence=f"{len(corrected.triplets)} triplets: {makers}", criteria=corrected.criteria, by=counts
    )


def run(project: Project, settings: Iteration, hand: Hand | None = None) -> results.CurateCorrections:
    """Do step 2.1 without a person in front. Raises PendingReview when edits or tries wait for one."""
    source, enriched = Dataset.open(project.data("source")), Dataset.open(project.data("enriched"))
    reference, wanted = references(source).training, settings.corrections
    made = corrections.by_hand(project, source, enriched, wanted, hand)
    cases = corrections.open_cases(enriched, wanted, made, settings.anyway)
    if cases:
        drawn = draw_tries(project, source, enriched, cases, wanted, settings.models, reference, hand)
        made = [*made, *_picked(project, source, enriched, drawn, wanted)]
    return result(write(project, source, enriched, made, wanted, reference, hand)).check(settings.anyway)


def write(
    project: Project, source: Dataset, enriched: Dataset, made: Sequence[Triplet], settings: Corrections,
    reference: ReferenceSet, hand: Hand | None = None,
) -> Corrected:  # fmt: skip
    """Join corrections with earlier and imported ones and with good edits, measure, check and write them."""
    known = triplets.assemble(project, corrections.measured(project, made, reference, hand), settings)
    kept = triplets.positives(project, source, enriched, settings, known)
    return triplets.finish(project, [*known, *corrections.measured(project, kept, reference, hand)], settings)


def _picked(
    project: Project, source: Dataset, enriched: Dataset, drawn: Dataset, settings: Corrections
) -> list[Triplet]:
    journal = labels.collect(drawn, review_of(settings), tries.policy(drawn))
    notebook = project.notebook(results.CurateCorrections.notebook)
    labels.apply(drawn, journal, review_of(settings), notebook)
    return corrections.picked(project, source, enriched, drawn, settings)
