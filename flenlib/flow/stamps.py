"""What a step depends on and what it made, as hashes: a step is done as long as neither changes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import nbformat

from flenlib import params
from flenlib.dataset import triplets
from flenlib.dataset.journal import Journal
from flenlib.dataset.label_folders import FOLDERS
from flenlib.dataset.records import Dataset
from flenlib.flow.steps import Step
from flenlib.models import shipped
from flenlib.project import ROOT, Project
from flenlib.steps import record

NOTEBOOKS = ROOT / "notebooks"


def inputs(project: Project, step: Step, settings: params.Iteration) -> str:
    """Return a hash of all a step depends on: its notebook's source, its parameters and models, the data it reads."""
    notebook = nbformat.read(NOTEBOOKS / f"{step.name}.ipynb", as_version=4)
    parts: list[Any] = [cell.source for cell in notebook.cells]
    parts.append(settings.character.model_dump())
    sections = [getattr(settings, name) for name in step.sections]
    parts += [section.model_dump() for section in sections]
    parts += [_hash(ROOT / section.file) for section in sections if getattr(section, "file", "")]
    if "models" in step.sections:
        models = settings.models
        names = (models.generator, models.editor, *models.generator_loras, *models.editor_loras)
        parts += [_weights(name) for name in names]
    if "compare_editors" in step.sections:
        parts += [_weights(name) for name in settings.compare_editors.community]
    parts += [_digest(project, settings, stage, aspect) for stage, aspect in step.reads]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def made(project: Project, step: Step, settings: params.Iteration) -> str | None:
    """Return a hash of what a step made, or None when some of it is not there."""
    parts = [_digest(project, settings, stage, aspect) for stage, aspect in step.makes]
    if any(part is None for part in parts):
        return None
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _weights(name: str) -> Any:
    """Return what tells one set of local weights from another: names, sizes and the first MiB of each file."""
    file = name.rpartition("=")[2]
    path = shipped.WEIGHTS / name if name in shipped.NAMES else Path(file.rpartition(":")[0] or file).expanduser()
    files = sorted(path.rglob("*.safetensors")) if path.is_dir() else [path] if path.is_file() else []
    found = []
    for file in files:
        with file.open("rb") as opened:
            found.append((file.name, file.stat().st_size, hashlib.sha256(opened.read(2**20)).hexdigest()))
    return found


def _digest(project: Project, settings: params.Iteration, stage: str, aspect: str) -> Any:
    """Return one aspect of a stage in a form that can be compared; None when it is not there."""
    if stage == "lora":
        if aspect == "ship":
            return _ship(project)
        return _hash(project.lora(project.iteration if aspect == "this" else f"{project.iteration}_refined"))
    if stage == "editor":
        return _editor_digest(project, settings, aspect)
    if aspect == "earlier":
        return _earlier(project, stage)
    if stage == "corrections":
        return _corrections(project, settings.corrections, aspect)
    if aspect == "folder":
        return _listing(ROOT / settings.curate.folder, "*") if settings.curate.folder else []
    folder = project.data(stage)
    if aspect == "corrected":  # what the second wheel corrects by
        decisions = Journal(folder / "journal.jsonl").decisions().values()
        return [(d.filename, d.issue, d.prompt, d.corrected) for d in decisions if d.issue or d.prompt or d.corrected]
    if aspect == "decisions":
        return _decisions(folder)
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


def _listing(folder: Path, pattern: str) -> list[tuple[str, int, int]]:
    """Return name, size and time of change of the files in a folder; none where it does not exist."""
    files = [path for path in sorted(folder.glob(pattern)) if path.is_file()]
    return [(path.relative_to(folder).as_posix(), path.stat().st_size, path.stat().st_mtime_ns) for path in files]


def _decisions(folder: Path) -> list[Any]:
    """Return what people decided; what a step itself writes into the journal is no input of it."""
    decisions = Journal(folder / "journal.jsonl").decisions().values()
    return [(d.filename, d.label, d.reasons, d.sha256) for d in decisions if d.reviewer == "human"]


def _hash(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _editor_digest(project: Project, settings: params.Iteration, aspect: str) -> Any:
    """Return the editor LoRA of this iteration, its choice, or what it adopts from the one before ("" when nothing)."""
    if aspect != "adopted":
        return _hash(project.editor_lora if aspect == "this" else project.adopted_editor)
    before = project.before()
    if before is None or "adopted" not in settings.models.editor_loras:
        return ""
    return (_hash(before.adopted_editor), _hash(before.editor_lora))


def _ship(project: Project) -> str | None:
    """Return which LoRA step 1.8 says to use, None before it."""
    compared = record.read(project, "18_retrain_and_compare")
    return compared["results"].get("ship") if compared else None


def _earlier(project: Project, stage: str) -> Any:
    """Return what earlier iterations hand down: their triplets, or their pristine pictures and whether they shipped."""
    found, before = [], project.before()
    while before is not None:
        if stage == "corrections":
            found.append(_hash(before.data(stage) / "triplets.json"))
        else:
            found.append((_hash(before.data(stage) / "metadata.json"), _ship(before)))
        before = before.before()
    return found


def _corrections(project: Project, settings: params.Corrections, aspect: str) -> Any:
    """Return one aspect of step 2.1's pairs: imported, tried (by people), exported, or the triplets themselves.

    None when there are no triplets or a picture of one is gone, or an export is not there.
    """
    folder = project.data("corrections")
    if aspect == "imported":
        given = [path for pair in settings.pairs for path in ([pair] if isinstance(pair, str) else pair.values())]
        return [_listing(project.root / path, "**/*") for path in given]
    if aspect == "tried":
        return _decisions(folder / "tries")
    if aspect == "exported":
        found = {layout: folder / "pairs" / layout for layout in settings.export}
        if not all(path.is_dir() for path in found.values()):
            return None
        return [(layout, [name for name, *_ in _listing(path, "**/*")]) for layout, path in found.items()]
    if not (folder / triplets.FILE).is_file():
        return None
    pairs = triplets.read(folder)
    if not all(path.is_file() for pair in pairs for path in pair.paths(folder)):
        return None
    return [(p.source_sha256, p.edit_prompt, p.target_sha256, p.held_out) for p in pairs]
