"""Quality on a rendered portrait and what can be wrong with it."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from flenlib.measure import quality
from flenlib.mini.people import person
from flenlib.mini.render import Scene, face_box, render


@pytest.fixture(scope="module")
def portrait() -> Image.Image:
    return Image.fromarray(render(person(1_000_101), Scene(seed=1)))


@pytest.fixture(scope="module")
def box() -> tuple[int, int, int, int]:
    return face_box(person(1_000_101), Scene(seed=1))


def _saved_as_jpeg(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=70)
    return Image.open(buffer).convert("RGB")


def test_a_good_portrait_has_no_problems(portrait, box):
    assert quality.problems(portrait, box=box) == []


def test_blur_lowers_sharpness_and_is_a_reason_with_its_numbers(portrait, box):
    blurred = portrait.filter(ImageFilter.GaussianBlur(3))
    assert quality.sharpness(blurred, box) < quality.sharpness(portrait, box) / 10
    (reason,) = quality.problems(blurred, box=box, minimum_sharpness=60)
    assert reason.startswith("blurred: sharpness ") and reason.endswith("want 60")


def test_only_the_face_is_judged_when_its_box_is_given(portrait, box):
    shallow = portrait.filter(ImageFilter.GaussianBlur(3))
    shallow.paste(portrait.crop(box), box[:2])
    assert quality.sharpness(shallow, box) == quality.sharpness(portrait, box)


def test_a_large_picture_is_judged_at_256_px(portrait):
    large = portrait.resize((1024, 1024), Image.Resampling.BICUBIC)
    assert quality.sharpness(large) == pytest.approx(quality.sharpness(portrait.resize((256, 256))), rel=0.2)


def test_too_small_too_dark_and_too_bright_are_reasons(portrait, box):
    assert "too small: 40 px, want 64" in quality.problems(portrait.resize((40, 40)))
    assert "too dark" in quality.problems(ImageEnhance.Brightness(portrait).enhance(0.05), box=box)[-1]
    assert "too bright" in quality.problems(ImageEnhance.Brightness(portrait).enhance(9), box=box)[-1]


def test_exposure_of_plain_pictures():
    grey = quality.exposure(Image.new("RGB", (8, 8), (51, 51, 51)))
    assert (grey.mean, grey.black, grey.white) == (pytest.approx(0.2), 0.0, 0.0)
    assert quality.exposure(Image.new("RGB", (8, 8), "white")).white == 1.0


def test_a_picture_saved_again_is_a_duplicate_and_another_expression_is_not(portrait):
    again = _saved_as_jpeg(portrait.resize((150, 150)))
    smiling = Image.fromarray(render(person(1_000_101), Scene(expression="smiling", seed=1)))
    assert quality.duplicates([quality.Fingerprint.of(each) for each in (portrait, smiling, again)]) == [(0, 2)]


def test_hashes_are_compared_by_bits():
    assert quality.hamming(0b1011, 0b0010) == 2
    alike = np.zeros((64, 64))
    assert quality.duplicates([quality.Fingerprint(bits, alike) for bits in (0, 0b1111, 0b11111)]) == [(0, 1), (1, 2)]


def test_the_hash_survives_resizing(portrait):
    assert quality.hamming(quality.perceptual_hash(portrait), quality.perceptual_hash(portrait.resize((300, 300)))) <= 4


def test_diversity_of_pictures_is_a_colour_difference():
    black, white = Image.new("RGB", (20, 20)), Image.new("RGB", (20, 20), "white")
    assert quality.diversity([black, white]) == pytest.approx(100, abs=0.1)
    assert quality.diversity([black, black]) == 0
    assert quality.diversity([black]) is None


def test_a_copy_of_the_source_is_no_edit_however_it_was_saved(portrait):
    for copy in (portrait, _saved_as_jpeg(portrait), portrait.resize((64, 64)), portrait.resize((96, 128))):
        assert quality.unchanged(portrait, copy)
    who, scene = person(1_000_101), Scene(seed=1)
    for change in ({"angle": "half-left"}, {"height": "high"}, {"light": "daylight"}, {"style": "oil painting"}):
        assert not quality.unchanged(portrait, Image.fromarray(render(who, replace(scene, **change))))


def test_diversity_of_encodings_is_their_mean_distance():
    assert quality.diversity(np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]])) == pytest.approx(10 / 3)


def test_the_grade_says_how_far_a_picture_is_from_its_limits():
    picture = Image.fromarray(render(person(1_000_100), Scene(seed=1), 128))
    asked = {"minimum_size": 64, "minimum_sharpness": 60}
    assert quality.grade(picture, **asked) == "high"
    assert quality.grade(picture.resize((96, 96)), **asked) == "medium", "of 128 pixels for high"
    assert quality.grade(picture.resize((70, 70)), **asked) == "low"
    assert quality.grade(picture.point(lambda value: value // 3), **asked) == "medium"
    assert quality.grade(picture.filter(ImageFilter.GaussianBlur(2)), **asked) == "low"
    assert quality.grade(picture, minimum_size=64, minimum_sharpness=0) == "high"
