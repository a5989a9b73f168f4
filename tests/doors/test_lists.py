"""Free texts of settings, commands, and who makes an allowed text are listed: a new one that is not fails here."""

import ast
from typing import get_args

import pytest
from pydantic import BaseModel

from flenlib import params
from flenlib.models.families import FAMILIES
from flenlib.models.families.base import Family
from flenlib.params import Iteration, TrainRun
from flenlib.project import ROOT
from flenlib.steps import texts
from tests.doors.common import ADULT

NOT_TEXTS = {
    "character.consent": "a statement kept in pictures; no model sees it",
    "character.second_opinion": "which classifier is asked, and its labels",
    "models.generator": "which model; its words are not encoded",
    "models.editor": "which model; its words are not encoded",
    "models.device": "a device, by a pattern",
    "iteration": "a folder, by a pattern",
    "captions.captioner": "which model; its words are not encoded",
    "curate.folder": "a folder; what lies in it is checked as it is imported (step 11)",
    "review_enriched.person": "who labels",
    "review_enriched.file": "a file of labels and reasons, which no model sees",
    "review_synthetic.person": "who labels",
    "review_synthetic.file": "a file of labels and reasons, which no model sees",
    "corrections.file": "a file of labels and reasons, which no model sees",
    "corrections.pictures": "folders of pictures",
    "corrections.pairs": "folders; the instructions in them are checked as they are imported (step 21)",
    "compare_editors.adopt": "the name of an editor that was compared",
    "train.targets": "names of layers", "retrain.targets": "names of layers", "train_editor.targets": "names of layers",
    "train.phases.kinds": "kinds of samples", "retrain.phases.kinds": "kinds of samples",
    "train_editor.phases.kinds": "kinds of samples",
    "model": "which model; its words are not encoded",
    "device": "a device, by a pattern",
    "data": "folders; the captions in them are checked as they are read",
    "held_out": "folders; the captions in them are checked as they are read",
    "prior": "folders; the captions in them are checked as they are read",
    "masks": "a folder of pictures",
    "references": "paths of pictures",
}  # fmt: skip
"""The free texts of params files that reach no model and no LoRA, and why."""

COMMANDS = {
    "flenlib.flow": "checked below",
    "flenlib.train": "checked below",
    "flenlib.flow.clean": "takes outputs out of notebooks",
    "flenlib.params": "prints settings",
    "flenlib.predict": "prints hours and money",
    "flenlib.export.kohya": "renames the layers of a LoRA",
    "flenlib.mini.build": "trains the mini studio on the renderer's own grammar",
    "flenlib.content": "the gate itself",
}
"""Everything ``python -m`` starts, and what becomes of texts there."""


def free_texts(section, prefix=""):
    """Yield the dotted names of a section's fields that hold text of any wording."""
    for name, field in section.model_fields.items():
        inner = [field.annotation, *_within(field.annotation)]
        sections = [each for each in inner if isinstance(each, type) and issubclass(each, BaseModel)]
        for each in sections:
            yield from free_texts(each, f"{prefix}{name}.")
        if str in inner and not sections:
            yield prefix + name


def _within(annotation):
    for each in get_args(annotation):
        yield each
        yield from _within(each)


def test_every_free_text_of_the_settings_is_checked_or_listed_with_why_it_need_not_be():
    found = {*free_texts(Iteration), *free_texts(TrainRun)}
    assert texts.CHECKED.keys() <= found and not texts.CHECKED.keys() & NOT_TEXTS.keys()
    listed = texts.CHECKED.keys() | NOT_TEXTS.keys()
    assert {name for name in found if not any(name == each or name.startswith(f"{each}.") for each in listed)} == set()


def test_every_command_is_listed():
    started = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
        for path in (ROOT / "flenlib").rglob("*.py")
        if '\nif __name__ == "__main__":' in path.read_text()
    ]
    assert set(started) <= COMMANDS.keys()


def test_no_family_goes_round_the_gate_and_nobody_else_makes_what_it_returns():
    assert all(family.encode is Family.encode and family.sample is Family.sample for family in FAMILIES.values())
    makers, encoders = set(), set()
    for path in (ROOT / "flenlib").rglob("*.py"):
        for node in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            place = path.relative_to(ROOT / "flenlib").as_posix()
            makers |= {place} if name == "Allowed" else set()
            encoders |= {place} if name == "encode_prompt" else set()
    assert {place for place in makers if not place.startswith("content/")} == {
        "models/families/architecture.py", "models/families/qwen_image.py",
    }, "the families' own constants: an empty caption"  # fmt: skip
    assert {place for place in encoders if not place.startswith("models/families/")} == {"mini/pretrain.py"}


def test_a_family_refuses_a_text_that_did_not_pass_the_gate(tiny_flux, tmp_path):
    from flenlib.content import allow
    from flenlib.train.cache import Cache

    family = FAMILIES["flux"].load(tiny_flux, device="cpu")
    store, text = Cache(tmp_path, family), allow(params.Character(**ADULT), "a person")
    store.text(text)
    for ask in (
        lambda: family.encode(text="a person"),
        lambda: family.conditions("a person"),
        lambda: family.sample("a person", seed=1, steps=1),
        lambda: family.sample("a person", seed=1, steps=1, conditions=family.conditions(text)),
        lambda: store.text("a person"),  # it was encoded before
        lambda: store.conditions("a person"),
    ):
        with pytest.raises(TypeError, match="only through the content gate"):
            ask()
    assert family.encode(text=text).text is not None and family.encode(text=family.caption_empty).text is not None
