"""What the wheel's steps read and make, each with a digest: a step is done while these stay as they were."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flenlib.dataset import triplets
from flenlib.dataset.journal import Journal
from flenlib.dataset.label_folders import FOLDERS
from flenlib.dataset.records import Dataset, ImageRecord
from flenlib.models import shipped
from flenlib.params import Iteration
from flenlib.project import Project, from_base
from flenlib.steps import Artifact, record
from flenlib.wheel.results import RetrainAndCompare

VIEWS: dict[str, Callable[[ImageRecord], tuple[Any, ...]]] = {
    "pictures": lambda r: (r.caption, r.angle, r.expression, r.attributes, r.held_out),
    "measurements": lambda r: (r.attributes, r.measurements),
    "labels": lambda r: (r.caption, (r.label or {}).get("label")),
    "review": lambda r: (r.angle, r.expression, r.attributes, r.measurements, (r.label or {}).get("reasons")),
}
"""Parts of a dataset's records that a step may look at."""


def records(stage: str, view: str) -> Artifact:
    """Return a dataset of this iteration as one of `VIEWS` sees it; None when a picture of it is gone.

    Raises KeyError for an unknown view.
    """
    look = VIEWS[view]

    def digest(project: Project, settings: Iteration) -> Any:
        folder = project.data(stage)
        if not (folder / "metadata.json").is_file():
            return None
        dataset = Dataset.open(folder)
        if not all(dataset.path(each).is_file() for each in dataset.images):
            return None
        return [(each.filename, each.sha256, *look(each)) for each in dataset.images]

    return Artifact(f"`{stage}/`", digest)


def decisions(stage: str) -> Artifact:
    """Return what people decided on a dataset; what a policy or a file says is no input."""
    return Artifact(f"people's labels in `{stage}/`", lambda project, settings: _decided(project.data(stage)))


def label_folders(stage: str) -> Artifact:
    """Return which picture lies in which of a dataset's label folders."""

    def digest(project: Project, settings: Iteration) -> Any:
        folder = project.data(stage)
        places = [(name, path) for name in FOLDERS.values() for path in (folder / name).glob("*")]
        return sorted(f"{name}/{path.name}" for name, path in places if path.name[0] != ".")

    return Artifact("label folders", digest)


def labels_file(section: str) -> Artifact:
    """Return the labels file that a section of the settings names."""

    def digest(project: Project, settings: Iteration) -> Any:
        file = getattr(settings, section).file
        return _hash(from_base(file)) if file else ""

    return Artifact(f"labels file of `{section}`", digest, listed=False)


def weights(*fields: str) -> Artifact:
    """Return the local weights that fields of the settings name, such as ``models.generator``."""

    def digest(project: Project, settings: Iteration) -> Any:
        found = []
        for section, _, field in (path.partition(".") for path in fields):
            value = getattr(getattr(settings, section), field)
            found += [_weights(name) for name in ([value] if isinstance(value, str) else value)]
        return found

    return Artifact("weights of " + ", ".join(f"`{field}`" for field in fields), digest, listed=False)


def _raw(project: Project, settings: Iteration) -> Any:
    return _listing(from_base(settings.curate.folder), "*") if settings.curate.folder else []


def _corrected(project: Project, settings: Iteration) -> Any:
    found = Journal(project.data("enriched") / "journal.jsonl").decisions().values()
    return [(d.filename, d.issue, d.prompt, d.corrected) for d in found if d.issue or d.prompt or d.corrected]


def _adopted(project: Project, settings: Iteration) -> Any:
    before = project.before()
    if before is None or "adopted" not in settings.models.editor_loras:
        return ""
    return (_hash(before.adopted_editor), _hash(before.editor_lora))


def _ship(project: Project, settings: Iteration | None = None) -> str | None:
    compared = record.result(project, RetrainAndCompare)
    return compared.ship if compared else None


def _inherited(project: Project, settings: Iteration) -> Any:
    """Return the pristine pictures that earlier iterations hand on, and whether these iterations shipped."""
    found, before = [], project.before()
    while before is not None:
        found.append((_hash(before.data("pristine") / "metadata.json"), _ship(before)))
        before = None if settings.guards.previous_only else before.before()
    return found


