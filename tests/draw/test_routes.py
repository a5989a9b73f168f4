"""Which LoRAs an edit goes through, and that what one iteration adopts the next one reads."""

import math

import numpy as np
import pytest

from flenlib import params
from flenlib.dataset import triplets
from flenlib.dataset.records import Dataset, ImageRecord
from flenlib.dataset.triplets import Triplet
from flenlib.draw import routes
from flenlib.draw.editor import open_editor
from flenlib.draw.pictures import Job, put_record
from flenlib.draw.routes import Routes
from flenlib.models import community, lora
from flenlib.project import open_iteration
from tests.models.common import excite, load, picture

CHARACTER = {"name": "tester", "trigger": "ohwx_char", "kind": "fictional"}


@pytest.fixture(scope="module")
def editor(tiny_qwen_edit):
    return load(tiny_qwen_edit, "qwen_edit")


@pytest.fixture(scope="module")
def files(editor, tmp_path_factory):
    """Three LoRAs for a tiny editor, each different."""
    folder, made = tmp_path_factory.mktemp("loras"), {}
    for seed, name in enumerate(("angles", "skin", "own")):
        lora.attach(editor, 2, 2, "attention", seed=seed)
        excite(editor)
        made[name] = editor.save(folder / f"{name}.safetensors", metadata={})
        lora.unstack(editor)
    return made


def opened(files, *texts, mode="stack"):
    return Routes([community.parse(text.format(**files)) for text in texts], mode)


def names(each):
    return [(path.stem, weight) for path, weight in each.stack]


ALL = ("multiple-angles={angles}:0.9", "skin={skin}:0.6", "{own}:0.8")


def test_stacked_loras_serve_the_kinds_they_are_for(files):
    found = opened(files, *ALL)
    (camera,), (forest,) = found.passes("camera", "slightly left"), found.passes("background", "forest")
    assert names(camera) == [("angles", 0.9), ("own", 0.8), ("skin", 0.6)]
    assert "Rotate the camera" in camera.prompt and camera.prompt.endswith("prominent and natural")
    assert names(forest) == [("own", 0.8), ("skin", 0.6)] and forest.prompt.startswith("Change background to forest")


def test_in_sequence_the_specialist_draws_and_the_finisher_follows(files):
    found = opened(files, *ALL, mode="sequence")
    camera, forest = found.passes("camera", "slightly left"), found.passes("background", "forest")
    assert [names(each) for each in camera] == [[("angles", 0.9)], [("skin", 0.6)]]
    assert [names(each) for each in forest] == [[("own", 0.8)], [("skin", 0.6)]]
    assert camera[1].prompt == community.KNOWN["skin"].phrase
    assert len(found.table()) == 8


def test_drawing_goes_through_the_passes(files, editor):
    recipe = {"seed": 3, "steps": 2, "guidance": 1.0}
    base = Routes().draw(editor, "camera", "higher", picture(5), **recipe)
    stacked = opened(files, *ALL).draw(editor, "camera", "higher", picture(5), **recipe)
    sequence = opened(files, *ALL, mode="sequence").draw(editor, "camera", "higher", picture(5), **recipe)
    assert [use.file for use in editor.loras] == [str(files["skin"])]
    drawn = [np.asarray(each).astype(int) for each in (base, stacked, sequence)]
    assert abs(drawn[0] - drawn[1]).max() > 5 and abs(drawn[1] - drawn[2]).max() > 5
    lora.unstack(editor)
    again = Routes().draw(editor, "camera", "higher", picture(5), **recipe)
    assert np.array_equal(np.asarray(again), drawn[0])


def test_what_decides_pixels_is_in_the_recipe(files):
    one, other = opened(files, "{own}:0.8"), opened(files, "{own}:0.7")
    assert one.recipe("style", "sketch") != other.recipe("style", "sketch")
    assert one.facts()[0]["sha256"] == lora.fingerprint(files["own"])


def test_lightning_samples_with_a_scheduler_of_its_own(files, editor):
    recipe = {"seed": 3, "steps": 4, "guidance": 1.0}
    fast, plain = opened(files, "lightning-4={own}:0.8"), opened(files, "{own}:0.8")
    own = editor.pipeline.scheduler
    drawn = [np.asarray(way.draw(editor, "style", "sketch", picture(5), **recipe)) for way in (fast, plain)]
    assert editor.pipeline.scheduler is own
    assert not np.array_equal(*drawn)  # the very same LoRA, prompt and seed
    assert fast.scheduler["base_shift"] == fast.scheduler["max_shift"] == math.log(3)
    assert fast.recipe("style", "sketch")[0]["scheduler"] == fast.scheduler
    assert "scheduler" not in plain.recipe("style", "sketch")[0]
    with pytest.raises(AttributeError):  # whatever goes wrong while it draws
        fast.draw(editor, "style", "sketch", None, **recipe)
    assert editor.pipeline.scheduler is own
    lora.unstack(editor)


