"""Success criteria: what a step asks of what it made, whether it holds, and what does not let the next step begin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Criterion:
    """One success criterion of a step: what was asked, whether it holds, and the figure behind it.

    When a ``blocking`` one does not hold the next step does not begin, unless the settings say ``anyway: true``.
    """

    name: str
    holds: bool
    found: str
    blocking: bool = False

    def __str__(self) -> str:
        return f"{'holds' if self.holds else 'DOES NOT HOLD'}: {self.name} ({self.found})"


class Blocked(RuntimeError):
    """A blocking criterion does not hold; the sentence says which, and how to go on."""


def criteria_table(criteria: Sequence[Criterion]) -> pd.DataFrame:
    """Return the criteria as a table to look at: criterion, found, holds."""
    rows = [{"criterion": c.name, "found": c.found, "holds": "yes" if c.holds else "NO"} for c in criteria]
    return pd.DataFrame(rows, columns=["criterion", "found", "holds"]).set_index("criterion")
