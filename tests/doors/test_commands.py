"""The commands refuse a text in their settings, and in the folders these name, before a model is loaded."""

import pytest
import yaml

from flenlib.content import Refused
from flenlib.dataset import triplets
from flenlib.dataset.triplets import Triplet
from flenlib.flow.__main__ import main as flow
from flenlib.models import settings as models_settings
from flenlib.steps import texts
from flenlib.train.__main__ import main as train
from tests.doors.common import ADULT, BAD, plain
from tests.train.common import kohya

LORAS = ("models.generator_loras", "models.editor_loras", "compare_editors.community")
PROFILE = {
    "character.name": f"{BAD}_tester",
    "character.trigger": f"ohwx_{BAD}",
    "character.class_noun": BAD,
}
SAID = PROFILE | {path: ["/loras/plain.safetensors", f"/loras/{BAD}_v2.safetensors:0.8"] for path in LORAS}
SAID |= {"prompts": ["photo of ohwx_char person", f"{BAD} ohwx_char person"], "output": f"loras/{BAD}_lora"}
SAID |= {"captions.outfits": {f"{BAD}_dress": "20-30"}, "captions.body_tag": BAD}


def test_a_refused_word_is_tried_in_every_checked_setting():
    assert SAID.keys() == texts.CHECKED.keys()


@pytest.mark.parametrize("path", [path for path in SAID if path not in ("prompts", "output")])
def test_the_wheel_refuses_a_word_in_its_settings_before_anything(tmp_path, monkeypatch, capsys, loads, path):
    monkeypatch.setenv("FLENWHEEL_HOME", str(tmp_path))
    section, name = path.split(".")
    values = {"character": ADULT, "compare_editors": {}, "models": {}, "captions": {}}
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
