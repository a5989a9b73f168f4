"""Stamps: a step is done while its data, the settings that act on it and its recipe are as they were."""

from dataclasses import replace

import pytest

from flenlib import params
from flenlib.dataset import triplets
from flenlib.dataset.files import write_json
from flenlib.dataset.journal import Journal
from flenlib.dataset.records import Dataset, ImageRecord
from flenlib.flow import WHEEL, artifacts, stamps
from flenlib.project import open_iteration
from flenlib.steps import record
from flenlib.wheel import results
from tests.results import leave

CHARACTER = {"name": "tester", "trigger": "ohwx_char", "kind": "fictional", "age": "adult"}


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("FLENWHEEL_HOME", str(tmp_path))
    return open_iteration(CHARACTER)


def settings(**sections):
    return params.Iteration(character=CHARACTER, **sections)


def inputs(project, number, given):
    return stamps.inputs(project, WHEEL.find(number), given)


def test_only_settings_that_act_on_a_step_count(project):
    base, other = settings(), settings(curate=params.Curate(seed=99))
    assert inputs(project, 11, base) == inputs(project, 11, settings(card=params.Card(seed=99)))
    assert inputs(project, 11, base) != inputs(project, 11, other)


@pytest.mark.parametrize(
    ("models", "changed"),
    [
        ({"editor_loras": ["multiple-angles:0.9"]}, {0, 12, 21, 23}),
        ({"generator_loras": ["/nowhere/style.safetensors"]}, {15, 18, 31}),
        ({"generator": "flux-dev"}, {0, 14, 15, 18, 31}),
        ({"offload": "model"}, {0}),
        ({"device": "cpu"}, {0}),
        ({"precision": "fp32"}, {0, 12, 14, 15, 18, 31, 21, 22, 23}),
    ],
)
def test_a_change_of_models_reruns_the_steps_it_acts_on(project, models, changed):
    base, other = settings(), settings(models=params.Models(**models))
    found = {s.number for s in WHEEL.steps if stamps.inputs(project, s, base) != stamps.inputs(project, s, other)}
    assert found == changed


@pytest.mark.parametrize(
    ("section", "values", "changed"),
    [
        ("guards", {"nearest": 0.2}, {16}),
        ("guards", {"diversity": 0.2}, {18}),
        ("guards", {"real_share": 0.2}, {14, 18}),
        ("guards", {"only_shipped": False}, {14, 17, 18}),
        ("review_enriched", {"margin": 2.0}, {13}),
        ("review_enriched", {"accept_unmeasured": False}, {12, 13, 23}),
        ("review_synthetic", {"select": 3}, {17}),
        ("card", {"seed": 9}, {18, 31}),
    ],
)
def test_a_setting_reruns_the_steps_it_acts_on(project, section, values, changed):
    base, other = settings(), settings(**{section: params.check(section, values)})
    found = {s.number for s in WHEEL.steps if stamps.inputs(project, s, base) != stamps.inputs(project, s, other)}
    assert found == changed


def test_what_a_step_looks_at_beside_labels_is_an_input(project):
    """Step 1.7 counts the edits' angles, step 2.1 reads their distances and the reasons against them."""
    dataset = Dataset.open(project.data("enriched"), create=True)
    (dataset.folder / "a.png").write_bytes(b"a picture")
    edit = ImageRecord("a.png", angle="front", label={"label": "good", "reasons": ["sharp"], "reviewer": "auto"})
    dataset.add(edit)
    seen = []
    for change in ({}, {"angle": "back"}, {"measurements": {"face_distance": 0.3}}):
        for name, value in change.items():
            setattr(edit, name, value)
        dataset.save()
        seen.append([inputs(project, number, settings()) for number in (14, 17, 21)])
    trained, picked, corrected = (set(each) for each in zip(*seen, strict=True))
    assert (len(trained), len(picked), len(corrected)) == (1, 3, 3)


def test_the_editors_training_depends_on_the_sources_its_checkpoint_is_chosen_by(project):
    dataset = Dataset.open(project.data("source"), create=True)
    (dataset.folder / "a.png").write_bytes(b"a picture")
    dataset.add(ImageRecord("a.png", angle="front"))
    dataset.save()
    before = inputs(project, 22, settings())
    dataset.images[0].held_out = True
    dataset.save()
    assert inputs(project, 22, settings()) != before


