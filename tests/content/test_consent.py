"""Of whom anything may be made: ratings by age and kind, consent that says something, consent taken back."""

import datetime
from dataclasses import replace

import pytest
import yaml
from PIL import Image

from flenlib import content, params
from flenlib.content.__main__ import main
from flenlib.draw import pictures
from flenlib.draw.generator import open_generator
from flenlib.draw.pictures import Job
from flenlib.params import Models, Train
from flenlib.project import open_iteration
from flenlib.wheel.train import train_character
from tests.train.common import draw

MAYA = {"name": "maya", "trigger": "ohwx_maya", "kind": "fictional", "age": "adult"}
GIVEN = {"who": "Ann Example", "to": "a LoRA of her own pictures", "when": "2026-01-31", "recorded_by": "Ben Example"}
ANN = MAYA | {"name": "ann", "kind": "real", "consent": GIVEN}
TODAY = datetime.date.today()


def test_age_has_no_default():
    with pytest.raises(ValueError, match="parameter 'age' is missing"):
        params.check("character", {"name": "maya", "trigger": "ohwx_maya", "kind": "fictional"})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"age": "minor", "rating": "mature"}, "'maya' is a minor: rating mature is for a character stated adult"),
        ({"age": "unstated", "rating": "adult"}, "'maya' is of an age that is not stated: rating adult"),
        ({"kind": "real", "consent": GIVEN, "rating": "adult"}, "real person: rating adult is for fictional"),
        ({"kind": "real"}, "'maya' is a real person without consent on record"),
        ({"kind": "real", "consent": GIVEN | {"withdrawn": "2026-02-01"}}, "was withdrawn on 2026-02-01"),
    ],
)
def test_a_profile_that_may_not_be_is_refused_at_every_door(tmp_path, changed, said):
    with pytest.raises(content.Refused, match=said):
        open_iteration(MAYA | changed, root=tmp_path)
    with pytest.raises(content.Refused, match=said):
        content.allow(params.check("character", MAYA | changed), "photo")


def test_consent_that_says_who_what_and_when_opens(tmp_path):
    assert open_iteration(ANN, root=tmp_path).character.consent.who == "Ann Example"
    assert open_iteration(ANN | {"rating": "mature"}, root=tmp_path).character.rating == "mature"
    as_yaml = yaml.safe_load(yaml.safe_dump(ANN).replace("'2026-01-31'", "2026-01-31"))
    assert open_iteration(as_yaml, root=tmp_path).character.consent.when == "2026-01-31"


@pytest.mark.parametrize("field", ["who", "to", "recorded_by"])
@pytest.mark.parametrize(
    "text",
    ["", "  ", "\u200b\u200b\u2060\ufeff\u200b\u200b\u200b\u200b\u200b\u200b", "\u3164" * 12, "TODO", "n/a", "...", "?",
     "xxxx", "no consent!", "yes", "did not consent", "she has not agreed", "refused", "consent pending", "12345"],
)  # fmt: skip
def test_a_statement_that_says_nothing_or_no_is_one_sentence(field, text):
    with pytest.raises(ValueError, match=rf"character: parameter 'consent.{field}' is .*: Input should") as error:
        params.check("character", ANN | {"consent": GIVEN | {field: text}})
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("day", ["", "today", "31.01.2026", "2026-02-30", "20260131", "9999-01-01", "0001-01-01", 7,
                                 str(TODAY + datetime.timedelta(2))])  # fmt: skip
def test_a_day_is_one_that_has_been(day):
    with pytest.raises(ValueError, match=r"'consent.when' is "):
        params.check("character", ANN | {"consent": GIVEN | {"when": day}})


def test_free_text_is_no_statement():
    with pytest.raises(ValueError, match="'consent' is 'Ann said yes on Monday'"):
        params.check("character", ANN | {"consent": "Ann said yes on Monday"})


def test_withdrawn_consent_stops_every_params_file_and_says_what_to_delete(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FLENWHEEL_HOME", str(tmp_path))
    project = open_iteration(ANN)
    lora = project.lora("v1")
    lora.parent.mkdir(parents=True)
    lora.write_bytes(b"tensors")
    project.data("source").mkdir(parents=True)
    file = tmp_path / "v1.yaml"
    file.write_text(yaml.safe_dump({"character": ANN}))
    assert main(["withdraw", str(file)]) == 0
    printed = capsys.readouterr().out
    assert all(str(path) in printed for path in (lora, tmp_path / "data" / "ann", tmp_path / "outputs" / "ann"))
    for profile in (ANN, ANN | {"kind": "fictional", "consent": None}):
        with pytest.raises(content.Refused, match=f"consent for character 'ann' was withdrawn on {TODAY}"):
            open_iteration(profile, "v2")
    assert open_iteration(MAYA).character.name == "maya"
    assert main(["withdraw", str(tmp_path / "none.yaml")]) == 1


def withdraw(project):
    """Do what ``python -m flenlib.content withdraw`` does while a step runs."""
    content.consent.note(project.root, "ann").parent.mkdir(exist_ok=True)
    content.consent.note(project.root, "ann").write_text(f'{{"withdrawn": "{TODAY}"}}')


def test_consent_withdrawn_while_pictures_are_drawn_ends_it_before_the_next(tmp_path):
    project = open_iteration(ANN, root=tmp_path)

    class Drawer:
        def __init__(self):
            self.facts = {"name": "x", "hash": "h", "precision": "fp32", "loras": []}

        def draw(self, job):
            withdraw(project)
            return Image.effect_noise((16, 16), 50)

    jobs = [Job(name, content.allow(project.character, "photo"), 1, {}) for name in ("a.png", "b.png")]
    pictures.make(project, tmp_path, jobs[0], Drawer())
    with pytest.raises(content.Refused, match="was withdrawn"):
        pictures.make(project, tmp_path, jobs[1], Drawer())
    assert not (tmp_path / "b.png").exists()


def test_consent_withdrawn_while_a_lora_is_trained_ends_it_before_the_next_step(tiny_flux, tmp_path):
    project, heard = open_iteration(ANN, root=tmp_path), []

    def tell(kind, facts):
        heard.append((kind, facts.get("step")))
        if heard[-1] == ("step", 2):
            withdraw(project)

    generator = open_generator(Models(generator=str(tiny_flux), precision="fp32", device="cpu"), transformer=False)
    text = content.allow(project.character, "photo of ohwx_maya person")
    samples = [replace(sample, caption=text) for sample in draw(tmp_path / "pictures", 2)]
    settings = Train(steps=4, rank=2, checkpoint_every=1, sample_every=9)
    with pytest.raises(content.Refused, match="was withdrawn"):
        train_character(project, generator, samples, settings, "v1", tell)
    assert heard[-1] == ("step", 2) and not project.lora("v1").exists()
    content.consent.note(project.root, "ann").unlink()
    trained = train_character(project, generator, samples, settings, "v1")
    again = open_generator(Models(generator=str(tiny_flux), precision="fp32", device="cpu"), transformer=False)
    done = train_character(project, again, samples, settings, "v1")
    assert done.lora == trained.lora and done.log.equals(trained.log)
    assert not again.model.loaded, "a training that is done needs no model"


def test_consent_given_after_a_withdrawal_counts_and_a_damaged_note_does_not_open(tmp_path):
    note = content.consent.note(tmp_path, "ann")
    note.parent.mkdir()
    note.write_text('{"withdrawn": "2026-01-30"}')
    assert open_iteration(ANN, root=tmp_path).character.name == "ann"
    note.write_text('{"withdr')
    with pytest.raises(content.Refused, match="withdrawn"):
        open_iteration(ANN, root=tmp_path)
