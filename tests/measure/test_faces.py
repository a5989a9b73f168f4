"""Faces on rendered heads: found, told apart, calibrated; and what is said where there is none."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageFile

from flenlib.measure.faces import (
    KIND_FACTORS,
    SAME_PERSON_LIMIT,
    STYLE_LIMIT,
    Face,
    ReferenceSet,
    distances,
    find_faces,
    find_many,
)
from flenlib.mini.people import person
from flenlib.mini.render import Scene, face_box, render

SCENES = (
    Scene(seed=1),
    Scene(expression="smiling", seed=2),
    Scene(angle="half-left", seed=3),
    Scene(expression="angry", seed=4),
    Scene(angle="half-left", expression="smiling", seed=5),
)


def _pictures(seed: int) -> list[Image.Image]:
    return [Image.fromarray(render(person(seed), scene)) for scene in SCENES]


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    return _pictures(1_000_100)


@pytest.fixture(scope="module")
def references(pictures) -> ReferenceSet:
    return ReferenceSet.from_faces(find_many(pictures), [f"{number}.png" for number in range(len(pictures))])


def _encoded(*values: float) -> list[Face]:
    return [Face((0, 0, 10, 10), np.full(128, value / np.sqrt(128))) for value in values]


def test_a_frontal_face_is_found_where_it_was_drawn(pictures):
    (found,) = find_faces(pictures[0])
    left, top, right, bottom = face_box(person(1_000_100), SCENES[0])
    assert left <= (found.box[0] + found.box[2]) / 2 <= right
    assert top <= (found.box[1] + found.box[3]) / 2 <= bottom
    assert found.encoding.shape == (128,)


def test_the_same_picture_gives_the_same_encoding(pictures):
    assert np.array_equal(find_faces(pictures[0])[0].encoding, find_faces(pictures[0].copy())[0].encoding)


def test_many_in_processes_equals_one_by_one(pictures, monkeypatch):
    monkeypatch.setattr("flenlib.measure.faces._PARALLEL_FROM", 4)
    blank = Image.new("RGB", (96, 96), "white")
    alone = [find_faces(image) for image in [*pictures, blank]]
    together = find_many([*pictures, blank], workers=2)
    assert [len(faces) for faces in together] == [len(faces) for faces in alone]
    assert np.array_equal(together[2][0].encoding, alone[2][0].encoding)
    assert together[-1] == []


def test_a_picture_larger_than_900_px_is_searched_again_for_smaller_faces(pictures):
    large = Image.new("RGB", (1000, 1000), "white")
    large.paste(pictures[0].resize((110, 110), Image.Resampling.LANCZOS), (400, 400))
    assert len(find_faces(large)) == 1


def test_a_very_large_picture_is_searched_scaled_down_and_its_boxes_are_its_own(pictures):
    large = Image.new("RGB", (4200, 1400), "white")
    large.paste(pictures[0].resize((1200, 1200), Image.Resampling.LANCZOS), (2800, 100))
    (small,), (found,) = find_faces(pictures[0]), find_faces(large)
    at = [(side - start) / 12.5 for side, start in zip(found.box, (2800, 100, 2800, 100), strict=True)]
    assert all(abs(here - there) < 12 for here, there in zip(at, small.box, strict=True))
    assert distances(found.encoding[None], small.encoding[None]) < 0.35, "0.6 is another person"


def test_at_the_edges_the_detector_ends_no_process():
    """In a process of its own, since what is tested against is a crash: dlib writes past its memory on long strips."""
    code = """
from PIL import Image
from flenlib.measure.faces import find_faces
for size in ((200_000, 200), (50_000, 64), (65_535, 1), (1, 65_535), (1, 1), (2048, 1), (3, 2049)):
    assert find_faces(Image.new("RGB", size, "grey")) == [], size
print("alive")
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "alive\n"), ran.stderr


def test_other_pictures_of_the_person_are_nearer_than_another_person(references):
    mine = Image.fromarray(render(person(1_000_100), Scene(expression="sad", background="forest", seed=9)))
    other = Image.fromarray(render(person(1_000_103), Scene(expression="sad", background="forest", seed=9)))
    near, far = references.distance(find_faces(mine)), references.distance(find_faces(other))
    assert near < references.threshold() < far


def test_a_back_view_is_not_measured(references):
    back = Image.fromarray(render(person(1_000_100), Scene(angle="back")))
    assert references.distance(find_faces(back)) is None


def test_distance_is_the_least_over_all_faces_and_references():
    references = ReferenceSet.from_faces([_encoded(0.0), _encoded(1.0)], ["a", "b"])
    assert references.distance(_encoded(5.0, 1.25)) == pytest.approx(0.25)


def test_spread_ceiling_and_thresholds():
    references = ReferenceSet.from_faces([_encoded(0.0), _encoded(0.2), _encoded(0.5), []], ["a", "b", "c", "d"])
    assert references.spread == pytest.approx([0.2, 0.2, 0.3])
    assert references.ceiling == pytest.approx(0.2)
    assert references.missing == ("d",)
    assert references.threshold(slack=1.5) == pytest.approx(0.3)
    assert references.threshold(slack=1.5, kind="camera") == pytest.approx(0.3 * KIND_FACTORS["camera"])
    assert references.threshold(slack=9) == SAME_PERSON_LIMIT
    assert references.threshold(slack=9, kind="style") == STYLE_LIMIT


def test_an_unknown_kind_is_named():
    references = ReferenceSet.from_faces([_encoded(0.0), _encoded(0.2)], ["a", "b"])
    with pytest.raises(ValueError, match="edit kind 'weather' is not known; it must be one of background"):
        references.threshold(kind="weather")


@pytest.mark.parametrize("faces", [[[], []], [_encoded(0.0), []]], ids=["none", "one"])
def test_against_fewer_than_two_faces_nothing_is_measured(faces):
    references = ReferenceSet.from_faces(faces, ["a", "b"])
    assert not references.measured and "b" in references.missing
    assert references.distance(_encoded(0.1)) is None
    assert np.isnan(references.ceiling) and np.isnan(references.threshold()) and np.isnan(references.threshold(9))
    assert ReferenceSet.if_any(faces, ["a", "b"]) is None


def test_importing_face_recognition_leaves_broken_pictures_broken(pictures):
    find_faces(pictures[0])
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
