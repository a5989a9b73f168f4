"""The frame of a notebook's run: started in its second cell, finished in its last, which leaves the step's record."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from flenlib.flow import lock, stamps
from flenlib.flow.wheel import WHEEL
from flenlib.params import Section
from flenlib.project import Project
from flenlib.steps import Blocked, Flow, Hand, Step, StepResult, criteria_table, record, texts


class Clock:
    """Measures one run of a step and writes its record; while it runs it holds the iteration and shows tables whole.

    ``sections`` are the settings of the notebook; what else an iteration has does not act on the step. Raises Blocked
    when a step this one reads from has an unmet blocking criterion and ``anyway`` is not set, lock.Busy when another
    process works in the iteration, Refused for words in the settings that may not be drawn or learnt of the character.
    """

    def __init__(
        self, project: Project, step: str, *, anyway: bool = False, flow: Flow = WHEEL, **sections: Section
    ) -> None:
        self.project, self.step, self.sections = project, flow.find(step), sections
        self.settings = flow.settings(
            character=project.character, iteration=project.iteration, anyway=anyway, **sections
        )
        texts.check(self.settings)
        self.began = time.monotonic()
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        record.show_whole_tables()
        _check_earlier(project, flow, self.step, anyway)
        lock.take(project, self.step.name)
        self.given = stamps.given(project, self.step, self.settings)

    @property
    def hand(self) -> Hand | None:
        """Who draws sources, corrects and judges edits for this step; None where it asks nobody."""
        return self.step.hand

    @property
    def notebook(self) -> Path:
        """Where the iteration's own copy of the step's notebook is, which a person is sent to."""
        return self.project.notebook(self.step.name)

    def finish(self, result: StepResult) -> pd.DataFrame:
        """Write the record and return the criteria as a table; a step without a record has not finished.

        Raises Blocked, after writing, when a blocking criterion does not hold and ``anyway`` is not set.
        """
        record.write(
            self.project,
            result,
            parameters={name: section.model_dump() for name, section in self.sections.items()},
            inputs=stamps.inputs(self.project, self.step, self.settings, self.given),
            made=stamps.made(self.project, self.step, self.settings),
            started=self.started,
            seconds=round(time.monotonic() - self.began, 1),
        )
        lock.release(self.project)
        print(result.sentence)
        result.check(self.settings.anyway)
        return criteria_table(result.criteria)


def _check_earlier(project: Project, flow: Flow, step: Step, anyway: bool) -> None:
    """Raise Blocked when a step that makes what this one reads ended with an unmet blocking criterion."""
    for earlier in flow.before(step):
        written = record.read(project, earlier.name)
        if written is not None and written.blocked and not anyway:
            failed = next(c for c in written.criteria if c.blocking and not c.holds)
            raise Blocked(
                f"{step.name} cannot begin. {earlier.name} needs {failed.name}; it found {failed.found}. Mend that and "
                "run it again, or set `anyway: true` to go on all the same"
            )
