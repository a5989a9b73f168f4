"""The runner: order, skipping, and one sentence for what a person has to do."""

import pytest
import yaml

from flenlib.flow import WHEEL
from flenlib.flow.__main__ import main
from flenlib.models.settings import load_iteration
from flenlib.project import open_iteration

CHARACTER = {"name": "tester", "trigger": "ohwx_char", "kind": "fictional", "age": "adult"}


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("FLENWHEEL_HOME", str(tmp_path))
    return open_iteration(CHARACTER)


def written(tmp_path, **sections):
    path = tmp_path / "v1.yaml"
    path.write_text(yaml.safe_dump({"character": CHARACTER, "iteration": "v1", **sections}))
    return path


def test_find_takes_numbers_and_names():
    assert WHEEL.find("12").name == "12_enrich"
    assert WHEEL.find(0).name == "00_check_machine"
    assert WHEEL.find("18_retrain_and_compare").number == 18
    with pytest.raises(ValueError, match="no step '99'"):
        WHEEL.find("99")


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"trian": {"steps": 3}}, "unknown parameter 'trian'; did you mean 'train'?"),
        ({"train": {"stepps": 3}}, "unknown parameter 'train.stepps'; did you mean 'steps'?"),
        ({"train": {"steps": "many"}}, "'train.steps' is 'many'"),
        ({"iteration": "first"}, "'iteration' is 'first'"),
    ],
)
def test_a_wrong_params_file_is_one_sentence_and_exit_code_1(tmp_path, capsys, sections, sentence):
    assert main(["iterate", str(written(tmp_path, **sections))]) == 1
    said = capsys.readouterr().err
    assert sentence in said and "Traceback" not in said


def test_a_missing_params_file_is_one_sentence(tmp_path, capsys):
    assert main(["iterate", str(tmp_path / "no.yaml")]) == 1
    assert "does not exist" in capsys.readouterr().err


def test_scientific_notation_written_as_text_is_a_number(tmp_path):
    path = tmp_path / "v1.yaml"
    path.write_text("character: {name: a, trigger: abc, kind: fictional, age: adult}\ntrain: {learning_rate: 1e-4}\n")
    assert yaml.safe_load(path.read_text())["train"]["learning_rate"] == "1e-4"
    assert load_iteration(path).train.learning_rate == 1e-4


def test_a_real_person_needs_consent_before_anything_runs(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FLENWHEEL_HOME", str(tmp_path))
    real = {"name": "ann", "trigger": "ohwx_char", "kind": "real", "age": "adult"}
    assert main(["iterate", str(written(tmp_path, character=real))]) == 1
    assert "consent" in capsys.readouterr().err
    assert not (tmp_path / "outputs").exists()


def test_a_second_run_in_the_same_outputs_is_refused(project, tmp_path, capsys):
    from filelock import FileLock

    project.outputs.mkdir(parents=True)
    with FileLock(project.outputs / ".lock"):
        assert main(["iterate", str(written(tmp_path))]) == 1
    assert "is in use by another process" in capsys.readouterr().err
