"""Execute the notebooks of one iteration with papermill: in order, skipping what is done, going on where a run stopped.

    python -m flenlib.flow.run iterate params/mini/v1.yaml
    python -m flenlib.flow.run step 12 params/mini/v1.yaml
    python -m flenlib.flow.run report params/mini/v1.yaml

A step is done when its own record stands (``outputs/<character>/<iteration>/NN_step.run.json``), nothing it read has
changed since (its notebook, its parameters, its models, the part of the data it looks at), and what it made is still
there. Exit code 1 means a person has
something to do (a review waits, an input is wrong); the sentence printed says what.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from filelock import FileLock, Timeout

from flenlib import params
from flenlib.flow.stamps import NOTEBOOKS, inputs, made
from flenlib.flow.steps import STEPS, Step, find_step, steps_of
from flenlib.project import ROOT, Project, open_iteration
from flenlib.steps import record


class StepFailed(RuntimeError):
    """A notebook stopped: the sentence says which, why, and what to do."""


def is_done(project: Project, step: Step, settings: params.Iteration) -> bool:
    """Say whether a step's record stands, nothing it read has changed, and what it made is as it left it."""
    written = record.read(project, step.name)
    if not written or written.get("inputs") != inputs(project, step, settings):
        return False
    return written.get("made") is not None and written["made"] == made(project, step, settings)


def run_step(project: Project, step: Step, settings: params.Iteration) -> dict[str, Any]:
    """Execute one notebook into the iteration's outputs and return its record.

    Raises StepFailed with one sentence when a cell fails, a review waits, or the notebook ends without its record.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    source, target = NOTEBOOKS / f"{step.name}.ipynb", project.outputs / f"{step.name}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    record.run_file(project, step.name).unlink(missing_ok=True)
    before = inputs(project, step, settings)
    values = {"character": settings.character.model_dump(), "iteration": settings.iteration}
    values |= {name: getattr(settings, name).model_dump() for name in step.sections}
    try:
        papermill.execute_notebook(
            source,
            target,
            values,
            cwd=str(ROOT),
            progress_bar=sys.stderr.isatty(),
            extra_arguments=["--log-level=CRITICAL"],  # a kernel told to end reports the interrupt as an error
            store_widget_state=False,  # pictures inside widgets would be saved with the notebook
        )
    except PapermillExecutionError as error:
        raise StepFailed(f"{step.name}: {error.evalue or error.ename}") from None
    written = record.read(project, step.name)
    if written is None:  # papermill reports a killed kernel or sys.exit(0) as completed
        raise StepFailed(f"{step.name} ended without its record; open {target} to see where it stopped, then run again")
    written |= {"inputs": before, "made": made(project, step, settings)}
    record.write_json(record.run_file(project, step.name), written)
    return written


def run_all(project: Project, settings: params.Iteration, steps: tuple[Step, ...] = STEPS) -> int:
    """Run the steps in order, skipping what is done; return how many did work."""
    worked = 0
    for step in steps:
        if is_done(project, step, settings):
            print(f"{step.name}: done already, nothing it reads has changed", flush=True)
            continue
        print(f"{step.name}: running ...", flush=True)
        began = time.monotonic()
        written = run_step(project, step, settings)
        worked += 1
        print(f"{step.name}: done in {time.monotonic() - began:.0f} s", flush=True)
        for criterion in written["criteria"]:
            print(f"    {record.Criterion(**criterion)}", flush=True)
        if "sentence" in written["results"]:
            print(f"    {written['results']['sentence']}", flush=True)
    return worked


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flenlib.flow.run", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("iterate", help="run all steps").add_argument("params")
    one = commands.add_parser("step", help="run one step, even when it is done")
    one.add_argument("number")
    one.add_argument("params")
    commands.add_parser("report", help="print the summary and write the HTML page").add_argument("params")
    options = parser.parse_args(arguments)
    try:
        settings = params.load(options.params)
        project = open_iteration(settings.character, settings.iteration)
        return _run(options, project, settings)
    except (StepFailed, ValueError, FileNotFoundError, PermissionError) as error:
        print(error, file=sys.stderr)
        return 1


def _run(options: argparse.Namespace, project: Project, settings: params.Iteration) -> int:
    if options.command == "report":
        from flenlib.flow import report

        names = [step.name for step in steps_of(settings)]
        print(report.summary(project, names))
        print(f"\nThe whole iteration with its pictures: {report.write_html(project, names)}")
        return 0
    project.outputs.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(project.outputs / ".lock", timeout=0):
            if options.command == "step":
                step = find_step(options.number)
                record.run_file(project, step.name).unlink(missing_ok=True)
                run_all(project, settings, (step,))
            elif not run_all(project, settings, steps_of(settings)):
                print(f"{project.character.name} {project.iteration}: every step is done; there was nothing to do")
    except Timeout:
        raise StepFailed(f"another run is working in {project.outputs}; wait for it to end") from None
    return 0


if __name__ == "__main__":
    sys.exit(main())