def test_only_what_is_handed_down_counts_of_earlier_iterations(project):
    third = open_iteration(CHARACTER, "v3")
    base = inputs(third, 14, settings()), inputs(third, 21, settings())
    write_json(project.data("pristine") / "metadata.json", {"images": []})
    write_json(project.data("corrections") / triplets.FILE, [])
    assert base == (inputs(third, 14, settings()), inputs(third, 21, settings())), "v1 hands nothing to v3"
    everything = settings(guards=params.Guards(previous_only=False))
    before = inputs(third, 14, everything)
    write_json(project.data("pristine") / "metadata.json", {"images": [2]})
    assert inputs(third, 14, everything) != before


def test_a_raised_recipe_runs_a_step_again(project):
    step = WHEEL.find(11)
    raised = replace(step, recipe=step.recipe + 1)
    assert stamps.inputs(project, step, settings()) != stamps.inputs(project, raised, settings())


def test_every_setting_a_step_names_is_one_there_is():
    for step in WHEEL.steps:
        assert set(step.acting(settings())) == set(step.settings), step.name


def test_an_unknown_view_of_a_dataset_is_an_error():
    with pytest.raises(KeyError, match="colours"):
        artifacts.records("source", "colours")


def test_what_the_second_wheel_is_given_is_an_input(project, tmp_path, monkeypatch):
    """Imported pairs, a person's word on tries, a labels file, an adopted editor, a community LoRA on this disk."""
    monkeypatch.setenv("FLENWHEEL_HOME", str(tmp_path))
    (tmp_path / "given" / "deep").mkdir(parents=True)
    corrections = params.Corrections(pairs=["given"], reviewer="file", file="labels.csv", export=["diffsynth"])
    compared = params.CompareEditors(community=[f"{tmp_path}/mine.safetensors:0.9"])
    given, seen = settings(corrections=corrections, compare_editors=compared), set()
    for name in ("given/deep/metadata.json", "labels.csv"):
        seen.add(inputs(project, 21, given))
        (tmp_path / name).write_text("[]")
    seen.add(inputs(project, 21, given))
    tries = Journal(project.data("corrections") / "tries" / "journal.jsonl")
    tries.append("a.png", "good", reviewer="auto")
    assert inputs(project, 21, given) in seen, "what the policy decided is no input"
    tries.append("a.png", "good", reviewer="human")
    seen.add(inputs(project, 21, given))
    assert len(seen) == 4
    before = inputs(project, 23, given)
    (tmp_path / "mine.safetensors").write_text("weights")
    assert inputs(project, 23, given) != before
    second, given = open_iteration(CHARACTER, "v2"), settings(models=params.Models(editor_loras=["adopted"]))
    before = inputs(second, 21, given)
    write_json(project.adopted_editor, {"loras": []})
    assert inputs(second, 21, given) != before


def test_an_export_that_is_gone_is_made_again(project):
    given, folder = settings(corrections=params.Corrections(export=["diffsynth"])), project.data("corrections")
    triplets.write(folder, [])
    assert stamps.made(project, WHEEL.find(21), given) is None
    (folder / "pairs" / "diffsynth").mkdir(parents=True)
    assert stamps.made(project, WHEEL.find(21), given) is not None


def test_the_model_card_is_drawn_again_when_another_lora_is_to_be_used(project):
    seen = [inputs(project, 31, settings())]
    for ship in ("v1_refined", "v1"):
        leave(project, results.RetrainAndCompare, ship=ship)
        seen.append(inputs(project, 31, settings()))
    assert len(set(seen)) == 3


def test_labels_people_gave_while_a_step_ran_are_part_of_it(project):
    dataset = Dataset.open(project.data("enriched"), create=True)
    dataset.save()
    begun = stamps.given(project, WHEEL.find(13), settings())
    Journal(dataset.folder / "journal.jsonl").append("a.png", "good", reviewer="human")
    assert stamps.inputs(project, WHEEL.find(13), settings(), begun) == inputs(project, 13, settings())


def test_a_blocked_step_is_done_only_anyway(project):
    from flenlib.steps import Criterion

    dataset = Dataset.open(project.data("source"), create=True)
    (dataset.folder / "a.png").write_bytes(b"a picture")
    dataset.add(ImageRecord("a.png"))
    dataset.save()
    step, given = WHEEL.find(11), settings()
    failed = Criterion("at least 10 usable pictures", False, "1", blocking=True)
    result = results.CurateSource(sentence="", criteria=[failed], pictures=1, usable=1)
    record.write(project, result, inputs=stamps.inputs(project, step, given), made=stamps.made(project, step, given))
    assert not stamps.is_done(project, step, given)
    assert stamps.is_done(project, step, settings(anyway=True))
