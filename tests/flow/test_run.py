"""The runner: order, skipping, and one sentence for what a person has to do."""

import pytest
import yaml

from flenlib import params
from flenlib.dataset import triplets
from flenlib.dataset.journal import Journal
from flenlib.flow import run
from flenlib.flow.stamps import made
from flenlib.project import open_iteration
from flenlib.steps import record

CHARACTER = {"name": "tester", "trigger": "ohwx_char", "kind": "fictional"}


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("FLENWHEEL_HOME", str(tmp_path))
    return open_iteration(CHARACTER)


def written(tmp_path, **sections):
    path = tmp_path / "v1.yaml"
    path.write_text(yaml.safe_dump({"character": CHARACTER, "iteration": "v1", **sections}))
    return path


def test_find_step_takes_numbers_and_names():
    assert run.find_step("12").name == "12_enrich"
    assert run.find_step(0).name == "00_check_machine"
    assert run.find_step("18_retrain_and_compare").number == 18
    with pytest.raises(ValueError, match="no step '99'"):
        run.find_step("99")


def test_fingerprint_changes_with_parameters_and_only_those_it_reads(project):
    step, base = run.find_step(11), params.Iteration(character=CHARACTER)
    other = base.model_copy(update={"curate": params.Curate(seed=99)})
    unrelated = base.model_copy(update={"card": params.Card(seed=99)})
    assert run.inputs(project, step, base) == run.inputs(project, step, unrelated)
    assert run.inputs(project, step, base) != run.inputs(project, step, other)


def test_what_the_second_wheel_is_given_is_an_input(project, tmp_path, monkeypatch):
    """Imported pairs, a person's word on tries, a labels file, an adopted editor, a community LoRA on this disk."""
    monkeypatch.setattr("flenlib.flow.stamps.ROOT", tmp_path)
    (tmp_path / "given" / "deep").mkdir(parents=True)
    corrections = params.Corrections(pairs=["given"], reviewer="file", file="labels.csv", export=["diffsynth"])
    compared = params.CompareEditors(community=[f"{tmp_path}/mine.safetensors:0.9"])
    told = params.Iteration(character=CHARACTER, corrections=corrections, compare_editors=compared)
    step, seen = run.find_step(21), set()
    for name in ("given/deep/metadata.json", "labels.csv"):
        seen.add(run.inputs(project, step, told))
        (tmp_path / name).write_text("[]")
    seen.add(run.inputs(project, step, told))
    Journal(project.data("corrections") / "tries" / "journal.jsonl").append("a.png", "good", reviewer="auto")
    assert run.inputs(project, step, told) in seen, "what the policy said is no input"
    Journal(project.data("corrections") / "tries" / "journal.jsonl").append("a.png", "good", reviewer="human")
    seen.add(run.inputs(project, step, told))
    assert len(seen) == 4
    before = run.inputs(project, run.find_step(23), told)
    (tmp_path / "mine.safetensors").write_text("weights")
    assert run.inputs(project, run.find_step(23), told) != before
    second, adopts = open_iteration(CHARACTER, "v2"), params.Models(editor_loras=["adopted"])
    told = told.model_copy(update={"models": adopts})
    before = run.inputs(second, step, told)
    record.write_json(project.adopted_editor, {"loras": []})
    assert run.inputs(second, step, told) != before


def test_an_export_that_is_gone_is_made_again(project):
    told = params.Iteration(character=CHARACTER, corrections=params.Corrections(export=["diffsynth"]))
    folder = project.data("corrections")
    triplets.write(folder, [])
    assert made(project, run.find_step(21), told) is None
    (folder / "pairs" / "diffsynth").mkdir(parents=True)
    assert made(project, run.find_step(21), told) is not None


def test_the_model_card_is_drawn_again_when_another_lora_is_to_be_used(project):
    step, told = run.find_step(31), params.Iteration(character=CHARACTER)
    seen = [run.inputs(project, step, told)]
    for ship in ("v1_refined", "v1"):
        record.write_json(record.run_file(project, "18_retrain_and_compare"), {"results": {"ship": ship}})
        seen.append(run.inputs(project, step, told))
    assert len(set(seen)) == 3


def test_a_damaged_record_means_not_done(project):
    told = params.Iteration(character=CHARACTER)
    path = record.run_file(project, "11_curate_source")
    path.parent.mkdir(parents=True)
    path.write_text('{"step": "11_cur')
    assert not run.is_done(project, run.find_step(11), told)


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
    assert run.main(["iterate", str(written(tmp_path, **sections))]) == 1
    said = capsys.readouterr().err
    assert sentence in said and "Traceback" not in said


def test_a_missing_params_file_is_one_sentence(tmp_path, capsys):
    assert run.main(["iterate", str(tmp_path / "no.yaml")]) == 1
    assert "does not exist" in capsys.readouterr().err


def test_scientific_notation_written_as_text_is_a_number(tmp_path):
    path = tmp_path / "v1.yaml"
    path.write_text("character: {name: a, trigger: abc, kind: fictional}\ntrain: {learning_rate: 1e-4}\n")
    assert yaml.safe_load(path.read_text())["train"]["learning_rate"] == "1e-4"
    assert params.load(path).train.learning_rate == 1e-4


def test_a_real_person_needs_consent_before_anything_runs(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("FLENWHEEL_HOME", str(tmp_path))
    real = {"name": "ann", "trigger": "ohwx_char", "kind": "real"}
    assert run.main(["iterate", str(written(tmp_path, character=real))]) == 1
    assert "consent" in capsys.readouterr().err
    assert not (tmp_path / "outputs").exists()


def test_a_second_run_in_the_same_outputs_is_refused(project, tmp_path, capsys):
    from filelock import FileLock

    project.outputs.mkdir(parents=True)
    with FileLock(project.outputs / ".lock"):
        assert run.main(["iterate", str(written(tmp_path))]) == 1
    assert "another run is working" in capsys.readouterr().err
