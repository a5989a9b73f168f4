"""The estimated angle of a found face: right for nearly all rendered people, as the benchmark measures at length."""

from PIL import Image

from flenlib.measure.angle import estimate_angle
from flenlib.measure.faces import find_faces
from flenlib.mini.people import person
from flenlib.mini.render import Scene, render


def test_front_and_half_views_of_unseen_people_are_told_apart():
    right = found = 0
    for number in range(3):
        for angle in ("front", "half-left", "half-right"):
            picture = Image.fromarray(render(person(1_070_000 + number), Scene(angle=angle, seed=number)))
            for face in find_faces(picture)[:1]:
                found, right = found + 1, right + (estimate_angle(picture, face) == angle)
    assert found >= 7 and right >= found - 1


def test_the_size_of_the_picture_does_not_matter():
    picture = Image.fromarray(render(person(1_070_010), Scene(angle="half-left", seed=1)))
    large = picture.resize((640, 640), Image.Resampling.LANCZOS)
    assert [estimate_angle(p, find_faces(p)[0]) for p in (picture, large)] == ["half-left", "half-left"]