def _earlier_triplets(project: Project, settings: Iteration) -> Any:
    before = project.before()
    return _hash(before.data("corrections") / triplets.FILE) if before and settings.corrections.earlier else ""


def _given_pairs(project: Project, settings: Iteration) -> Any:
    pairs = settings.corrections.pairs
    given = [folder for pair in pairs for folder in ([pair] if isinstance(pair, str) else pair.values())]
    return [_listing(from_base(folder), "**/*") for folder in given]


def _triplets(project: Project, settings: Iteration) -> Any:
    folder = project.data("corrections")
    if not (folder / triplets.FILE).is_file():
        return None
    pairs = triplets.read(folder, project.places)
    if not all(path.is_file() for pair in pairs for path in pair.paths(folder)):
        return None
    return [(p.source_sha256, p.edit_prompt, p.target_sha256, p.held_out) for p in pairs]


def _exported(project: Project, settings: Iteration) -> Any:
    folder = project.data("corrections") / "pairs"
    if not all((folder / layout).is_dir() for layout in settings.corrections.export):
        return None
    return [(each, [name for name, *_ in _listing(folder / each, "**/*")]) for each in settings.corrections.export]


RAW = Artifact("your folder", _raw)
SOURCES = records("source", "pictures")
EDITS = records("enriched", "measurements")
EDIT_DECISIONS = decisions("enriched")
EDIT_LABELS = records("enriched", "labels")
REVIEWED_EDITS = records("enriched", "review")
EDIT_FOLDERS = label_folders("enriched")
CORRECTED = Artifact("what reviewers corrected", _corrected, listed=False)
LORA = Artifact("`char_lora`", lambda project, settings: _hash(project.lora(project.iteration)))
REFINED = Artifact("refined LoRA", lambda project, settings: _hash(project.lora(f"{project.iteration}_refined")))
SHIP = Artifact("the LoRA to use", _ship, listed=False)
DRAWN = records("synthetic", "pictures")
MEASURED = records("synthetic", "measurements")
PICKS = decisions("synthetic")
PICK_LABELS = records("synthetic", "labels")
PICK_FOLDERS = label_folders("synthetic")
PRISTINE = records("pristine", "pictures")
INHERITED = Artifact("earlier `pristine/`", _inherited)
TRIPLETS = Artifact("triplets", _triplets)
EXPORTED = Artifact("pairs for other trainers", _exported, listed=False)
EARLIER_TRIPLETS = Artifact("earlier triplets", _earlier_triplets)
GIVEN_PAIRS = Artifact("imported pairs", _given_pairs, listed=False)
TRIED = Artifact(
    "people's picks among tries", lambda project, settings: _decided(project.data("corrections") / "tries")
)
EDITOR_LORA = Artifact("editor LoRA", lambda project, settings: _hash(project.editor_lora))
ADOPTED = Artifact("adopted editor", _adopted)
CHOICE = Artifact("`editor.json`", lambda project, settings: _hash(project.adopted_editor))


def _decided(folder: Path) -> list[Any]:
    found = Journal(folder / "journal.jsonl").decisions().values()
    return [(d.filename, d.label, d.reasons, d.sha256) for d in found if d.reviewer == "human"]


def _listing(folder: Path, pattern: str) -> list[tuple[str, int, int]]:
    """Return name, size and time of change of the files in a folder; none where it does not exist."""
    files = [path for path in sorted(folder.glob(pattern)) if path.is_file()]
    return [(path.relative_to(folder).as_posix(), path.stat().st_size, path.stat().st_mtime_ns) for path in files]


def _weights(name: str) -> Any:
    """Return what tells one set of local weights from another: names, sizes and the first MiB of each file."""
    file = name.rpartition("=")[2]
    path = shipped.WEIGHTS / name if name in shipped.NAMES else from_base(file.rpartition(":")[0] or file)
    files = sorted(path.rglob("*.safetensors")) if path.is_dir() else [path] if path.is_file() else []
    found = []
    for each in files:
        with each.open("rb") as opened:
            found.append((each.name, each.stat().st_size, hashlib.sha256(opened.read(2**20)).hexdigest()))
    return found


def _hash(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
