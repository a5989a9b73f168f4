"""Run the wheel of one params file from the command line.

    python -m flenlib.flow iterate params/mini/v1.yaml
    python -m flenlib.flow step 12 params/mini/v1.yaml
    python -m flenlib.flow report params/mini/v1.yaml
    python -m flenlib.flow lab params/mini/v1.yaml -- --port 9999

Exit code 1 means that a person has something to do (a review waits, an input is wrong); the sentence says what.
130 means that it was stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys

from flenlib import params
from flenlib.flow import lock
from flenlib.flow.run import run_all
from flenlib.flow.wheel import WHEEL
from flenlib.models.settings import load_iteration
from flenlib.project import Project, open_iteration
from flenlib.steps import record


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flenlib.flow", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("iterate", help="run all steps").add_argument("params")
    one = commands.add_parser("step", help="run one step, even when it is done")
    one.add_argument("number")
    one.add_argument("params")
    commands.add_parser("report", help="print the summary and write the HTML page").add_argument("params")
    lab = commands.add_parser("lab", help="open the notebooks in JupyterLab, with these parameters")
    lab.add_argument("params")
    lab.add_argument("options", nargs="*", help="after --: options of JupyterLab, such as --port 9999")
    options = parser.parse_args(arguments)
    try:
        settings = load_iteration(options.params)
        project = open_iteration(settings.character, settings.iteration)
        if options.command == "report":
            _report(project, settings)
        elif options.command == "lab":
            _lab(project, settings, options.options)
        else:
            _run(project, settings, getattr(options, "number", None))
    except (RuntimeError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped: what is finished is kept, and the same command goes on from there", file=sys.stderr)
        return 130
    return 0


def _report(project: Project, settings: params.Iteration) -> None:
    from flenlib.flow import report

    steps = WHEEL.wanted(settings)
    print(report.summary(project, steps, WHEEL))
    print(f"\nThe whole iteration with its pictures: {report.write_html(project, steps, WHEEL)}")


def _lab(project: Project, settings: params.Iteration, options: list[str]) -> None:
    from flenlib.flow.lab import open_lab

    open_lab(project, settings, WHEEL, options)


def _run(project: Project, settings: params.Iteration, number: str | None) -> None:
    """Run one step, or without a number all that is not done, while nobody else works in this iteration."""
    with lock.held(project, f"make step N={number}" if number else "make iterate"):
        if number is not None:
            step = WHEEL.find(number)
            record.run_file(project, step.name).unlink(missing_ok=True)
            run_all(project, settings, [step])
        elif not run_all(project, settings, WHEEL.wanted(settings)):
            name = f"{project.character.name} {project.iteration}"
            print(f"{name}: every step is done; there was nothing to do")


if __name__ == "__main__":
    sys.exit(main())
