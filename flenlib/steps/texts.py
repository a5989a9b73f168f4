"""What settings say in words: passed through the content gate before anything is opened, read or loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flenlib.content import allow
from flenlib.models.community import split_weight
from flenlib.params import FlowSettings, TrainRun

CHECKED = {
    "character.class_noun": "class noun",  # first: it is part of every other check
    "character.trigger": "trigger",
    "character.name": "name of the character",
    "models.generator_loras": "name of a LoRA",
    "models.editor_loras": "name of a LoRA",
    "compare_editors.community": "name of a LoRA",
    "captions.outfits": "tag of an outfit",
    "captions.body_tag": "tag",
    "prompts": "prompt",
    "output": "name of the LoRA",
}
"""The settings whose words reach a model or a LoRA, and what they are; those a flow does not have are passed over."""


def check(settings: FlowSettings | TrainRun) -> None:
    """Raise Refused, naming the setting, for words in it that may not be drawn or learnt of its character."""
    for path, what in CHECKED.items():
        for text in _given(settings, path):
            allow(settings.character, _name(text) if what.endswith("LoRA") else text, f"{what} ({path})")


def _given(settings: Any, path: str) -> Iterator[str]:
    for name in path.split("."):
        settings = getattr(settings, name, None)
    yield from [settings] if isinstance(settings, str) else settings or ()


def _name(text: str) -> str:
    """Return what a LoRA is called: a hub id in whole, of a path on this machine the last name, without the weight."""
    body, _ = split_weight(text.rpartition("=")[2])
    return Path(body).name if body.startswith(("/", ".", "~")) else body
