"""What every flow is made of: a step, what it came to, its success criteria, and the record it leaves."""

from flenlib.steps.criteria import Blocked, Criterion, criteria_table
from flenlib.steps.hand import Hand
from flenlib.steps.lint import check_lint, lint_criterion
from flenlib.steps.result import Facts, StepResult, Table
from flenlib.steps.step import Artifact, Flow, Step

__all__ = [
    "Artifact",
    "Blocked",
    "Criterion",
    "Facts",
    "Flow",
    "Hand",
    "Step",
    "StepResult",
    "Table",
    "check_lint",
    "criteria_table",
    "lint_criterion",
]
