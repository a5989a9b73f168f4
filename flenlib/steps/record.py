"""The record a step leaves: one JSON file of its settings, what it ran on, and what came out."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from pydantic import BaseModel, ValidationError, field_validator

from flenlib.dataset.files import plain, write_json
from flenlib.project import ROOT, Project
from flenlib.steps.criteria import Criterion
from flenlib.steps.result import StepResult

PACKAGES = ("flenwheel", "torch", "diffusers", "transformers", "peft", "accelerate", "face_recognition", "papermill")

Result = TypeVar("Result", bound=StepResult)


class Record(BaseModel):
    """One run of a step: what it was given, what came out, on which machine, and the stamps that say it is done."""

    step: str
    character: dict[str, Any] = {}
    iteration: str = ""
    parameters: dict[str, Any] = {}
    results: dict[str, Any]
    criteria: tuple[Criterion, ...] = ()
    models: dict[str, Any] = {}
    inputs: str | None = None
    made: str | None = None
    started: str = ""
    seconds: float = 0.0
    peak_memory_gib: float = 0.0
    machine: dict[str, Any] = {}
    versions: dict[str, str] = {}
    commit: str = ""

    @field_validator("results")
    @classmethod
    def _has_sentence(cls, results: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(results.get("sentence"), str):
            raise ValueError("a result has a sentence")
        return results

    @property
    def blocked(self) -> bool:
        """Whether a blocking criterion does not hold."""
        return any(c.blocking and not c.holds for c in self.criteria)


def run_file(project: Project, step: str) -> Path:
    """Return where a step's record is written, such as ``outputs/maya/v1/12_enrich.run.json``."""
    return project.outputs / f"{step}.run.json"


def read(project: Project, step: str) -> Record | None:
    """Return a step's record, or None when it has not finished (or its file is damaged)."""
    try:
        return Record.model_validate_json(run_file(project, step).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def write(project: Project, result: StepResult, **facts: Any) -> Path:
    """Write a step's record atomically and return its path; ``facts`` are other fields of `Record`."""
    results = result.model_dump(mode="json", exclude={"criteria", "models"})
    record = Record(
        step=result.notebook,
        character=project.character.model_dump(),
        iteration=project.iteration,
        results=results,
        criteria=tuple(result.criteria),
        models=dict(result.models),
        peak_memory_gib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        machine=machine(),
        versions={name: _version(name) for name in PACKAGES} | {"python": platform.python_version()},
        commit=_commit(),
        **facts,
    )
    path = run_file(project, result.notebook)
    write_json(path, record.model_dump(mode="json", fallback=plain))
    return path


def result(project: Project, kind: type[Result]) -> Result | None:
    """Return what a step came to, as its own type; None when it has not finished in this form."""
    record = read(project, kind.notebook)
    if record is None:
        return None
    try:
        return kind(**record.results | {"criteria": record.criteria, "models": record.models})
    except ValidationError:  # of a version of the kit whose result had other fields
        return None


def needed(project: Project, kind: type[Result]) -> Result:
    """Return what a step came to.

    Raises FileNotFoundError naming the step when it has not finished, ValueError when its record is damaged.
    """
    found = result(project, kind)
    if found is None:
        where, path = f"{project.character.name} {project.iteration}", run_file(project, kind.notebook)
        if path.is_file():
            raise ValueError(f"{path} is damaged, or of another version; run {kind.notebook} of {where} again")
        raise FileNotFoundError(f"{kind.notebook} of {where} has not finished; run it first")
    return found


def show_whole_tables() -> None:
    """Have pandas show every table whole, here and in notebooks: by itself it cuts text at 50 characters."""
    pd.set_option("display.max_colwidth", None, "display.max_columns", None, "display.max_rows", 200)


def machine() -> dict[str, Any]:
    """Return what this process runs on: system, cores, device, and the most GPU memory it has taken."""
    found = {"system": platform.platform(), "cores": os.cpu_count(), "device": "cpu"}
    torch = sys.modules.get("torch")  # a step that never used torch does not pay for importing it here
    if torch is not None and torch.cuda.is_available():
        found["device"] = torch.cuda.get_device_name()
        found["peak_gpu_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    return found


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    answer = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "not a git checkout"
