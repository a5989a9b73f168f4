"""Sampling over a picture and within a mask, and what an editor draws without a picture to edit."""

import numpy as np
import pytest
import torch
from PIL import Image

from flenlib.content import Allowed
from flenlib.models import lora
from flenlib.models.batch import collate
from flenlib.models.start import Start
from tests.models.common import NAMES, excite, load, open_family, picture

STEPS = 4


@pytest.fixture(params=NAMES)
def family(request):
    return open_family(request)


def pixels(image):
    return np.asarray(image).astype(int)


def drawn(family, **how):
    return pixels(family.sample(Allowed("a person"), seed=1, steps=STEPS, **how))


@pytest.fixture
def starting(family):
    """The family, if it samples over a picture."""
    if "start" not in family.supports:
        pytest.skip(f"{family.name} begins from noise")
    return family


@pytest.fixture
def masked(family):
    """The family, if it samples within a mask."""
    if "mask" not in family.supports:
        pytest.skip(f"{family.name} draws whole pictures")
    return family


def test_strength_says_how_much_of_a_picture_is_drawn_anew(starting):
    smooth = picture(3, 8, 8).resize((64, 64), Image.Resampling.BICUBIC)
    before = pixels(smooth)
    assert np.array_equal(drawn(starting, start=Start(smooth, 0.0)), before), "its bits"
    found = {strength: drawn(starting, start=Start(smooth, strength)) for strength in (0.25, 0.75, 1.0)}
    assert all(each.shape == before.shape for each in found.values())
    assert not np.array_equal(found[0.25], found[0.75]) and not np.array_equal(found[0.75], found[1.0])
    assert np.array_equal(drawn(starting, start=Start(smooth, 0.75)), found[0.75]), "a function of the seed"


def test_what_a_mask_leaves_black_stays_bit_by_bit(masked):
    start, mask = picture(3, 80, 64), Image.new("L", (80, 64))
    mask.paste(255, (32, 0, 80, 64))
    found, before = drawn(masked, start=Start(start, 1.0, mask)), pixels(start)
    assert np.array_equal(found[:, :32], before[:, :32]) and abs(found[:, 40:] - before[:, 40:]).mean() > 1


def test_a_picture_of_any_size_comes_back_at_its_size(starting):
    assert starting.sample(Allowed("x"), seed=1, steps=2, start=Start(picture(3, 75, 70), 0.5)).size == (75, 70)


def test_a_lora_and_encoded_conditions_draw_over_a_picture_too(starting):
    start, conditions = Start(picture(3), 0.5), starting.conditions(Allowed("a person"))
    base = drawn(starting, start=start)
    assert np.array_equal(drawn(starting, start=start, conditions=conditions), base)
    lora.attach(starting, 4, 4, "attention", seed=0)
    excite(starting)
    assert abs(drawn(starting, start=start) - base).max() > 1


def test_what_is_not_supported_is_refused_in_one_sentence(family):
    with pytest.raises(ValueError, match=rf"the {family.name} family cannot sample with a control picture; it takes"):
        drawn(family, control=picture())
    with pytest.raises(ValueError, match=r"strength is 1\.5; it must be from 0"):
        Start(picture(), 1.5)
    with pytest.raises(ValueError, match=r"the mask is \(8, 8\) pixels and its picture \(64, 64\)"):
        Start(picture(), 0.5, Image.new("L", (8, 8)))


def test_an_editor_takes_references_or_a_start(tiny_qwen_edit):
    editor = load(tiny_qwen_edit, "qwen_edit")
    with pytest.raises(ValueError, match="from references or from a start picture"):
        editor.sample(Allowed("x"), seed=1, steps=1, references=[picture()], start=Start(picture()))


def test_the_editor_without_references_is_qwen_image(tiny_qwen_edit):
    """It draws, encodes and predicts as a QwenImagePipeline of the same parts."""
    from diffusers import QwenImagePipeline

    editor = load(tiny_qwen_edit, "qwen_edit")
    names = ("scheduler", "vae", "text_encoder", "tokenizer", "transformer")
    plain = QwenImagePipeline(**{name: getattr(editor.pipeline, name) for name in names})
    plain.set_progress_bar_config(disable=True)
    expected = plain(
        "a person", negative_prompt=" ", width=64, height=64, num_inference_steps=STEPS, true_cfg_scale=4.0,
        generator=torch.Generator("cpu").manual_seed(1),
    ).images[0]  # fmt: skip
    assert np.array_equal(drawn(editor), pixels(expected))
    assert editor.encode(text=Allowed("a person")).reference is None
    batch = collate([editor.encode(image=picture(), text=Allowed("a person"))])
    assert editor.predict(batch.latents, torch.tensor([0.5]), batch).shape == batch.latents.shape
    conditions = editor.conditions(Allowed("a person"))
    assert np.array_equal(drawn(editor, conditions=conditions), drawn(editor))
