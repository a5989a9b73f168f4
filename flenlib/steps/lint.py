"""Captions with faults that spoil a training stop it, unless the settings go on anyway."""

from __future__ import annotations

from collections.abc import Sequence

from flenlib.dataset.caption_lint import Finding, errors
from flenlib.steps.criteria import Blocked, Criterion


def lint_criterion(findings: Sequence[Finding]) -> Criterion:
    """Return whether captions have no fault that spoils a training; it blocks."""
    faults = errors(findings)
    first = f"{len(faults)} faults, the first: {faults[0].sentence}" if faults else f"{len(findings)} warnings"
    return Criterion("captions without a fault that spoils training", not faults, first, blocking=True)


def check_lint(findings: Sequence[Finding], anyway: bool = False) -> None:
    """Raise Blocked, with how many faults captions have and the first of them, unless training goes on ``anyway``."""
    criterion = lint_criterion(findings)
    if not criterion.holds and not anyway:
        raise Blocked(
            f"training does not begin: its captions have {criterion.found}. Mend them, or set `anyway: true` to train "
            "all the same"
        )
