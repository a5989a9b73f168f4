"""Every entrance of a text: a refused one is refused before a model is loaded; a new entrance must be listed here."""

import ast
import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import nbformat
import pytest
import yaml
from PIL import Image
from pydantic import BaseModel

from flenlib import params
from flenlib.content import Refused
from flenlib.dataset import triplets
from flenlib.dataset.images import save_picture
from flenlib.dataset.records import Dataset, ImageRecord
from flenlib.dataset.triplets import Triplet
from flenlib.flow import WHEEL, lock
from flenlib.flow.__main__ import main as flow
from flenlib.models import settings as models_settings
from flenlib.models.families import FAMILIES
from flenlib.models.families.base import Family
from flenlib.params import Iteration, TrainRun
from flenlib.project import ROOT, open_iteration
from flenlib.steps import texts
from flenlib.train.__main__ import main as train
from flenlib.wheel import labels
from flenlib.wheel.results import ReviewEnriched, TrainCharacter
from tests.results import leave
from tests.train.common import kohya

BAD = "nude"
"""What an adult's profile without adult content, and any minor's, refuses."""

ADULT = {"name": "tester", "trigger": "ohwx_char", "class_noun": "person", "kind": "fictional", "age": "adult"}
MINOR = ADULT | {"age": "minor"}

