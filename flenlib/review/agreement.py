"""How far two looks at the same pictures agree: a second reviewer, or the same one who does not see the first label."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pandas as pd

from flenlib.dataset.journal import Decision, Journal
from flenlib.dataset.records import Dataset

SECOND_LOOK = 0.1
"""The share of a reviewer's own pictures that is shown again without its label."""


def second_look(decided: Sequence[Decision], person: str, seed: int) -> list[str]:
    """Return the pictures ``person`` should judge blindly, shuffled: all that others labelled, a tenth of their own.

    At least one of their own is shown again where there is any. When more are labelled, nearly all drawn before stay.
    """

    def chance(name: str, what: str) -> float:
        return random.Random(f"{what} {seed} {name}").random()

    own = sorted((d.filename for d in decided if d.person == person), key=lambda name: chance(name, "draw"))
    names = [d.filename for d in decided if d.person != person]
    names += own[: max(1, round(SECOND_LOOK * len(own)))]
    return sorted(names, key=lambda name: chance(name, "order"))


def cohens_kappa(first: Sequence[str], second: Sequence[str]) -> float | None:
    """Return Cohen's kappa of two lists of labels of the same pictures: 1 is full agreement, 0 is chance.

    (observed - expected) / (1 - expected), the expected agreement from how often each used each label (Cohen, "A
    coefficient of agreement for nominal scales", 1960). None where it is not defined: no pictures, or one label only.
    """
    if not first:
        return None
    n, a, b = len(first), Counter(first), Counter(second)
    observed = sum(x == y for x, y in zip(first, second, strict=True)) / n
    expected = sum(a[label] * b[label] for label in a) / n**2
    return None if expected == 1 else (observed - expected) / (1 - expected)


def agreement(dataset: Dataset, journal: Journal) -> pd.DataFrame:
    """Return one row for each pair of reviewers: who, pictures both judged, share agreed, kappa, and where they differ.

    Second opinions on a picture that has since been replaced do not count.
    """
    pairs: dict[str, list[tuple[str, str, str]]] = {}
    for opinion in journal.opinions():
        record = dataset.find(opinion.filename)
        first = journal.last(record.filename, record.sha256) if record else None
        if first and first.reviewer in ("human", "folder") and opinion.sha256 in ("", record.sha256):
            who, other = first.person or first.reviewer, opinion.person or opinion.reviewer
            name = f"{who}, looking twice" if who == other else f"{who} and {other}"
            pairs.setdefault(name, []).append((opinion.filename, first.label, opinion.label))
    rows = []
    for name, found in pairs.items():
        differ = [f"{filename}: {a} / {b}" for filename, a, b in found if a != b]
        kappa = cohens_kappa([a for _, a, _ in found], [b for _, _, b in found])
        rows.append((name, len(found), 1 - len(differ) / len(found), kappa, "; ".join(differ)))
    return pd.DataFrame(rows, columns=["who", "pictures", "agreed", "kappa", "differ"]).set_index("who")


def sentence(table: pd.DataFrame) -> str:
    """Return the agreement in words; says so when nobody has looked twice."""
    if table.empty:
        return "nobody has looked twice: agreement is not measured"
    said = []
    for who, row in table.iterrows():
        kappa = "kappa not defined" if pd.isna(row["kappa"]) else f"kappa {row['kappa']:.2f}"
        said.append(f"{who}: {row['agreed']:.0%} of {row['pictures']} pictures the same, {kappa}")
    return "; ".join(said)
