"""Pictures of somebody else among a character's are named, with how far they lie; a set of one person is left alone."""

import numpy as np
import pytest
from PIL import Image

from flenlib.measure.faces import Face, find_faces
from flenlib.measure.strangers import strangers
from flenlib.mini.people import person
from flenlib.mini.render import render
from flenlib.mini.sources import scenes

PEOPLE = (1_000_123, 1_070_003, 1_070_010, 1_070_017)


def at(*values):
    return {f"{n}.png": Face((0, 0, 1, 1), np.full(128, value / np.sqrt(128))) for n, value in enumerate(values)}


@pytest.fixture(scope="module")
def drawn():
    """Seven front and half views of each of four people."""
    found = {}
    for seed in PEOPLE:
        pictures = [Image.fromarray(render(person(seed), scene)) for scene in scenes(seed - 1_000_000, 7)]
        found[seed] = [faces[0] for faces in map(find_faces, pictures) if faces]
    return found


def test_a_set_of_one_person_is_left_alone(drawn):
    for faces in drawn.values():
        assert strangers({str(n): face for n, face in enumerate(faces)}) == {}


def test_somebody_else_is_named_with_the_distance(drawn):
    mine = {f"own {n}": face for n, face in enumerate(drawn[PEOPLE[0]])}
    found = strangers(mine | {"other": drawn[PEOPLE[1]][0]})
    assert list(found) == ["other"] and 0.47 < found["other"] < 1
    both = strangers(mine | {"other": drawn[PEOPLE[1]][0], "again": drawn[PEOPLE[1]][2]})
    assert set(both) == {"other", "again"}, "two pictures of one stranger lie near each other and apart from the rest"


def test_the_limit_follows_the_spread_of_the_set_up_to_dlibs_own():
    assert strangers(at(0, 0.1, 0.2, 0.65)) == {}
    assert strangers(at(0, 0.1, 0.2, 0.68)) == {"3.png": 0.48}
    assert strangers(at(0, 0.38, 0.76, 1.14, 1.70)) == {}, "wide pictures of one person"
    assert strangers(at(0, 0.5, 1.0, 1.5, 2.11)) == {"4.png": 0.61}, "never over dlib's limit of 0.6"


def test_too_few_faces_are_not_measured():
    assert strangers(at(0, 0.1, 5)) is None
