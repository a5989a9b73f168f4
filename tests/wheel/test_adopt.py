"""Step 2.3: editors are compared on the same edits, and the choice is said with its reason."""

import pytest
from PIL import Image

from flenlib import params
from flenlib.dataset.images import read_provenance, save_picture
from flenlib.dataset.triplets import Triplet
from flenlib.mini import answers
from flenlib.wheel import adopt
from flenlib.wheel.identity import references
from flenlib.wheel.routes import Routes
from tests.wheel.test_corrections import MODELS, house, sets

__all__ = ["house"]


def told(**more):
    return params.check("compare_editors", {"edits_per_source": 1, "kinds": ["background", "lighting"], **more})


@pytest.fixture
def compared(house):
    """The base editor draws grey; ours draws what was asked: (house, tables, jobs)."""
    source, _ = sets(house)
    jobs = adopt.plan(house, source, [], told(), MODELS)
    paths = {"base": [], "ours": []}
    for job in jobs:
        right = answers.answer(read_provenance(source.path(job.parent)), job.attributes)
        for name, drawn in (("base", Image.new("RGB", (96, 96), "gray")), ("ours", right)):
            path = house.outputs / name / job.filename
            save_picture(drawn, path, {"made_by": "mini"})
            paths[name].append(path)
    reference = references(source).training
    return house, {name: adopt.measure(source, jobs, paths[name], reference, 1.75) for name in paths}, jobs


def test_identity_edit_and_artefacts_are_measured_and_the_better_is_adopted(compared):
    house, tables, _ = compared
    table = adopt.summary(tables)
    assert table.loc["ours", "accepted"] > 0.8 and table.loc["base", "accepted"] < 0.5
    assert table.loc["ours", "edit done"] == 1 and table.loc["ours", "artefacts"] < 0.5
    assert tables["base"]["artefact"].isna().all()  # no face, so nothing to be blurred
    choice = adopt.choose(tables, told())
    assert choice.name == "ours" and "ours is better than base" in choice.sentence
    assert all(c.holds for c in adopt.criteria(tables, choice))
    assert adopt.intervals_table(tables).loc[("ours", "accepted (share)"), "low"] > 0
    path = adopt.adopt(house, choice, {"base": Routes(), "ours": Routes()})
    assert path == house.adopted_editor and '"name": "ours"' in path.read_text()


def test_without_a_better_one_the_base_editor_stays(compared):
    _, tables, _ = compared
    choice = adopt.choose({"base": tables["ours"], "ours": tables["base"]}, told())
    assert choice.name == "base" and "the base editor stays" in choice.sentence
    assert adopt.choose(tables, told(adopt="base")).name == "base"
    with pytest.raises(ValueError, match=r"adopt is 'mine'; compared were base, ours"):
        adopt.choose(tables, told(adopt="mine"))


def test_edits_that_were_trained_on_are_not_compared(house):
    source, _ = sets(house)
    first = adopt.plan(house, source, [], told(), MODELS)
    job = first[0]
    kind, value = job.attributes["edit"], job.attributes["edit_value"]
    pair = Triplet(f"../../source/v1/{job.parent.filename}", job.prompt, "x.png", kind=kind, value=value)
    second = adopt.plan(house, source, [pair], told(), MODELS)
    assert len(second) == len(first) == 12 and job.filename not in {j.filename for j in second}


def test_strategies_need_what_they_name(house):
    models = params.check("models", {})
    with pytest.raises(ValueError, match=r"name LoRAs in compare_editors\.community"):
        adopt.candidates(house, models, told(strategies=["use"]))
    with pytest.raises(FileNotFoundError, match=r"qwen_char_lora_v1\.safetensors does not exist"):
        adopt.candidates(house, models, told(strategies=["train"]))
    assert list(adopt.candidates(house, models, told(strategies=[]))) == ["base"]


def test_the_four_strategies(house, tiny_qwen_edit):
    from flenlib.models import lora
    from tests.models.common import load

    editor = load(tiny_qwen_edit, "qwen_edit")
    lora.attach(editor, 2, 2, "attention", seed=0)
    editor.save(house.editor_lora, metadata={})
    given = [f"multiple-angles={house.editor_lora}:0.9", f"next-scene={house.editor_lora}"]
    found = adopt.candidates(
        house, params.check("models", {}), told(strategies=["use", "combine", "train", "hybrid"], community=given)
    )
    assert list(found) == ["base", "multiple-angles", "next-scene", "combined", "ours", "hybrid"]
    assert [len(way.uses) for way in found.values()] == [0, 1, 1, 2, 1, 3]
