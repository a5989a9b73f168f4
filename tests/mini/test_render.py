"""The renderer of procedural people: every word draws, pairs are aligned, faces are found, people differ."""

from dataclasses import replace

import numpy as np
import pytest

from flenlib.mini import render as renderer
from flenlib.mini.people import TRAINING_SEEDS, describe, person
from flenlib.mini.render import Scene, face_box, render, render_many

FIRST = TRAINING_SEEDS.stop
SOMEBODY = person(FIRST)
WORDS = [(name, value) for name, choices in renderer._CHOICES.items() for value in choices]


def figure_mask(scene: Scene) -> np.ndarray:
    """Return where the figure is, (96, 96): the pixels that do not follow the background."""
    clean, studio = (render(SOMEBODY, replace(scene, background=name)).astype(int) for name in ("clean", "studio"))
    return np.abs(clean - studio).max(-1) == 0


def test_a_picture_is_uint8_and_the_same_every_time():
    picture = render(SOMEBODY, Scene(seed=3))
    assert picture.shape == (96, 96, 3) and picture.dtype == np.uint8
    renderer._figure.cache_clear()
    assert np.array_equal(picture, render(person(FIRST), Scene(seed=3)))
    assert render(SOMEBODY, Scene(), size=64).shape == (64, 64, 3)


@pytest.mark.parametrize(("name", "value"), WORDS)
def test_every_word_draws_something_of_its_own(name, value):
    default = Scene(seed=5)
    scene = replace(default, **{name: value})
    changed = np.abs(render(SOMEBODY, scene).astype(int) - render(SOMEBODY, default)).mean()
    assert (changed > 0.3) == (scene != default)


@pytest.mark.parametrize("name", list(renderer._CHOICES))
def test_an_unknown_word_is_named_with_the_choices(name):
    with pytest.raises(ValueError, match="'sideways'.*" + renderer._CHOICES[name][-1]):
        Scene(**{name: "sideways"})


def test_people_differ_and_are_functions_of_their_seed():
    people = [person(FIRST + i) for i in range(8)]
    assert people == [person(FIRST + i) for i in range(8)]
    pictures = [render(p, Scene()).astype(int) for p in people]
    for i, one in enumerate(pictures):
        for other in pictures[:i]:
            assert np.abs(one - other).mean() > 2


def test_descriptions_tell_what_is_visible():
    p = replace(SOMEBODY, woman=False, hair="bald", beard="full", glasses=False)
    assert describe(p) == "bald man with a beard"
    p = replace(p, woman=True, hair="long", hair_name="red", beard="none")
    assert describe(p) == "woman with long red hair"
    assert describe(replace(p, glasses=True)) == "woman with long red hair and glasses"


def test_pairs_of_one_seed_are_aligned_and_other_seeds_are_not():
    day = figure_mask(Scene(light="daylight", seed=4))
    assert 0.3 < day.mean() < 0.7
    assert np.mean(day != figure_mask(Scene(light="sunset", seed=4))) < 0.01
    assert np.mean(day != figure_mask(Scene(light="daylight", seed=9))) > 0.01


@pytest.mark.parametrize("pose", ["t-pose", "standing", "sitting"])
def test_whole_figures_stay_inside_the_frame(pose):
    for seed in range(3):
        mask = figure_mask(Scene(pose=pose, seed=seed))
        border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        rows = np.nonzero(mask.any(1))[0]
        assert not border.any()
        assert rows[-1] - rows[0] > 0.7 * 96


def test_many_pictures_come_in_order_from_any_number_of_workers():
    jobs = [(person(FIRST + i), Scene(seed=i)) for i in range(33)]
    assert np.array_equal(render_many(jobs, size=32, workers=2), render_many(jobs, size=32, workers=1))
    assert render_many([]).shape == (0, 96, 96, 3)


def test_the_face_box_is_where_the_detector_finds_the_face():
    faces = pytest.importorskip("face_recognition")
    found = 0
    for i in range(10):
        p, scene = person(FIRST + i), Scene(seed=i)
        boxes = faces.face_locations(render(p, scene), number_of_times_to_upsample=2)
        if len(boxes) == 1:
            found += 1
            top, right, bottom, left = boxes[0]
            box = face_box(p, scene)
            assert abs((left + right) - (box[0] + box[2])) < 20
            assert abs((top + bottom) - (box[1] + box[3])) < 24
    assert found >= 9
    assert face_box(SOMEBODY, Scene(angle="back")) is None


def test_a_portrait_is_mostly_face_and_shows_each_expression_in_it():
    for i in range(4):
        p, neutral = person(FIRST + i), Scene(seed=i)
        left, top, right, bottom = face_box(p, neutral)
        assert bottom - top > 0.45 * 96 and right - left > 0.4 * 96
        faces = [
            render(p, replace(neutral, expression=name))[top:bottom, left:right].astype(int)
            for name in renderer._CHOICES["expression"]
        ]
        for n, one in enumerate(faces):
            for other in faces[:n]:
                assert (np.abs(one - other).max(-1) > 40).mean() > 0.02
