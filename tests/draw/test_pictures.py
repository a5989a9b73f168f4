"""Pictures are made once, whatever kills the run, and never when the profile does not allow them."""

import shutil

import pytest
from PIL import Image

from flenlib import params
from flenlib.dataset.images import read_provenance
from flenlib.dataset.records import Dataset
from flenlib.draw import pictures
from flenlib.draw.pictures import Job
from flenlib.project import open_iteration
from flenlib.wheel import labels

MODELS = {"name": "mini-flux", "hash": "h", "precision": "fp32", "source": "/home/me/models", "loras": []}


@pytest.fixture
def project(tmp_path):
    return open_iteration({"name": "t", "trigger": "ohwx_char", "kind": "fictional"}, root=tmp_path)


class Drawer:
    facts = MODELS

    def __init__(self):
        self.drawn = []

    def draw(self, job):
        self.drawn.append(job.filename)
        picture = Image.new("RGB", (16, 16), (job.seed % 255, 0, 0))
        picture.putpixel((0, 0), (255, 255, 255))
        return picture


def test_a_finished_picture_is_not_drawn_again_and_a_damaged_or_other_one_is(project, tmp_path):
    draw, job = Drawer(), Job("a.png", "photo of ohwx_char person", 7, {"steps": 2})
    path = pictures.make(project, tmp_path / "out", job, draw)
    pictures.make(project, tmp_path / "out", job, draw)
    assert draw.drawn == ["a.png"]
    other = Job("a.png", "photo of ohwx_char person", 8, {"steps": 2})
    pictures.make(project, tmp_path / "out", other, draw)
    assert len(draw.drawn) == 2
    whole = path.read_bytes()
    for number, damaged in enumerate((b"", whole[: len(whole) // 2])):
        path.write_bytes(damaged)
        pictures.make(project, tmp_path / "out", other, draw)
        assert len(draw.drawn) == 3 + number


def test_provenance_says_who_made_it_without_folders_of_this_machine(project, tmp_path):
    path = pictures.make(project, tmp_path, Job("a.png", "photo of ohwx_char person", 7, {"steps": 2}), Drawer())
    facts = read_provenance(path)
    assert facts["made_by"] == "mini-flux" and facts["seed"] == 7 and facts["character_kind"] == "fictional"
    assert b"trainedAlgorithmicMedia" in path.read_bytes()
    assert "/home/me" not in str(facts)


def test_refused_before_anything_is_drawn(project, tmp_path):
    draw = Drawer()
    jobs = [Job("a.png", "photo of ohwx_char person", 1, {}), Job("b.png", "nude photo of ohwx_char person", 2, {})]
    with pytest.raises(PermissionError, match="adult_content off"):
        pictures.check_jobs(project, jobs)
    with pytest.raises(PermissionError, match="refused"):
        pictures.make(project, tmp_path, jobs[1], draw)
    assert draw.drawn == []


def test_what_the_plan_drops_leaves_the_dataset_and_its_folders_and_comes_back_with_its_label(project, tmp_path):
    draw, review = Drawer(), params.check("review_enriched", {"reviewer": "human"})
    jobs = [Job(f"{name}.png", "photo of ohwx_char person", n, {}) for n, name in enumerate("abc")]
    dataset = Dataset.open(tmp_path / "synthetic", create=True)

    def turn(planned):
        pictures.keep_planned(dataset, planned)
        for job in planned:
            path = pictures.make(project, dataset.folder, job, draw)
            pictures.put_record(dataset, job, path, "generated", MODELS, "c")
        dataset.save()
        return labels.collect(dataset, review, None)

    journal = turn(jobs)
    for name, label in (("a.png", "good"), ("b.png", "needs_correction"), ("c.png", "needs_correction")):
        labels.note(journal, None, dataset.get(name), label, (), "human")
    labels.apply(dataset, journal, review, tmp_path)
    Image.new("RGB", (16, 16), "white").save(dataset.folder / "corrections" / "c.png")  # edited, and not read back yet

    turn(jobs[:1])
    assert [r.filename for r in dataset.images] == ["a.png"]
    found = {p.relative_to(dataset.folder).as_posix() for p in dataset.folder.rglob("*.png")}
    assert found == {"a.png", "good/a.png"} | {f"set_aside/{n}" for n in ("b.png", "c.png", "corrections__c.png")}

    labels.apply(dataset, turn(jobs), review, tmp_path)
    assert len(draw.drawn) == 3 and dataset.get("b.png").label["label"] == "needs_correction"


def test_a_copy_a_person_edited_outlives_a_picture_that_is_drawn_again(project, tmp_path):
    first, again = (Job("a.png", "photo of ohwx_char person", seed, {}) for seed in (0, 1))
    pictures.make(project, tmp_path, first, Drawer())
    for folder in ("good", "corrections"):
        (tmp_path / folder).mkdir()
    shutil.copy(tmp_path / "a.png", tmp_path / "good" / "a.png")
    Image.new("RGB", (16, 16), "white").save(tmp_path / "corrections" / "a.png")
    edited = (tmp_path / "corrections" / "a.png").read_bytes()
    pictures.make(project, tmp_path, again, Drawer())
    assert not list(tmp_path.glob("good/*")) and not list(tmp_path.glob("corrections/*"))
    assert (tmp_path / "set_aside" / "corrections__a.png").read_bytes() == edited


def test_seeds_are_the_same_everywhere():
    assert pictures.seed_of(7, "a", 1) == pictures.seed_of(7, "a", 1) != pictures.seed_of(7, "a", 2)
    assert pictures.seed_of(23, "novel_000", 0) == 2126288466


def test_a_picture_of_one_colour_is_named_as_such_and_not_kept(project, tmp_path):
    class Black(Drawer):
        def draw(self, job):
            return Image.new("RGB", (16, 16))

    with pytest.raises(RuntimeError, match=r"a\.png was drawn as one colour all over, \(0, 0, 0\)"):
        pictures.make(project, tmp_path, Job("a.png", "photo of ohwx_char person", 7, {}), Black())
    assert not list(tmp_path.glob("*.png"))


def test_a_picture_carries_the_revisions_its_models_were_taken_at_and_is_not_drawn_again_for_them(project, tmp_path):
    use = {"file": "/cache/char.safetensors", "sha256": "s", "weight": 0.8, "revision": "c0ffee"}
    hub = MODELS | {"revision": "main", "loras": [use]}
    assert pictures.drawn_by(hub) == pictures.drawn_by(MODELS | {"loras": [use | {"revision": "other"}]})
    draw, job = Drawer(), Job("a.png", "photo of ohwx_char person", 7, {"generator": pictures.drawn_by(hub)})
    draw.facts = hub
    facts = read_provenance(pictures.make(project, tmp_path, job, draw))["models"]
    assert facts["revision"] == "main" and facts["hash"] == "h" and facts["loras"][0]["revision"] == "c0ffee"
    dataset = Dataset.open(tmp_path, create=True)
    assert pictures.put_record(dataset, job, tmp_path / "a.png", "generated", hub, "c").models == facts
