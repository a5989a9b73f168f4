"""Where things live, whose pictures may be made, and what is refused."""

from pathlib import Path

import pytest

from flenlib.content import allow
from flenlib.params import Character
from flenlib.project import ROOT, open_iteration

MAYA = {"name": "maya", "trigger": "ohwx_maya", "kind": "fictional"}


def test_folders_of_an_iteration(tmp_path):
    project = open_iteration(MAYA, "v2", tmp_path)
    assert project.data("source") == tmp_path / "data/maya/source/v2"
    assert project.data("pristine", "v1") == tmp_path / "data/maya/pristine/v1"
    assert project.outputs == tmp_path / "outputs/maya/v2"
    assert project.lora("v1") == tmp_path / "outputs/maya/v2/char_lora_v1/char_lora_v1.safetensors"
    assert list(tmp_path.iterdir()) == []  # opening writes nothing


def test_bad_stage_and_iteration_are_named(tmp_path):
    with pytest.raises(ValueError, match="stage 'sauce' is not known; it must be one of "):
        open_iteration(MAYA, root=tmp_path).data("sauce")
    for bad in ("1", "v", "v1/..", "", 3):
        with pytest.raises(ValueError, match="it must look like v1"):
            open_iteration(MAYA, bad, tmp_path)


@pytest.mark.parametrize("consent", ["", "   ", "yes"])
def test_a_real_person_needs_consent(tmp_path, consent):
    with pytest.raises(PermissionError, match=r"'maya' is a real person and consent is .*; write who consented"):
        open_iteration(MAYA | {"kind": "real", "consent": consent}, root=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_real_person_with_consent_is_opened(tmp_path):
    consent = "Maya Doe, written, 2026-01-05: a LoRA for her own pictures"
    assert open_iteration(MAYA | {"kind": "real", "consent": consent}, root=tmp_path).character.kind == "real"


def test_a_character_without_a_trigger_is_refused(tmp_path):
    with pytest.raises(ValueError, match="parameter 'trigger' is missing"):
        open_iteration({"name": "maya", "kind": "fictional"}, root=tmp_path)


def test_a_minor_never_has_adult_content(tmp_path):
    with pytest.raises(PermissionError, match="minor"):
        open_iteration(MAYA | {"age": "minor", "adult_content": True}, root=tmp_path)


def test_ordinary_prompts_pass_unchanged():
    for prompt in ("photo of ohwx_maya person, front view", "a girl on a beach", "Essex, 12 years old project"):
        assert allow(Character(**MAYA), prompt) == prompt


def test_adult_prompts_need_the_profile_to_allow_them():
    with pytest.raises(PermissionError, match=r"asks for adult content .*adult_content off"):
        allow(Character(**MAYA), "nude portrait")
    allowed = Character(**MAYA, adult_content=True)
    assert allow(allowed, "nude portrait of a 27 years old woman") == "nude portrait of a 27 years old woman"


@pytest.mark.parametrize("words", ["teen", "17-year-old", "12 yo", "aged 15", "twelve year old", "school_girl girl"])
def test_sexual_content_with_a_minor_is_refused_whatever_the_profile_says(words):
    with pytest.raises(PermissionError, match="minor"):
        allow(Character(**MAYA, adult_content=True), f"nude_portrait of {words}")


def test_a_minor_or_a_childs_class_noun_is_refused():
    for character in (Character(**MAYA, age="minor"), Character(**MAYA, class_noun="girl", adult_content=True)):
        with pytest.raises(PermissionError, match="minor"):
            allow(character, "nude portrait")


@pytest.mark.parametrize(("given", "base"), [("", ROOT), ("mine", ROOT / "mine"), ("/mine", Path("/mine"))])
def test_a_relative_home_is_the_same_folder_for_every_process(tmp_path, monkeypatch, given, base):
    """JupyterLab starts a kernel in its notebook's folder, `make` in the checkout."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLENWHEEL_HOME", given)
    assert open_iteration(MAYA).root == base
