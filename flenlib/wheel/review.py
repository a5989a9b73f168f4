"""Step 1.3: every edit is looked at and labelled, by a person, a file or a stated policy."""

from __future__ import annotations

import pandas as pd

from flenlib.dataset.records import Dataset
from flenlib.params import Iteration, ReviewEnriched
from flenlib.project import Project
from flenlib.steps import Criterion
from flenlib.wheel import labels, results


def criteria(dataset: Dataset, settings: ReviewEnriched) -> list[Criterion]:
    """Return step 1.3's success criteria: all reviewed, enough good ones, reasons for what was not taken."""
    good = len(dataset.labelled("good"))
    silent = [r.filename for r in dataset.images if r.label and r.label["label"] != "good" and not r.label["reasons"]]
    reviewed = sum(r.label is not None for r in dataset.images)
    lack = settings.minimum_good - good
    more = f"; {lack} more are needed: enrich again or correct" if lack > 0 else ""
    return [
        Criterion("every picture reviewed", reviewed == len(dataset.images), f"{reviewed} of {len(dataset.images)}"),
        Criterion(
            f"at least {settings.minimum_good} good pictures", good >= settings.minimum_good, f"{good}{more}",
            blocking=True,
        ),
        Criterion("a reason for every picture not taken", not silent, ", ".join(silent) or "all"),
    ]  # fmt: skip


def result(dataset: Dataset, counts: pd.Series, settings: ReviewEnriched) -> results.ReviewEnriched:
    """Return what step 1.3 came to; ``counts`` are the labels that were applied.

    Raises PendingReview when a label was given since they were.
    """
    labels.check_applied(dataset)
    return results.ReviewEnriched(
        sentence=f"{counts['good']} good, {counts['needs_correction']} need correction, {counts['reject']} rejected",
        criteria=criteria(dataset, settings),
        labels=counts.to_dict(),
        reviewer=settings.reviewer,
    )


def run(project: Project, settings: Iteration) -> results.ReviewEnriched:
    """Do step 1.3 without a person in front: labels of the policy, of a file, or those people gave already.

    Raises PendingReview when pictures wait for a label.
    """
    dataset, review = Dataset.open(project.data("enriched")), settings.review_enriched
    journal = labels.collect(dataset, review, labels.identity_policy(review))
    counts = labels.apply(dataset, journal, review, project.notebook(results.ReviewEnriched.notebook))
    return result(dataset, counts, review).check(settings.anyway)
