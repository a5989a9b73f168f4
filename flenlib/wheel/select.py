"""Step 1.7: strict review. The few best pictures that fill gaps in what the dataset lacks become ``pristine``."""

from __future__ import annotations

import pandas as pd

from flenlib.dataset.files import link_or_copy
from flenlib.dataset.journal import Journal, in_force
from flenlib.dataset.records import NOT_MEASURED, Dataset, ImageRecord
from flenlib.measure import coverage
from flenlib.measure.identity import KEPT, NEAR_COPY, calibrated, limit, verdict
from flenlib.measure.measures import FACE_DISTANCE
from flenlib.params import Guards, Iteration, ReviewSynthetic
from flenlib.project import Project
from flenlib.steps import Criterion
from flenlib.wheel import labels, results
from flenlib.wheel.guards import inherit
from flenlib.wheel.labels import PEOPLE, Policy, note

PICKS = (10, 20)
"""Pictures a strict review should come to: fewer add little to the next training, more are no longer the best."""


def candidates(synthetic: Dataset) -> list[ImageRecord]:
    """Return what the identity filter kept; all where the sources show too few faces to filter by."""
    return [r for r in synthetic.images if verdict(r) == KEPT or not calibrated(r)]


def training_records(project: Project, guards: Guards) -> list[ImageRecord]:
    """Return what the present LoRA learned from: sources not held out, good edits, inherited pristine pictures."""
    source, enriched = Dataset.open(project.data("source")), Dataset.open(project.data("enriched"))
    own = [r for r in source.images if not r.held_out] + enriched.labelled("good")
    return own + inherit(project, guards).records


def refuse_filtered(synthetic: Dataset, journal: Journal, policy: Policy) -> None:
    """Label what the identity filter did not keep (reviewer ``filter``), so that a person sees the candidates only.

    Such a label is taken back when the filter keeps the picture after all.
    """
    decided, shown = in_force(journal, synthetic), {r.filename for r in candidates(synthetic)}
    for record in synthetic.images:
        known = decided.get(record.filename)
        if record.filename in shown:
            if known is not None and known.reviewer == "filter":
                journal.undo(record.filename)
        elif known is None or known.reviewer not in PEOPLE:
            note(journal, known, record, *policy(record), "filter")


def strict_policy(synthetic: Dataset, have: list[ImageRecord], settings: ReviewSynthetic) -> Policy:
    """Return the stated policy ``auto`` uses in step 1.7.

    Of the pictures the filter kept, and that are no near-copies of a source, take the ``select`` that fill most gaps
    in what the dataset has (angle, expression, pose), the nearest face first among equals; reject the rest with the
    reason.
    """

    def near(record: ImageRecord) -> float:
        return max(settings.near_copy, float(record.measurements.get(NEAR_COPY, 0.0)))

    kept = [r for r in synthetic.images if verdict(r) == KEPT]
    fit = [r for r in kept if FACE_DISTANCE.read(r.measurements) >= near(r)]
    picked = coverage.pick(fit, have, settings.select, score=lambda r: -FACE_DISTANCE.read(r.measurements))
    chosen = {r.filename: rank for rank, r in enumerate(picked, 1)}

    def decide(record: ImageRecord) -> tuple[str, tuple[str, ...]]:
        found = FACE_DISTANCE.read(record.measurements)
        if record.filename in chosen:
            return "good", (f"pick {chosen[record.filename]} of {len(picked)}: face distance {found:.2f}, fills a gap",)
        if found is None:
            return "reject", ("identity not measured; the strict review takes no picture it cannot check",)
        if verdict(record) != KEPT:
            return "reject", (f"face distance {found:.2f} over {limit(record):.2f}",)
        if found < near(record):
            return "reject", (f"near-copy of a source: face distance {found:.2f} under {near(record):.2f}",)
        return "reject", ("others fill the gaps better",)

    return decide


def write_pristine(project: Project, synthetic: Dataset) -> Dataset:
    """Copy what is labelled good into ``pristine/<version>`` with its records and return that dataset."""
    pristine = Dataset.open(project.data("pristine"), create=True)
    good = synthetic.labelled("good")
    for old in pristine.images:
        pristine.path(old).unlink(missing_ok=True)
    pristine.images = []
    for record in good:
        link_or_copy(synthetic.path(record), pristine.folder / record.filename)
        pristine.add(record)
    pristine.save()
    return pristine


def criteria(pristine: Dataset, have: list[ImageRecord]) -> list[Criterion]:
    """Return step 1.7's success criteria: as many pictures as wanted, and something new among them."""
    known = {(r.angle, r.expression) for r in have}
    new = {(r.angle, r.expression) for r in pristine.images if r.angle and r.expression} - known
    count, (low, high) = len(pristine.images), PICKS
    unmeasured = [r.filename for r in pristine.images if verdict(r) == NOT_MEASURED]
    return [
        Criterion(f"at least {low} pristine pictures", count >= low, f"{count}", blocking=True),
        Criterion(f"at most {high} pristine pictures", count <= high, f"{count}"),
        Criterion(
            "they show angles and expressions the dataset lacked", bool(new),
            ", ".join(sorted(f"{a} {e}" for a, e in new)) or "none",
        ),
        Criterion("every pick's face measured", not unmeasured, ", ".join(unmeasured) or "all"),
    ]  # fmt: skip


def result(
    synthetic: Dataset, pristine: Dataset, counts: pd.Series, have: list[ImageRecord]
) -> results.ReviewSynthetic:
    """Return what step 1.7 came to; ``counts`` are the labels that were applied, ``have`` what the LoRA learned from.

    Raises PendingReview when a label was given since they were.
    """
    labels.check_applied(synthetic)
    return results.ReviewSynthetic(
        sentence=f"{len(pristine.images)} of {len(synthetic.images)} synthetic pictures are pristine",
        criteria=criteria(pristine, have),
        labels=counts.to_dict(),
        pristine=len(pristine.images),
    )


def run(project: Project, settings: Iteration) -> results.ReviewSynthetic:
    """Do step 1.7 without a person in front: labels of the policy, of a file, or those people gave already.

    Raises PendingReview when pictures wait for a label.
    """
    synthetic, review = Dataset.open(project.data("synthetic")), settings.review_synthetic
    have = training_records(project, settings.guards)
    policy = strict_policy(synthetic, have, review)
    journal = labels.collect(synthetic, review, policy, corrections=False)
    if review.reviewer == "human":
        refuse_filtered(synthetic, journal, policy)
    counts = labels.apply(synthetic, journal, review, project.outputs / f"{results.ReviewSynthetic.notebook}.ipynb")
    pristine = write_pristine(project, synthetic)
    return result(synthetic, pristine, counts, have).check(settings.anyway)
