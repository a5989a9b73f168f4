"""The steps of the wheel and their notebooks refuse a text from every door before a model is loaded."""

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from PIL import Image

from flenlib.content import Refused
from flenlib.dataset import triplets
from flenlib.dataset.images import save_picture
from flenlib.dataset.records import Dataset, ImageRecord
from flenlib.dataset.triplets import Triplet
from flenlib.flow import WHEEL, lock
from flenlib.models import settings as models_settings
from flenlib.project import ROOT, open_iteration
from flenlib.wheel import labels
from flenlib.wheel.results import ReviewEnriched, TrainCharacter
from tests.doors.common import ADULT, BAD, MINOR, plain
from tests.results import leave

# Each door puts a refused text where a person could, into a project in which all else is there.


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


GOOD = {"label": {"label": "good", "reasons": [], "reviewer": "auto"}}


def raw_caption(project, section):
    folder = project.root / "raw"
    folder.mkdir()
    for name in ("a_front", "b_front"):
        Image.effect_noise((64, 64), 90).save(folder / f"{name}.png")
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


def refuses(name):
    """Step 1.1 leaves the picture out, and every other step ends."""
    return nullcontext() if name == "11_curate_source" else pytest.raises(Refused)


def check_left_out(project, name):
    """Check that the one picture whose caption is refused was not imported, and the other one was."""
    if name == "11_curate_source":
        folder = project.data("source")
        assert [record.filename for record in Dataset.open(folder).images] == ["b_front.png"]
        assert sorted(path.name for path in folder.glob("*.*g")) == ["b_front.png"]
        assert not [path for path in folder.rglob("*") if path.is_file() and BAD.encode() in path.read_bytes()]


CASES = [(name, door) for name, doors in DOORS.items() for door in doors]


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
    with refuses(name) as refused:
        WHEEL.find(name).run(project, settings)
    assert loads == [] and BAD not in str(refused and refused.value)
    check_left_out(project, name)


@pytest.mark.parametrize(("name", "door"), CASES, ids=[f"{name[:2]}-{door.__name__}" for name, door in CASES])
def test_its_notebook_refuses_before_a_model_is_loaded(tmp_path, monkeypatch, loads, name, door):
    project, given = opened(tmp_path, monkeypatch, name, door)
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    scope = {"display": print}
    try:
        with refuses(name):
            for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
                exec(cell.source, scope)
                if "parameters" in cell.metadata.get("tags", []):
                    scope |= given | {"character": dict(project.character), "anyway": True}
        assert loads == []
    finally:
        lock.release(project)
    check_left_out(project, name)


def test_a_minors_sexual_captions_are_not_learnt(tmp_path, monkeypatch, loads):
    project, _ = opened(tmp_path, monkeypatch, "14_train_character", source_caption, MINOR)
    with pytest.raises(Refused, match=r"caption of source_2\.png"):
        WHEEL.find(14).run(project, models_settings.iteration(character=MINOR))
    assert loads == []
