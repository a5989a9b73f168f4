"""Execute the notebooks of one iteration with papermill: in order, skipping what is done, going on where a run stopped.

    python -m flenlib.run iterate params/mini/v1.yaml
    python -m flenlib.run step 12 params/mini/v1.yaml
    python -m flenlib.run report params/mini/v1.yaml

A step is done when its own record stands (``outputs/<character>/<iteration>/NN_step.run.json``) and nothing it read
has changed since: its notebook, its parameters, and the part of the data it looks at. Exit code 1 means a person has
something to do (a review waits, an input is wrong); the sentence printed says what.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from filelock import FileLock, Timeout

from flenlib import params, record
from flenlib.dataset.journal import Journal
from flenlib.dataset.records import Dataset
from flenlib.project import ROOT, Project, open_iteration

NOTEBOOKS = ROOT / "notebooks"


@dataclass(frozen=True)
class Step:
    """One numbered notebook: the sections it is told, and what it reads, as (stage, aspect)."""

    name: str
    sections: tuple[str, ...]
    reads: tuple[tuple[str, str], ...] = ()

    @property
    def number(self) -> int:
        """The number the notebook's name starts with."""
        return int(self.name.split("_")[0])


STEPS = (
    Step("00_check_machine", ("models",)),
    Step("11_curate_source", ("curate",), (("raw", "folder"),)),
    Step("12_enrich", ("models", "enrich"), (("source", "pictures"),)),
    Step("13_review_enriched", ("review_enriched",), (("enriched", "measurements"), ("enriched", "journal"))),
    Step("14_train_character", ("models", "train"), (("source", "pictures"), ("enriched", "labels"))),
    Step("15_generate_synthetic", ("models", "generate"), (("lora", "this"),)),
    Step("16_filter_identity", ("filter",), (("source", "pictures"), ("synthetic", "pictures"))),
    Step("17_review_synthetic", ("review_synthetic",), (("synthetic", "measurements"), ("synthetic", "journal"))),
    Step(
        "18_retrain_and_compare",
        ("models", "retrain", "card"),
        (("source", "pictures"), ("enriched", "labels"), ("pristine", "pictures"), ("lora", "this")),
    ),
    Step("31_model_card", ("models", "card"), (("lora", "this"), ("lora", "next"))),
)


class StepFailed(RuntimeError):
    """A notebook stopped: the sentence says which, why, and what to do."""


def find_step(number: str | int) -> Step:
    """Return the step of a number such as 12. Raises ValueError naming the numbers there are."""
    for step in STEPS:
        if str(number).split("_")[0].zfill(2) == f"{step.number:02d}":
            return step
    raise ValueError(f"there is no step {number!r}; steps are {', '.join(f'{s.number:02d}' for s in STEPS)}")


def next_version(iteration: str) -> str:
    """Return the version after one: v1 -> v2."""
    return f"v{int(iteration[1:]) + 1}"


def fingerprint(house: Project, step: Step, told: params.Iteration) -> str:
    """Return a hash of all a step depends on: its notebook's source, its parameters, and the data it reads."""
    notebook = nbformat.read(NOTEBOOKS / f"{step.name}.ipynb", as_version=4)
    parts: list[Any] = [cell.source for cell in notebook.cells]
    parts.append(told.character.model_dump())
    parts += [getattr(told, name).model_dump() for name in step.sections]
    parts += [_digest(house, told, stage, aspect) for stage, aspect in step.reads]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _digest(house: Project, told: params.Iteration, stage: str, aspect: str) -> Any:
    if stage == "lora":
        version = house.iteration if aspect == "this" else next_version(house.iteration)
        path = house.lora(version)
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
    if aspect == "folder":
        folder = Path(told.curate.folder)
        files = sorted(folder.rglob("*")) if told.curate.folder and folder.is_dir() else []
        return [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files if p.is_file()]
    folder = house.data(stage)
    if aspect == "journal":
        path = folder / "journal.jsonl"
        return {name: (d.label, d.reasons) for name, d in Journal(path).decisions().items()} if path.is_file() else {}
    if not (folder / "metadata.json").is_file():
        return None
    views = {
        "pictures": lambda r: (r.filename, r.sha256, r.caption, r.held_out),
        "measurements": lambda r: (r.filename, r.sha256, r.measurements),
        "labels": lambda r: (r.filename, r.sha256, r.caption, (r.label or {}).get("label")),
    }
    return [views[aspect](r) for r in Dataset.open(folder).images]