def test_a_view_is_asked_for_by_the_angle_to_be_shown(files):
    views = opened(files, "multiple-angles-2511={angles}")
    (each,) = views.passes("camera", "slightly left", angle="front")
    assert each.prompt == "<sks> front view eye-level shot medium shot"
    assert views.recipe("camera", "slightly left", angle="half-left") != views.recipe("camera", "slightly left")[1:]


def test_a_lora_of_another_family_is_refused_by_its_keys(tiny_flux, tiny_qwen_edit, tmp_path):
    flux = load(tiny_flux, "flux")
    lora.attach(flux, 2, 2, "all-linear", seed=0)
    path = flux.save(tmp_path / "wrong.safetensors", metadata={})
    wrong = Routes([community.parse(str(path))])
    with pytest.raises(ValueError, match=r"wrong.safetensors was made for flux"):
        open_editor(params.Models(editor=str(tiny_qwen_edit)), wrong)
    with pytest.raises(ValueError, match="not 'both'"):
        Routes([], "both")


def test_adopted_is_what_the_iteration_before_chose(files, tmp_path):
    first, second = (open_iteration(CHARACTER, version, root=tmp_path) for version in ("v1", "v2"))
    asked = params.check("models", {"editor_loras": ["adopted"]})
    with pytest.raises(FileNotFoundError, match="there is no iteration before it"):
        routes.open_routes(first, asked)
    with pytest.raises(FileNotFoundError, match="v1 has not compared editors yet"):
        routes.open_routes(second, asked)
    first.editor_lora.parent.mkdir(parents=True)
    first.editor_lora.write_bytes(files["own"].read_bytes())
    uses = [community.parse(f"{first.editor_lora}:0.9")]
    routes.adopt(first, "train", uses, "sequence", "it is better")
    assert str(tmp_path) not in first.adopted_editor.read_text()
    found = routes.open_routes(second, asked)
    assert [(use.path, use.weight) for use in found.uses] == [(first.editor_lora.resolve(), 0.9)]
    assert found.mode == "sequence"
    routes.adopt(first, "base", [], "stack", "nothing better")
    assert routes.open_routes(second, asked).uses == ()


def test_other_words_take_the_place_of_the_first_pass(files):
    stacked = opened(files, *ALL).passes("camera", "slightly left", "turn a little, keep the face")
    assert [each.prompt for each in stacked] == ["turn a little, keep the face"]
    first, second = opened(files, *ALL, mode="sequence").passes("camera", "slightly left", "turn a little")
    assert first.prompt == "turn a little" and second.prompt == community.KNOWN["skin"].phrase
    assert names(first) == [("angles", 0.9)]


def test_what_an_adopted_editor_draws_is_deeper_than_what_it_learnt(files, tmp_path):
    first, second = (open_iteration(CHARACTER, version, root=tmp_path) for version in ("v1", "v2"))
    first.editor_lora.parent.mkdir(parents=True)
    first.editor_lora.write_bytes(files["own"].read_bytes())
    routes.adopt(first, "ours", [community.parse(str(first.editor_lora))], "stack", "better")
    asked = params.check("models", {"editor_loras": ["adopted"]})
    assert routes.open_routes(second, asked).depth == 1, "its triplets are gone: one at least"
    known = [Triplet("s.png", "do", "t.png", depth=d, held_out=d == 5) for d in (1, 3, 5)]
    triplets.write(first.data("corrections"), known)
    assert routes.open_routes(second, asked).depth == 3
    assert routes.open_routes(second, params.check("models", {"editor_loras": [str(files["own"])]})).depth == 0
    dataset = Dataset.open(tmp_path / "drawn", create=True)
    picture(1).save(dataset.folder / "a.png")
    job = Job("a.png", "do", 1, {}, ImageRecord("s.png"))
    assert put_record(dataset, job, dataset.folder / "a.png", "edit", {}, "").depth == 1
    assert put_record(dataset, job, dataset.folder / "a.png", "edit", {}, "", learnt_depth=3).depth == 4


@pytest.mark.parametrize(
    "text",
    [
        '{"loras": ["a"',
        "[]",
        '{"loras": "a", "mode": "stack"}',
        "[" * 100_000,
        '{"iteration": "v1", "name": "x", "loras": [3], "mode": "stack", "sentence": ""}',
    ],
)
def test_a_damaged_choice_is_one_sentence(tmp_path, text):
    first, second = (open_iteration(CHARACTER, version, root=tmp_path) for version in ("v1", "v2"))
    first.outputs.mkdir(parents=True)
    first.adopted_editor.write_text(text)
    with pytest.raises(ValueError, match=r"editor\.json is damaged.*run step 23 of v1 again") as caught:
        routes.adopted(second)
    assert "\n" not in str(caught.value)
