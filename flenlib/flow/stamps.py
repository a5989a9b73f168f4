"""Is a step done? Its stamps are hashes of what it depends on and of what it made; it is done while neither changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from flenlib.params import FlowSettings
from flenlib.project import Project
from flenlib.steps import Artifact, Step, record


def given(project: Project, step: Step, settings: FlowSettings) -> str:
    """Return a hash of what a step depends on as it begins: its recipe, the settings that act on it, what it reads."""
    who = settings.character
    parts = [step.recipe, who.name, who.trigger, who.class_noun, who.kind, step.acting(settings)]
    return _hash([*parts, *_digests(project, step.reads, settings)])


def inputs(project: Project, step: Step, settings: FlowSettings, begun: str = "") -> str:
    """Return a hash of all a step depends on: what it was ``given`` when it began, and what people decided since."""
    return _hash([begun or given(project, step, settings), *_digests(project, step.asks, settings)])


def made(project: Project, step: Step, settings: FlowSettings) -> str | None:
    """Return a hash of what a step made, or None when some of it is not there."""
    parts = _digests(project, step.makes, settings)
    return None if any(part is None for part in parts) else _hash(parts)


def is_done(project: Project, step: Step, settings: FlowSettings) -> bool:
    """Say whether a step's record stands, nothing it read has changed, and what it made is as it left it."""
    written = record.read(project, step.name)
    if written is None or (written.blocked and not settings.anyway):
        return False
    if written.inputs != inputs(project, step, settings):
        return False
    return written.made is not None and written.made == made(project, step, settings)


def _digests(project: Project, artifacts: Iterable[Artifact], settings: FlowSettings) -> list[Any]:
    return [artifact.digest(project, settings) for artifact in artifacts]


def _hash(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
