"""Where things live, and of whom a project may be opened."""

from pathlib import Path

import pytest

from flenlib.project import ROOT, open_iteration

MAYA = {"name": "maya", "trigger": "ohwx_maya", "kind": "fictional", "age": "adult"}


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


def test_a_real_person_without_consent_and_a_minor_with_a_rating_are_not_opened(tmp_path):
    with pytest.raises(PermissionError, match="'maya' is a real person without consent on record"):
        open_iteration(MAYA | {"kind": "real"}, root=tmp_path)
    with pytest.raises(PermissionError, match="'maya' is a minor: rating adult is for a character stated adult"):
        open_iteration(MAYA | {"age": "minor", "rating": "adult"}, root=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_character_without_a_trigger_is_refused(tmp_path):
    with pytest.raises(ValueError, match="parameter 'trigger' is missing"):
        open_iteration({"name": "maya", "kind": "fictional", "age": "adult"}, root=tmp_path)


@pytest.mark.parametrize(("given", "base"), [("", ROOT), ("mine", ROOT / "mine"), ("/mine", Path("/mine"))])
def test_a_relative_home_is_the_same_folder_for_every_process(tmp_path, monkeypatch, given, base):
    """JupyterLab starts a kernel in its notebook's folder, `make` in the checkout."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLENWHEEL_HOME", given)
    assert open_iteration(MAYA).root == base
