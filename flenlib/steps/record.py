"""What a step leaves behind besides pictures: one JSON file of what it was told, what it ran on, what came out."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel

from flenlib.dataset.files import write_atomic
from flenlib.project import ROOT, Project

PACKAGES = ("flenwheel", "torch", "diffusers", "transformers", "peft", "accelerate", "face_recognition", "papermill")


@dataclass(frozen=True)
class Criterion:
    """One success criterion of a step: what was asked, whether it holds, and the figure behind it."""

    name: str
    holds: bool
    found: str

    def __str__(self) -> str:
        return f"{'holds' if self.holds else 'DOES NOT HOLD'}: {self.name} ({self.found})"


def criteria_table(criteria: Sequence[Criterion]) -> pd.DataFrame:
    """Return the criteria as a table to look at: criterion, found, holds."""
    rows = [{"criterion": c.name, "found": c.found, "holds": "yes" if c.holds else "NO"} for c in criteria]
    return pd.DataFrame(rows, columns=["criterion", "found", "holds"]).set_index("criterion")


def show_whole_tables() -> None:
    """Have pandas show every table whole, here and in notebooks: by itself it cuts text at 50 characters."""
    pd.set_option("display.max_colwidth", None, "display.max_columns", None, "display.max_rows", 200)


def run_file(project: Project, step: str) -> Path:
    """Return where a step's record is written, such as ``outputs/maya/v1/12_enrich.run.json``."""
    return project.outputs / f"{step}.run.json"


def read(project: Project, step: str) -> dict[str, Any] | None:
    """Return a step's record, or None when it has not finished (or its file is damaged)."""
    try:
        return json.loads(run_file(project, step).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None


class Clock:
    """Started in a notebook's second cell, finished in its last: what lies between is the run, its tables whole."""

    def __init__(self, project: Project, step: str, **sections: BaseModel) -> None:
        self.project, self.step, self.sections = project, step, sections
        self.began = time.monotonic()
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        show_whole_tables()

    def finish(
        self, results: dict[str, Any], criteria: Sequence[Criterion] = (), models: dict[str, Any] | None = None
    ) -> Path:
        """Write the record atomically and return its path; a step without one has not finished."""
        record = {
            "step": self.step,
            "character": self.project.character.model_dump(),
            "iteration": self.project.iteration,
            "parameters": {name: section.model_dump() for name, section in self.sections.items()},
            "results": results,
            "criteria": [asdict(c) for c in criteria],
            "models": models or {},
            "started": self.started,
            "seconds": round(time.monotonic() - self.began, 1),
            "peak_memory_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
            "machine": _machine(),
            "versions": {name: _version(name) for name in PACKAGES} | {"python": platform.python_version()},
            "commit": _commit(),
        }
        path = run_file(self.project, self.step)
        write_json(path, record)
        return path


def write_json(path: Path, content: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half of it."""
    write_atomic(path, json.dumps(content, indent=1, ensure_ascii=False, default=_plain).encode())


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)


def _machine() -> dict[str, Any]:
    machine = {"system": platform.platform(), "cores": os.cpu_count(), "device": "cpu"}
    torch = sys.modules.get("torch")  # a step that never used torch does not pay for importing it here
    if torch is not None and torch.cuda.is_available():
        machine["device"] = torch.cuda.get_device_name()
        machine["peak_gpu_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    return machine


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    answer = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "not a git checkout"
