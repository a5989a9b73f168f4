"""Executing a flow's notebooks with papermill: in order, skipping what is done, going on where a run stopped."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import Any

from flenlib.flow import copies, lock, stamps
from flenlib.flow.clock import Clock
from flenlib.flow.wheel import WHEEL
from flenlib.params import FlowSettings
from flenlib.project import ROOT, Project
from flenlib.steps import Flow, Step, StepResult, record


class StepFailed(RuntimeError):
    """A notebook stopped before its end; the message says which one, why, and what to do."""


def run_step(project: Project, step: Step, settings: FlowSettings) -> record.Record:
    """Execute one notebook into the iteration's outputs and return its record.

    Raises StepFailed with one sentence when a cell fails, a review waits, a blocking criterion does not hold, the
    notebook cannot be saved or ends without its record.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    target = copies.write(project, step, copies.made(step, settings))
    record.run_file(project, step.name).unlink(missing_ok=True)
    try:
        papermill.execute_notebook(
            target,
            target,
            cwd=str(ROOT),
            progress_bar=sys.stderr.isatty(),
            extra_arguments=["--log-level=CRITICAL"],  # a kernel that is asked to end reports the interrupt as an error
            store_widget_state=False,  # pictures inside widgets would be saved with the notebook
        )
    except PapermillExecutionError as error:
        copies.without_error_marks(target)
        if error.ename == "KeyboardInterrupt":  # Ctrl-C reaches the kernel too
            raise KeyboardInterrupt from None
        said = error.evalue or error.ename
        raise StepFailed(said if said.startswith(step.name) else f"{step.name}: {said}") from None
    except OSError as error:
        raise StepFailed(
            f"{step.name}: its notebook {target} could not be saved ({error}); what it made is kept: make room and run "
            "it again"
        ) from None
    except DeadKernelError:
        raise StepFailed(f"{step.name}: its kernel died, as it does when memory runs out; run it again") from None
    written = record.read(project, step.name)
    if written is None:  # papermill reports a killed kernel or sys.exit(0) as completed
        raise StepFailed(f"{step.name} ended without its record; open {target} to see where it stopped, then run again")
    return written


def call(project: Project, step: Step, settings: FlowSettings, flow: Flow = WHEEL, **more: Any) -> StepResult:
    """Do a step in this process, without its notebook, unless it is done; return what it came to.

    It leaves the same record as its notebook does. ``more`` goes to the module's ``run``. Raises Blocked as `Clock`.
    """
    settings = settings.model_copy(update={"iteration": project.iteration})
    if not stamps.is_done(project, step, settings):
        sections = {name: getattr(settings, name) for name in step.sections}
        clock = Clock(project, step.name, anyway=settings.anyway, flow=flow, **sections)
        try:  # what blocks is for `finish` to say, once the record is written
            clock.finish(step.run(project, settings.model_copy(update={"anyway": True}), **more))
        finally:
            lock.release(project)
    return record.needed(project, step.result)


def run_all(project: Project, settings: FlowSettings, steps: Iterable[Step]) -> int:
    """Run the steps in order, skipping what is done; return how many did work."""
    worked = 0
    for step in steps:
        if stamps.is_done(project, step, settings):
            print(f"{step.name}: done already, nothing it reads has changed", flush=True)
            continue
        print(f"{step.name}: running ...", flush=True)
        began = time.monotonic()
        written = run_step(project, step, settings)
        worked += 1
        print(f"{step.name}: done in {time.monotonic() - began:.0f} s", flush=True)
        for criterion in written.criteria:
            print(f"    {criterion}", flush=True)
        print(f"    {written.results['sentence']}", flush=True)
    return worked