def is_done(house: Project, step: Step, told: params.Iteration) -> bool:
    """Say whether a step's record stands and nothing it read has changed since."""
    written = record.read(house, step.name)
    return bool(written) and written.get("fingerprint") == fingerprint(house, step, told)


def run_step(house: Project, step: Step, told: params.Iteration) -> dict[str, Any]:
    """Execute one notebook into the iteration's outputs and return its record.

    Raises StepFailed with one sentence when a cell fails, a review waits, or the notebook ends without its record.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    source, target = NOTEBOOKS / f"{step.name}.ipynb", house.outputs / f"{step.name}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    record.run_file(house, step.name).unlink(missing_ok=True)
    values = {"character": told.character.model_dump(), "iteration": told.iteration}
    values |= {name: getattr(told, name).model_dump() for name in step.sections}
    try:
        papermill.execute_notebook(
            source,
            target,
            values,
            cwd=str(ROOT),
            progress_bar=sys.stderr.isatty(),
            extra_arguments=["--log-level=ERROR"],
        )
    except PapermillExecutionError as error:
        raise StepFailed(f"{step.name}: {error.evalue or error.ename}") from None
    written = record.read(house, step.name)
    if written is None:  # papermill reports a killed kernel or sys.exit(0) as completed
        raise StepFailed(f"{step.name} ended without its record; open {target} to see where it stopped, then run again")
    written["fingerprint"] = fingerprint(house, step, told)
    record.write_json(record.run_file(house, step.name), written)
    return written


def run_all(house: Project, told: params.Iteration, steps: tuple[Step, ...] = STEPS) -> int:
    """Run the steps in order, skipping what is done; return how many did work."""
    worked = 0
    for step in steps:
        if is_done(house, step, told):
            print(f"{step.name}: done already, nothing it reads has changed", flush=True)
            continue
        print(f"{step.name}: running ...", flush=True)
        began = time.monotonic()
        written = run_step(house, step, told)
        worked += 1
        print(f"{step.name}: done in {time.monotonic() - began:.0f} s", flush=True)
        for criterion in written["criteria"]:
            print(f"    {record.Criterion(**criterion)}", flush=True)
        if "sentence" in written["results"]:
            print(f"    {written['results']['sentence']}", flush=True)
    return worked


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flenlib.run", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("iterate", help="run all steps").add_argument("params")
    one = commands.add_parser("step", help="run one step, even when it is done")
    one.add_argument("number")
    one.add_argument("params")
    commands.add_parser("report", help="print the summary and write the HTML page").add_argument("params")
    told_to = parser.parse_args(arguments)
    try:
        told = params.load(told_to.params)
        house = open_iteration(told.character, told.iteration)
        return _run(told_to, house, told)
    except (StepFailed, ValueError, FileNotFoundError, PermissionError) as error:
        print(error, file=sys.stderr)
        return 1


def _run(told_to: argparse.Namespace, house: Project, told: params.Iteration) -> int:
    if told_to.command == "report":
        from flenlib import report

        print(report.summary(house))
        print(f"\nThe whole iteration with its pictures: {report.write_html(house)}")
        return 0
    house.outputs.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(house.outputs / ".lock", timeout=0):
            if told_to.command == "step":
                step = find_step(told_to.number)
                record.run_file(house, step.name).unlink(missing_ok=True)
                run_all(house, told, (step,))
            elif not run_all(house, told):
                print(f"{house.character.name} {house.iteration}: every step is done; there was nothing to do")
    except Timeout:
        raise StepFailed(f"another run is working in {house.outputs}; wait for it to end") from None
    return 0


if __name__ == "__main__":
    sys.exit(main())
