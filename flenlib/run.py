"""Execute the notebooks of one iteration with papermill: in order, skipping what is done, going on where a run stopped.

    python -m flenlib.run iterate params/mini/v1.yaml
    python -m flenlib.run step 12 params/mini/v1.yaml
    python -m flenlib.run report params/mini/v1.yaml

A step is done when its own record stands (``outputs/<character>/<iteration>/NN_step.run.json``), nothing it read has
changed since (its notebook, its parameters, its models, the part of the data it looks at), and what it made is still
there. Exit code 1 means a person has
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

from flenlib import mini, params, record
from flenlib.dataset.journal import Journal
from flenlib.dataset.label_folders import FOLDERS
from flenlib.dataset.records import Dataset
from flenlib.project import ROOT, Project, open_iteration

NOTEBOOKS = ROOT / "notebooks"


@dataclass(frozen=True)
class Step:
    """One numbered notebook: the sections it is told, and what it reads and makes, as (stage, aspect)."""

    name: str
    sections: tuple[str, ...]
    reads: tuple[tuple[str, str], ...] = ()
    makes: tuple[tuple[str, str], ...] = ()

    @property
    def number(self) -> int:
        """The number the notebook's name starts with."""
        return int(self.name.split("_")[0])


SOURCES = ("source", "pictures")
STEPS = (
    Step("00_check_machine", ("models",)),
    Step("11_curate_source", ("curate",), (("raw", "folder"),), (SOURCES,)),
    Step("12_enrich", ("models", "enrich"), (SOURCES,), (("enriched", "measurements"),)),
    Step(
        "13_review_enriched",
        ("review_enriched",),
        (("enriched", "measurements"), ("enriched", "decisions")),
        (("enriched", "labels"), ("enriched", "folders")),
    ),
    Step("14_train_character", ("models", "train"), (SOURCES, ("enriched", "labels")), (("lora", "this"),)),
    Step("15_generate_synthetic", ("models", "generate"), (("lora", "this"),), (("synthetic", "pictures"),)),
    Step("16_filter_identity", ("filter",), (SOURCES, ("synthetic", "pictures")), (("synthetic", "measurements"),)),
    Step(
        "17_review_synthetic",
        ("review_synthetic",),
        (SOURCES, ("enriched", "labels"), ("synthetic", "measurements"), ("synthetic", "decisions")),
        (("synthetic", "labels"), ("synthetic", "folders"), ("pristine", "pictures")),
    ),
    Step(
        "18_retrain_and_compare",
        ("models", "retrain", "card"),
        (SOURCES, ("enriched", "labels"), ("pristine", "pictures"), ("lora", "this")),
        (("lora", "next"),),
    ),
    Step("31_model_card", ("models", "card"), (SOURCES, ("lora", "this"), ("lora", "next"))),
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


def inputs(house: Project, step: Step, told: params.Iteration) -> str:
    """Return a hash of all a step depends on: its notebook's source, its parameters and models, the data it reads."""
    notebook = nbformat.read(NOTEBOOKS / f"{step.name}.ipynb", as_version=4)
    parts: list[Any] = [cell.source for cell in notebook.cells]
    parts.append(told.character.model_dump())
    parts += [getattr(told, name).model_dump() for name in step.sections]
    if "models" in step.sections:
        models = told.models
        names = (models.generator, models.editor, *models.generator_loras, *models.editor_loras)
        parts += [_weights(name) for name in names]
    parts += [_digest(house, told, stage, aspect) for stage, aspect in step.reads]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def made(house: Project, step: Step, told: params.Iteration) -> str | None:
    """Return a hash of what a step made, or None when some of it is not there."""
    parts = [_digest(house, told, stage, aspect) for stage, aspect in step.makes]
    if any(part is None for part in parts):
        return None
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _weights(name: str) -> Any:
    """Return what tells one set of local weights from another: names, sizes and the first MiB of each file."""
    path = mini.WEIGHTS / name if name in mini.NAMES else Path(name.rpartition(":")[0] or name).expanduser()
    files = sorted(path.rglob("*.safetensors")) if path.is_dir() else [path] if path.is_file() else []
    found = []
    for file in files:
        with file.open("rb") as opened:
            found.append((file.name, file.stat().st_size, hashlib.sha256(opened.read(2**20)).hexdigest()))
    return found


def _digest(house: Project, told: params.Iteration, stage: str, aspect: str) -> Any:
    """Return one aspect of a stage in a form that can be compared; None when it is not there."""
    if stage == "lora":
        path = house.lora(house.iteration if aspect == "this" else next_version(house.iteration))
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
    if aspect == "folder":
        folder = ROOT / told.curate.folder
        files = sorted(folder.glob("*")) if told.curate.folder and folder.is_dir() else []
        return [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files if p.is_file()]
    folder = house.data(stage)
    if aspect == "decisions":  # by people; what the step itself writes into the journal is no input of it
        decisions = Journal(folder / "journal.jsonl").decisions().values()
        return [(d.filename, d.label, d.reasons, d.sha256) for d in decisions if d.reviewer == "human"]
    if aspect == "folders":
        return sorted(
            f"{name}/{p.name}" for name in FOLDERS.values() for p in (folder / name).glob("*") if p.name[0] != "."
        )
    if not (folder / "metadata.json").is_file():
        return None
    views = {
        "pictures": lambda r: (r.caption, r.angle, r.expression, r.attributes, r.held_out),
        "measurements": lambda r: (r.attributes, r.measurements),
        "labels": lambda r: (r.caption, (r.label or {}).get("label")),
    }
    dataset = Dataset.open(folder)
    if not all(dataset.path(record).is_file() for record in dataset.images):
        return None
    return [(r.filename, r.sha256, *views[aspect](r)) for r in dataset.images]


def is_done(house: Project, step: Step, told: params.Iteration) -> bool:
    """Say whether a step's record stands, nothing it read has changed, and what it made is as it left it."""
    written = record.read(house, step.name)
    if not written or written.get("inputs") != inputs(house, step, told):
        return False
    return written.get("made") is not None and written["made"] == made(house, step, told)


def run_step(house: Project, step: Step, told: params.Iteration) -> dict[str, Any]:
    """Execute one notebook into the iteration's outputs and return its record.

    Raises StepFailed with one sentence when a cell fails, a review waits, or the notebook ends without its record.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    source, target = NOTEBOOKS / f"{step.name}.ipynb", house.outputs / f"{step.name}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    record.run_file(house, step.name).unlink(missing_ok=True)
    before = inputs(house, step, told)
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
            store_widget_state=False,  # pictures inside widgets would be saved with the notebook
        )
    except PapermillExecutionError as error:
        raise StepFailed(f"{step.name}: {error.evalue or error.ename}") from None
    written = record.read(house, step.name)
    if written is None:  # papermill reports a killed kernel or sys.exit(0) as completed
        raise StepFailed(f"{step.name} ended without its record; open {target} to see where it stopped, then run again")
    written |= {"inputs": before, "made": made(house, step, told)}
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

        names = [step.name for step in STEPS]
        print(report.summary(house, names))
        print(f"\nThe whole iteration with its pictures: {report.write_html(house, names)}")
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
