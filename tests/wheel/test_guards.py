"""The guards of wheel 1: what an iteration inherits, and what each guard leaves out."""

import pytest
from PIL import Image

from flenlib import params
from flenlib.dataset.images import save_picture
from flenlib.dataset.records import Dataset, ImageRecord
from flenlib.project import Project, open_iteration
from flenlib.wheel import guards, results, select
from tests.results import leave

CHARACTER = {"name": "tester", "trigger": "ohwx_char", "kind": "fictional", "age": "adult"}
TRAIN = params.check("train", {})


def fill(project, stage, count, depth=0, **more):
    dataset = Dataset.open(project.data(stage), create=True)
    for n in range(count):
        name = f"{stage}_{n}.png"
        save_picture(Image.new("RGB", (16, 16), (n, depth, len(stage))), dataset.folder / name, {"made_by": "import"})
        dataset.add(ImageRecord(name, caption="ohwx_char person", depth=depth, **more))
    dataset.save()
    return dataset


@pytest.fixture
def project(tmp_path):
    """The third iteration of a character: 4 sources, 10 good edits, 6 pristine pictures of each iteration before."""
    project = open_iteration(CHARACTER, "v3", root=tmp_path)
    for depth, each in ((2, Project(tmp_path, project.character, "v1")), (3, project.before())):
        fill(each, "source", 4)
        fill(each, "pristine", 6, depth=depth)
    fill(project, "source", 4)
    fill(project, "enriched", 10, depth=1, label={"label": "good", "reasons": [], "reviewer": "auto"})
    return project


def trained(project, **asked):
    source, enriched = Dataset.open(project.data("source")), Dataset.open(project.data("enriched"))
    return guards.training_set(project, source, enriched, TRAIN, params.check("guards", asked))


def drawn(found):
    table = guards.mixture_table(found.samples)
    return table["pictures"].to_dict(), float(table.loc["source", "share"])


def test_by_default_only_the_iteration_before_feeds_and_real_pictures_are_half(project):
    found = trained(project)
    pictures, share = drawn(found)
    assert pictures == {"source": 4, "enriched": 10, "pristine v2": 6} and share >= 0.5
    assert found.depth == 3 and all(c.holds for c in found.criteria)
    assert any("6 of pristine v2 learnt from" in c.found for c in found.criteria)


def test_each_guard_can_be_turned_off(project):
    assert drawn(trained(project, previous_only=False))[0]["pristine v1"] == 6
    assert drawn(trained(project, real_share=0.0))[1] == pytest.approx(0.2)
    assert drawn(trained(project, real_share=0.75))[1] >= 0.75


def test_what_is_too_deep_is_left_out(project):
    found = trained(project, deepest=2)
    assert "pristine v2" not in drawn(found)[0] and found.depth == 1
    assert any("6 of v2 are more than 2 generations from a real picture" in c.found for c in found.criteria)


def test_pictures_that_made_a_lora_no_fit_to_ship_are_left_out(project):
    before = project.before()
    leave(before, results.RetrainAndCompare, ship="v2")
    found = trained(project)
    assert "pristine v2" not in drawn(found)[0]
    skipped = "v2's pristine pictures: their LoRA failed its shipping check"
    assert any(skipped in criterion.found for criterion in found.criteria)
    assert "pristine v2" in drawn(trained(project, only_shipped=False))[0]
    leave(before, results.RetrainAndCompare, ship=results.refined("v2"))
    assert "pristine v2" in drawn(trained(project))[0]


def test_held_out_pictures_that_an_earlier_iteration_trained_on_are_found(project):
    source = Dataset.open(project.data("source"))
    source.images[0].held_out = True
    source.save()
    failed = [c for c in trained(project).criteria if not c.holds]
    assert [c.found for c in failed] == ["1 were"]


def test_the_depth_of_what_is_drawn_is_one_more(project):
    with pytest.raises(FileNotFoundError, match=r"14_train_character of .* has not finished"):
        guards.drawn_depth(project)
    leave(project, results.TrainCharacter, depth=3)
    assert guards.drawn_depth(project) == 4


def test_own_pictures_too_far_from_a_real_one_do_not_pass(project):
    own = fill(project, "pristine", 2, depth=5)
    source, enriched = Dataset.open(project.data("source")), Dataset.open(project.data("enriched"))
    found = guards.training_set(project, source, enriched, TRAIN, params.check("guards", {}), own)
    assert [c.found for c in found.criteria if not c.holds] == [
        "6 of pristine v2 learnt from; the deepest picture is 5 from a real one"
    ]


def test_strict_review_counts_what_earlier_iterations_handed_down(project):
    have = select.training_records(project, params.check("guards", {}))
    assert sorted(r.depth for r in have) == [0] * 4 + [1] * 10 + [3] * 6


def test_sources_a_model_drew_are_counted_as_generated(project):
    source = Dataset.open(project.data("source"))
    for record in source.images:
        record.depth, record.kind = 5, "generated"
    source.save()
    found = trained(project)
    assert found.depth == 5 and "source" not in guards.mixture_table(found.samples).index
    assert {c.name.split(":")[1].split()[0]: c.holds for c in found.criteria if c.name.startswith("guard")}[
        "real"
    ] is False
    assert any("the deepest picture is 5 from a real one" in c.found for c in found.criteria)
