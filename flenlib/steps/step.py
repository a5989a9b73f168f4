"""Steps and flows: an ordered list of numbered notebooks, each with the settings that act on it and its data."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from flenlib.params import FlowSettings, Section
from flenlib.project import Project
from flenlib.steps.hand import Hand
from flenlib.steps.result import StepResult


@dataclass(frozen=True)
class Artifact:
    """Something that steps read or make: what it is called, and its state in a form that can be compared.

    ``digest(project, settings)`` returns anything JSON can hold; None means that it is not there.
    """

    name: str
    digest: Callable[[Project, Any], Any]
    listed: bool = True
    """Whether tables for people name it."""


@dataclass(frozen=True)
class Step:
    """One numbered notebook and the module whose ``run`` does the same in one call.

    ``settings`` names what acts on it, as sections (``enrich``) or fields (``models.editor``): other settings can
    change without the step being done again. ``asks`` are decisions people make while it runs. ``recipe`` is raised
    when a fix changes what the step makes from the same inputs. The module is named, not imported: knowing the list
    must not load torch.
    """

    result: type[StepResult]
    module: str
    does: str
    settings: tuple[str, ...]
    reads: tuple[Artifact, ...] = ()
    asks: tuple[Artifact, ...] = ()
    makes: tuple[Artifact, ...] = ()
    recipe: int = 1
    wanted: Callable[[Any], bool] = lambda settings: True
    hand: Hand | None = None
    """Who draws sources, corrects, and judges edits for the step; None for one that asks nobody."""

    @property
    def name(self) -> str:
        """The name of its notebook, such as ``12_enrich``."""
        return self.result.notebook

    @property
    def number(self) -> int:
        """The number the notebook's name starts with."""
        return int(self.name.split("_")[0])

    @property
    def sections(self) -> tuple[str, ...]:
        """The sections of settings its notebook is given."""
        return tuple(dict.fromkeys(path.split(".")[0] for path in self.settings))

    @property
    def run(self) -> Callable[..., StepResult]:
        """The module's ``run(project, settings)``, with the hand where the step has one."""
        run = importlib.import_module(self.module).run
        return functools.partial(run, hand=self.hand) if self.hand else run

    def acting(self, settings: FlowSettings) -> dict[str, Any]:
        """Return the values of the settings that act on this step, by name; an unknown name is an AttributeError."""
        found = {}
        for path in self.settings:
            value: Any = settings
            for name in path.split("."):
                value = getattr(value, name)
            found[path] = value.model_dump() if isinstance(value, Section) else value
        return found


@dataclass(frozen=True)
class Flow:
    """An ordered list of steps. Runner, stamps, report and README read it; a second flow is a second list."""

    name: str
    settings: type[FlowSettings]
    steps: tuple[Step, ...]
    beside: Callable[[Project], Sequence[Any]] = lambda project: ()
    """What a report says beside the steps: texts and tables over several iterations."""

    def find(self, number: str | int) -> Step:
        """Return the step of a number such as 12, or of a notebook's name. Raises ValueError naming those there are."""
        for step in self.steps:
            if str(number) == step.name or str(number).zfill(2) == f"{step.number:02d}":
                return step
        known = ", ".join(f"{step.number:02d}" for step in self.steps)
        raise ValueError(f"there is no step {number!r}; steps are {known}")

    def wanted(self, settings: FlowSettings) -> tuple[Step, ...]:
        """Return the steps these settings ask for, in order."""
        return tuple(step for step in self.steps if step.wanted(settings))

    def before(self, step: Step) -> tuple[Step, ...]:
        """Return the earlier steps that make something this one reads."""
        earlier = self.steps[: self.steps.index(step)]
        return tuple(other for other in earlier if set(other.makes) & set(step.reads))

    def table(self) -> str:
        """Return the steps as a Markdown table: notebook, what it does, what it reads and makes."""
        rows = ["| notebook | step | reads | makes |", "|---|---|---|---|"]
        for step in self.steps:
            reads, makes = (dict.fromkeys(a.name for a in some if a.listed) for some in (step.reads, step.makes))
            rows.append(f"| `{step.name}` | {step.does} | {', '.join(reads)} | {', '.join(makes)} |")
        return "\n".join(rows)