NOT_TEXTS = {
    "character.consent": "a statement kept in pictures; no model sees it",
    "models.generator": "which model; its words are not encoded",
    "models.editor": "which model; its words are not encoded",
    "models.device": "a device, by a pattern",
    "iteration": "a folder, by a pattern",
    "curate.folder": "a folder; what lies in it is checked as it is imported (step 11)",
    "review_enriched.person": "who labels",
    "review_enriched.file": "a file of labels and reasons, which no model sees",
    "review_synthetic.person": "who labels",
    "review_synthetic.file": "a file of labels and reasons, which no model sees",
    "corrections.file": "a file of labels and reasons, which no model sees",
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


# The steps of the wheel. Each door puts a refused text where a person could, into a project in which all else is there.


def pictures(project, stage, caption="ohwx_char person", **more):
    """Write three pictures as a dataset, the last one with a caption of its own."""
    dataset = Dataset.open(project.data(stage), create=True)
    for number in range(3):
        name = f"{stage}_{number}.png"
        save_picture(Image.new("RGB", (64, 64), (80 * number, 9, len(stage))), dataset.folder / name, {})
        text = caption if number == 2 else "ohwx_char person"
        dataset.add(replace(ImageRecord(name, caption=text), **more))
    dataset.save()
    return dataset


def plain(path, colour):
    save_picture(Image.new("RGB", (64, 64), colour), path, {})


GOOD = {"label": {"label": "good", "reasons": [], "reviewer": "auto"}}


def raw_caption(project, section):
    folder = project.root / "raw"
    folder.mkdir()
    Image.effect_noise((64, 64), 90).save(folder / "a_front.png")
    (folder / "a_front.txt").write_text(f"photo of ohwx_char person, {BAD}")
    return {"curate": {"folder": str(folder), "expect_face": False, "minimum_size": 16, "minimum_sharpness": 0.1}}


def raw_metadata(project, section):
    given = raw_caption(project, section)
    folder = Path(given["curate"]["folder"])
    (folder / "a_front.txt").unlink()
    images = [{"filename": "a_front.png", "caption": f"ohwx_char person, {BAD}"}]
    (folder / "metadata.json").write_text(json.dumps({"images": images}))
    return given


def source_caption(project, section):
    pictures(project, "source", f"photo of ohwx_char person, {BAD}")
    pictures(project, "enriched", depth=1, **GOOD)
    pictures(project, "pristine", depth=2)
    return {}


def held_out_caption(project, section):
    pictures(project, "source")
    pictures(project, "enriched", depth=1, **GOOD)
    source = Dataset.open(project.data("source"))
    source.images[0].held_out, source.images[0].caption = True, f"ohwx_char person, {BAD}"
    source.save()
    return {}


def edit_caption(project, section):
    pictures(project, "source")
    pictures(project, "enriched", f"photo of ohwx_char person, {BAD}", depth=1, **GOOD)
    pictures(project, "pristine", depth=2)
    return {}


def pristine_caption(project, section):
    pictures(project, "source")
    pictures(project, "enriched", depth=1, **GOOD)
    pictures(project, "pristine", f"photo of ohwx_char person, {BAD}", depth=2)
    return {}


def sent_back(project, prompt="do it"):
    """Make edits of one source that wait for a correction."""
    source = pictures(project, "source")
    edit = {"edit": "background", "edit_value": "forest"}
    label = {"label": {"label": "needs_correction", "reasons": [], "reviewer": "auto"}}
    more = {"depth": 1, "parent": source.images[0].sha256, "prompt": prompt, "attributes": edit, **label}
    return pictures(project, "enriched", measurements={"threshold": 0.4}, **more)


def better_prompt(project, section):
    record = sent_back(project).images[0]
    journal = labels.open_journal(Dataset.open(project.data("enriched")))
    journal.append(record.filename, "needs_correction", sha256=record.sha256, prompt=f"make it {BAD}")
    return {"corrections": {"hand": "tries", "tries": 1}}


def recorded_prompt(project, section):
    sent_back(project, f"make it {BAD}")
    return {"corrections": {"hand": "tries", "tries": 1}}


def imported_pairs(project, section):
    sent_back(project)
    plain(project.root / "control" / "p.png", "black")
    plain(project.root / "target" / "p.png", "red")
    (project.root / "target" / "p.txt").write_text(f"make them {BAD}")
    return {"corrections": {"hand": "tries", "tries": 1, "pairs": [str(project.root)]}}


def instruction(held_out):
    def prepare(project, section):
        pictures(project, "source")
        folder = project.data("corrections")
        for name, colour in (("s", "red"), ("t", "blue"), ("u", "green")):
            plain(folder / f"{name}.png", colour)
        bad = Triplet("s.png", f"make them {BAD}", "t.png", held_out=held_out)
        triplets.write(folder, [bad, Triplet("s.png", "turn a little", "u.png")])
        return {}

    return prepare


def class_noun(project, section):
    """Say it in the profile, which everything a step asks for is about."""
    pictures(project, "source")
    pictures(project, "enriched", depth=1, **GOOD)
    pictures(project, "pristine", depth=2)
    triplets.write(project.data("corrections"), [])
    return {"character": dict(project.character) | {"class_noun": f"{BAD} person"}}


DOORS = {
    "00_check_machine": [],
    "11_curate_source": [raw_caption, raw_metadata],
    "12_enrich": [class_noun],
    "13_review_enriched": [],
    "14_train_character": [source_caption, held_out_caption, edit_caption, class_noun],
    "15_generate_synthetic": [class_noun],
    "16_filter_identity": [],
    "17_review_synthetic": [],
    "18_retrain_and_compare": [source_caption, edit_caption, pristine_caption, class_noun],
    "21_curate_corrections": [better_prompt, recorded_prompt, imported_pairs],
    "22_train_editor": [instruction(False), instruction(True)],
    "23_compare_editors": [class_noun],
    "31_model_card": [class_noun],
}
"""For each step, the doors a text comes in by; 00, 13, 16 and 17 load no model and write no caption."""


def test_every_step_is_listed():
    assert DOORS.keys() == {step.name for step in WHEEL.steps}


CASES = [(name, door) for name, doors in DOORS.items() for door in doors]


@pytest.fixture
def loads(monkeypatch):
    """What was loaded while a test ran, by source."""
    found, load = [], Family.load.__func__

    def counted(cls, source, **options):
        found.append(str(source))
        return load(cls, source, **options)

    monkeypatch.setattr(Family, "load", classmethod(counted))
    return found


def opened(tmp_path, monkeypatch, name, door, profile=ADULT):
    """Return a project with a refused text behind a door, and the settings of the step it is the door of."""
    monkeypatch.setenv("FLENWHEEL_HOME", str(tmp_path))
    project = open_iteration(profile)
    given = door(project, name)
    project = open_iteration(given.pop("character", profile))
    lora = project.lora("v1")
    lora.parent.mkdir(parents=True, exist_ok=True)
    if name in ("15_generate_synthetic", "31_model_card"):
        write_lora(lora, "transformer.single_transformer_blocks.0.attn.to_q")
        leave(project, TrainCharacter, lora=lora)
    if name == "18_retrain_and_compare":
        leave(project, ReviewEnriched)
    write_lora(project.editor_lora, "diffusion_model.transformer_blocks.0.img_mlp.net.2")
    return project, given


def write_lora(path, stem):
    """Write a LoRA of one layer, whose name says the family it was made for."""
    import torch
    from safetensors.torch import save_file

    save_file({f"{stem}.lora_A.weight": torch.zeros(1, 48), f"{stem}.lora_B.weight": torch.zeros(48, 1)}, path)


@pytest.mark.parametrize(("name", "door"), CASES, ids=[f"{name[:2]}-{door.__name__}" for name, door in CASES])
def test_a_step_refuses_before_a_model_is_loaded(tmp_path, monkeypatch, loads, name, door):
    project, given = opened(tmp_path, monkeypatch, name, door)
    settings = models_settings.iteration(character=dict(project.character), anyway=True, **given)
    with pytest.raises(Refused) as refused:
        WHEEL.find(name).run(project, settings)
    assert loads == [] and BAD not in str(refused.value)


@pytest.mark.parametrize(("name", "door"), CASES, ids=[f"{name[:2]}-{door.__name__}" for name, door in CASES])
def test_its_notebook_refuses_before_a_model_is_loaded(tmp_path, monkeypatch, loads, name, door):
    project, given = opened(tmp_path, monkeypatch, name, door)
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    scope = {"display": print}
    try:
        with pytest.raises(Refused):
            for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
                exec(cell.source, scope)
                if "parameters" in cell.metadata.get("tags", []):
                    scope |= given | {"character": dict(project.character), "anyway": True}
        assert loads == []
    finally:
        lock.release(project)


def test_a_minors_sexual_captions_are_not_learnt(tmp_path, monkeypatch, loads):
    project, _ = opened(tmp_path, monkeypatch, "14_train_character", source_caption, MINOR)
    with pytest.raises(Refused, match=r"caption of source_2\.png"):
        WHEEL.find(14).run(project, models_settings.iteration(character=MINOR))
    assert loads == []


# The settings and the commands.

LORAS = ("models.generator_loras", "models.editor_loras", "compare_editors.community")
PROFILE = {
    "character.name": f"{BAD}_tester",
    "character.trigger": f"ohwx_{BAD}",
    "character.class_noun": BAD,
}
SAID = PROFILE | {path: ["/loras/plain.safetensors", f"/loras/{BAD}_v2.safetensors:0.8"] for path in LORAS}
SAID |= {"prompts": ["photo of ohwx_char person", f"{BAD} ohwx_char person"], "output": f"loras/{BAD}_lora"}


def test_a_refused_word_is_tried_in_every_checked_setting():
    assert SAID.keys() == texts.CHECKED.keys()


@pytest.mark.parametrize("path", [path for path in SAID if path not in ("prompts", "output")])
def test_the_wheel_refuses_a_word_in_its_settings_before_anything(tmp_path, monkeypatch, capsys, loads, path):
    monkeypatch.setenv("FLENWHEEL_HOME", str(tmp_path))
    section, name = path.split(".")
    values = {"character": ADULT, "compare_editors": {}, "models": {}}
    values[section] = values[section] | {name: SAID[path]}
    file = tmp_path / "v1.yaml"
    file.write_text(yaml.safe_dump(values))
    assert flow(["iterate", str(file)]) == 1
    said = capsys.readouterr().err
    assert path in said and "refused" in said and not list(tmp_path.glob("outputs/*")) and loads == []
    iteration = models_settings.iteration(**values)
    with pytest.raises(Refused, match=path):
        texts.check(iteration)


@pytest.mark.parametrize("path", [path for path in SAID if "." not in path or path in PROFILE])
def test_a_training_refuses_a_word_in_its_settings_before_anything(tmp_path, capsys, loads, path):
    values = {"character": ADULT, "model": "mini-flux", "data": [str(tmp_path / "missing")], "output": "lora"}
    section, _, name = path.rpartition(".")
    values |= {section: ADULT | {name: SAID[path]}} if section else {name: SAID[path]}
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(values))
    assert train([str(file)]) == 1
    said = capsys.readouterr().err
    assert path in said and "refused" in said and "missing" not in said and loads == []


@pytest.mark.parametrize("part", ["data", "held_out", "prior"])
def test_a_training_refuses_a_caption_of_its_folders(tmp_path, capsys, loads, part):
    values = {"character": ADULT, "model": "mini-flux", "output": str(tmp_path / "lora"), "device": "cpu"}
    values |= {name: [str(kohya(tmp_path / name, trigger="ohwx_char", person=1))] for name in {"data", part}}
    next((tmp_path / part).rglob("0.txt")).write_text(f"ohwx_char person, {BAD}")
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(values))
    assert train([str(file)]) == 1
    assert "refused: this caption of 0.png" in capsys.readouterr().err and loads == []


def test_a_training_refuses_an_instruction_of_its_triplets(tmp_path, capsys, loads):
    plain(tmp_path / "pairs" / "s.png", "red")
    plain(tmp_path / "pairs" / "t.png", "blue")
    triplets.write(tmp_path / "pairs", [Triplet("s.png", f"make them {BAD}", "t.png")])
    values = {"character": ADULT, "model": "mini-qwen-edit", "data": [str(tmp_path / "pairs")], "output": "lora"}
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(values))
    assert train([str(file)]) == 1
    assert "refused: this instruction of t.png" in capsys.readouterr().err and loads == []


# The models.


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
