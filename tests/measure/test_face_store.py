"""Faces are found once a picture, whatever is measured on it later; one that changes is looked at again."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from flenlib import params
from flenlib.dataset.images import open_image, save_picture
from flenlib.dataset.records import Dataset, ImageRecord
from flenlib.draw.editor import Editor
from flenlib.judge import card, compare
from flenlib.measure import faces, seen
from flenlib.measure.face_store import faces_in
from flenlib.mini.hand import Renderer
from flenlib.mini.people import person
from flenlib.mini.render import Scene, render
from flenlib.params import ReviewEnriched
from flenlib.project import open_iteration
from flenlib.wheel import curate, enrich, filter
from flenlib.wheel.editor import scores
from tests.studio import Ready, write_raw

MODELS = {"name": "renderer", "hash": "h", "precision": "fp32", "source": "x", "loras": []}


@pytest.fixture
def looked(monkeypatch):
    """How often each picture was really looked at, by its pixels."""
    counted, real = Counter(), faces.find_faces

    def find(image):
        counted[image.tobytes()] += 1
        return real(image)

    for module in (faces, seen):
        monkeypatch.setattr(module, "find_faces", find)
    return counted


class Draughtsman:
    """Draws the person of the tests' sources in another scene for each seed."""

    loras = ()

    def sample(self, text, *, seed, **how):
        return Image.fromarray(render(person(1_000_123), Scene(seed=seed % 1000)))


@pytest.fixture
def project(tmp_path):
    return open_iteration({"name": "t", "trigger": "ohwx_char", "kind": "fictional", "age": "adult"}, root=tmp_path)


def fill(project, root):
    settings = params.check("curate", {"folder": str(write_raw(root / "raw")), "minimum_size": 64})
    return curate.curate(project, settings, Renderer()).dataset


def test_what_is_kept_is_what_was_found_and_a_changed_picture_is_looked_at_again(tmp_path, looked):
    path = next(write_raw(tmp_path / "raw").glob("*.png"))
    first, again = faces_in([path]), faces_in([path])
    assert looked.total() == 1 and first[0][0].box == again[0][0].box
    assert np.array_equal(first[0][0].encoding, faces.find_faces(open_image(path))[0].encoding)
    Image.new("RGB", (96, 96)).save(path)
    assert faces_in([path]) == [[]] == faces_in([path]) and looked.total() == 3  # one of them the line above


def test_pictures_whose_faces_were_lost_are_opened_one_at_a_time(tmp_path, monkeypatch):
    paths, events = [tmp_path / f"{number}.png" for number in range(3)], []
    for number, path in enumerate(paths):
        save_picture(Image.new("RGB", (48, 48), (number, 9, 9)), path, {})
    monkeypatch.setattr(faces, "open_image", lambda path: events.append("opened") or open_image(path))
    monkeypatch.setattr(faces, "find_faces", lambda picture: events.append("looked at") or [])
    assert faces_in(paths) == [[], [], []]
    assert events == ["opened", "looked at"] * 3


def test_no_picture_is_looked_at_twice_from_the_raw_folder_to_the_filter(project, tmp_path, looked):
    source = fill(project, tmp_path)
    assert looked.total() == 12
    settings = params.check("enrich", {"edits_per_source": 1, "kinds": ["background"], "steps": 1, "tries": 2})
    editor = Editor(Ready(Draughtsman()), MODELS)
    edits = enrich.enrich(project, source, editor, settings, ReviewEnriched(), Renderer()).dataset
    tries = len(list((edits.folder / "tries").glob("*.png")))
    assert looked.total() == 12 + tries
    drawn = Dataset.open(project.data("synthetic"), create=True)
    for n in range(3):
        picture = Image.fromarray(render(person(1_000_123), Scene(seed=5000 + n)))
        save_picture(picture, drawn.folder / f"{n}.png", {"made_by": "mini"})
        drawn.add(ImageRecord(f"{n}.png", angle="front"))
    drawn.save()
    for _ in range(2):  # again with another threshold, from what is kept
        filter.filter_identity(project, source, params.check("filter", {}))
    jobs = enrich.plan(project, source, settings, editor)
    known = enrich.references(source).training
    paths = [edits.folder / job.filename for job in jobs]
    scores.measure(source, jobs, paths, known, 1.4, ReviewEnriched(), Renderer())
    assert looked.total() == 12 + tries + 3


def test_a_model_card_looks_at_its_own_pictures_alone(project, tmp_path, looked):
    source, settings = fill(project, tmp_path), params.check("card", {"seeds_per_cell": 1})
    looked.clear()
    paths = {}
    for number, name in enumerate(("v1", "v2")):
        paths[name] = [tmp_path / name / job.filename for job in card.jobs(project, settings)]
        for n, path in enumerate(paths[name]):
            picture = Image.fromarray(render(person(1_000_123), Scene(seed=100 * number + n)))
            save_picture(picture, path, {"made_by": "mini"})
    for _ in range(2):
        tables = card.measure_all(project, settings, source, paths)
        card.summary(tables)
        card.success(tables["v1"])
        compare.compare(tables, "v1", "v2")
    assert looked.total() == 46
