"""What an iteration will take: counted from its settings, predicted, and measured where this machine has done it."""

from datetime import UTC, datetime, timedelta

import pytest
from PIL import Image

from flenlib.dataset.images import save_picture
from flenlib.models.registry import FAMILIES
from flenlib.models.settings import iteration
from flenlib.params import Iteration
from flenlib.predict import drawing
from flenlib.predict.__main__ import main
from flenlib.predict.gpus import GPU, GPUS
from flenlib.project import ROOT, open_iteration
from flenlib.steps import record
from flenlib.wheel import hours, results, work

CHARACTER = {"name": "tester", "trigger": "ohwx_char", "class_noun": "person", "kind": "fictional", "age": "adult"}
GENERATED, TRAINED = results.GenerateSynthetic.notebook, results.TrainCharacter.notebook
RTX = GPUS["RTX 4090 24 GB"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("FLENWHEEL_HOME", str(tmp_path))
    return open_iteration(CHARACTER)


def asked(**sections) -> Iteration:
    return iteration(character=CHARACTER, **sections)


def counts(settings, project):
    found = work.of_iteration(settings, project, hours.load().person)
    return {(each.step[:2], each.what.split()[0]): each.count for each in found}


def test_work_is_counted_from_the_settings(project):
    found = counts(asked(corrections={"hand": "tries", "reviewer": "human"}), project)
    assert found["12", "edits,"] == 50 * 1.3 and found["15", "pictures"] == 30 * 2
    assert found["14", "micro-steps"] == 600 and found["14", "previews"] == 4 * (1 + 3)
    assert found["18", "model"] == 3 * 23 * 4
    assert found["21", "tries"] == 15 * 4 and ("21", "edits") not in found
    assert found["22", "pictures"] == (1 + 3) * 3 and found["23", "edits"] == 2 * 12 * 3
    assert ("13", "edits") not in found  # a policy reviews
    more = asked(review_enriched={"reviewer": "human"}, corrections={"hand": "off"}, enrich={"edits_per_source": 2})
    found = counts(more, project)
    assert found["13", "edits"] == 20 and not [step for step, _ in found if step[0] == "2"]


def test_a_finishing_lora_in_sequence_is_a_second_pass_and_one_for_speed_no_editor_of_its_own(project, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"")
    loras = [f"{name}={tmp_path}/a.safetensors" for name in ("lightning-8", "skin")]
    plain, fast = (counts(asked(models={"editor_loras": some}), project) for some in ([], loras[:1]))
    both = counts(asked(models={"editor_loras": loras, "editor_mode": "sequence"}), project)
    assert both["12", "edits,"] == 2 * plain["12", "edits,"] == 2 * fast["12", "edits,"]
    assert fast["23", "edits"] == plain["23", "edits"] < both["23", "edits"]


def test_sources_are_those_of_the_folder_once_there_are_any(project, tmp_path):
    (tmp_path / "raw").mkdir()
    for number in range(15):
        Image.new("RGB", (8, 8)).save(tmp_path / "raw" / f"{number}.png")
    settings = asked(curate={"folder": "raw"}, enrich={"edits_per_source": 1, "tries": 1})
    assert work.sources(settings, project)[:2] == (13, 2) and counts(settings, project)["12", "edits,"] == 13


def test_a_picture_takes_twice_the_calls_with_true_guidance_and_none_is_said_of_an_unknown_gpu():
    how = {"precision": "bf16", "offload": "none", "side": 1024, "references": 1, "gpu": RTX}
    edit = FAMILIES["qwen_edit"]
    two, one, four = (
        drawing.seconds(edit, **how, steps=steps, guidance=guidance)
        for steps, guidance in ((8, 4.0), (8, 1.0), (4, 1.0))
    )
    call = (one - four) / 4
    assert two - one == pytest.approx(8 * call, rel=0.05) and call > 1
    assert drawing.seconds(FAMILIES["flux"], **how | {"references": 0}, steps=8, guidance=3.5) == pytest.approx(
        drawing.seconds(FAMILIES["flux"], **how | {"references": 0}, steps=8, guidance=1.0)
    )
    assert drawing.seconds(edit, **how | {"gpu": GPU("new", 24)}, steps=8, guidance=1.0) is None


def drawn(project, seconds, number=4):
    """Write pictures of step 1.5 so many seconds apart, with one long break."""
    at = datetime(2026, 11, 1, tzinfo=UTC)
    for each in range(number):
        at += timedelta(seconds=seconds + (7200 if each == 2 else 0))
        picture = Image.new("RGB", (16, 16), (each, 0, 0))
        save_picture(picture, project.data("synthetic") / f"{each}.png", {"made_at": at.isoformat(timespec="seconds")})


def finished(project, settings, **machine):
    """Write the records of steps 1.4 and 1.5, and the log of a training of two seconds a step."""
    folder = project.lora(project.iteration).parent
    folder.mkdir(parents=True)
    rows = "\n".join(f"{step},0.1,2.0" for step in range(1, 11))
    (folder / "log.csv").write_text(f"step,loss,seconds\n{rows}\n")
    told = {name: getattr(settings, name).model_dump() for name in ("models", "generate", "train")}
    made = results.GenerateSynthetic(sentence="4 pictures", pictures=4)
    lora = results.TrainCharacter(sentence="10 steps", lora=folder / "a", loss=(1.0, 0.5), depth=0)
    for each in (made, lora):
        path = record.write(project, each, parameters=told, seconds=1.0)
        if machine:
            written = record.Record.model_validate_json(path.read_bytes())
            path.write_text(written.model_copy(update={"machine": written.machine | machine}).model_dump_json())


def test_what_this_machine_took_replaces_what_was_predicted(project):
    settings = asked(train={"accumulate": 2})
    before = hours.look(settings, project)
    assert {each.known for each in before.rows} == {hours.UNKNOWN, hours.ASSUMED} and "first run" in before.sentence()
    drawn(project, 30)
    finished(project, settings)
    found = {(each.work.step, each.work.what): each for each in hours.look(settings, project).rows}
    picture, step = found[GENERATED, "pictures"], found[TRAINED, "micro-steps"]
    assert (picture.known, picture.count, picture.seconds) == (hours.MEASURED, 4, 30)
    assert (step.known, step.count, step.seconds) == (hours.MEASURED, 20, 1.0)
    again = found["18_retrain_and_compare", "micro-steps"]
    assert (again.known, again.count, again.seconds) == (f"measured in {TRAINED}", 600, 1.0)
    assert found["18_retrain_and_compare", "previews"].known == hours.UNKNOWN
    following = open_iteration(CHARACTER, "v2")
    found = {(each.work.step, each.work.what): each for each in hours.look(settings, following).rows}
    assert (found[GENERATED, "pictures"].known, found[GENERATED, "pictures"].count) == ("measured in v1", 60)
    slower = asked(generate={"steps": 20})
    found = {(each.work.step, each.work.what): each for each in hours.look(slower, following).rows}
    assert found[GENERATED, "pictures"].known == hours.UNKNOWN


def test_what_another_machine_took_does_not(project):
    drawn(project, 30)
    finished(project, asked(), device="a faster one")
    assert {each.known for each in hours.look(asked(), project).rows} == {hours.UNKNOWN, hours.ASSUMED}


def test_tables_and_plot_of_small_models_say_that_they_cost_nothing(project):
    found = hours.look(asked(), project)
    assert found.cost_table()["cost"].to_list() == ["none: small models run on the processor"]
    assert set(found.seeds_table()["here"]) == {"-"}
    assert len(found.plot().axes[0].patches) == 2 * len({each.work.step for each in found.rows})


def test_the_command_says_one_sentence_for_what_is_wrong(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FLENWHEEL_HOME", str(tmp_path))
    mini = str(ROOT / "params" / "mini" / "v1.yaml")
    assert main([mini]) == 0 and "12_enrich" in capsys.readouterr().out
    assert main([mini, "--gpu", "RTX 4090"]) == 1
    assert capsys.readouterr().err.startswith("GPU 'RTX 4090' is not known; it must be one of RTX 4080 16 GB")
    away = tmp_path / "away.yaml"
    away.write_text(f"extends: {mini}\nmodels: {{device: 'cuda:7'}}\n")
    assert main([str(away)]) == 1 and "GPUs; use auto or cpu" in capsys.readouterr().err
    (tmp_path / "prices.yaml").write_text("gpus: [{gpu: L40S 48 GB, hour: cheap, source: me, date: 2026-11-01}]\n")
    assert main([mini]) == 1 and "'gpus.0.hour' is 'cheap'" in capsys.readouterr().err
