"""The random-weight pipelines are real diffusers folders: they load, sample, and speak the studio's words."""

import json

import pytest
import torch
from diffusers import FluxPipeline, QwenImageEditPlusPipeline
from PIL import Image

from flenlib.mini.architecture import SIZES, new_flux, new_qwen_edit
from flenlib.mini.tokens import flux_tokenizer, qwen_tokenizer
from flenlib.models.families.qwen_processor import load_processor, reference_areas

SIDE = SIZES["tiny"].resolution


@pytest.fixture(scope="module")
def flux_folder(tmp_path_factory):
    return new_flux(tmp_path_factory.mktemp("flux"), "tiny")


@pytest.fixture(scope="module")
def qwen_folder(tmp_path_factory):
    return new_qwen_edit(tmp_path_factory.mktemp("qwen"), "tiny")


def load_qwen(folder):
    processor = load_processor(folder / "processor")
    return QwenImageEditPlusPipeline.from_pretrained(folder, processor=processor, torch_dtype=torch.float32)


def test_flux_folder_loads_and_samples_the_same_picture_twice(flux_folder):
    pipeline = FluxPipeline.from_pretrained(flux_folder, torch_dtype=torch.float32)
    facts = json.loads((flux_folder / "flenlib.json").read_text())

    def sample():
        return pipeline(
            "photo of ohwx_char person, front view",
            height=SIDE,
            width=SIDE,
            num_inference_steps=2,
            max_sequence_length=facts["max_sequence_length"],
            generator=torch.Generator().manual_seed(3),
        ).images[0]

    first = sample()
    assert first.size == (SIDE, SIDE)
    assert first.tobytes() == sample().tobytes()
    assert facts["family"] == "flux" and facts["resolution"] == SIDE


def test_qwen_folder_loads_and_edits(qwen_folder):
    facts = json.loads((qwen_folder / "flenlib.json").read_text())
    pipeline = load_qwen(qwen_folder)
    with reference_areas(facts["condition_area"], facts["reference_area"]):
        edited = pipeline(
            image=[Image.new("RGB", (SIDE, SIDE), "teal")],
            prompt="Change background to forest",
            negative_prompt=" ",
            height=SIDE,
            width=SIDE,
            num_inference_steps=2,
        ).images[0]
    assert edited.size == (SIDE, SIDE)


def test_editor_drops_exactly_the_system_words(qwen_folder):
    pipeline = load_qwen(qwen_folder)
    text = pipeline.prompt_template_encode.format("Picture 1: change")
    tokens = pipeline.tokenizer(text).input_ids
    kept = pipeline.tokenizer.decode(tokens[pipeline.prompt_template_encode_start_idx :])
    assert kept.startswith("picture 1:")


def test_reference_areas_are_put_back():
    from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as module

    with pytest.raises(RuntimeError), reference_areas(16, 32):
        assert (module.CONDITION_IMAGE_SIZE, module.VAE_IMAGE_SIZE) == (16, 32)
        raise RuntimeError
    assert (module.CONDITION_IMAGE_SIZE, module.VAE_IMAGE_SIZE) == (384 * 384, 1024 * 1024)


def test_studio_words_are_single_tokens_and_others_are_bytes():
    tokenizer = flux_tokenizer(32)
    assert len(tokenizer.tokenize("photo of woman, smiling, forest background, nighttime")) == 7
    assert (
        tokenizer.decode(tokenizer("ohwx_char pérson").input_ids, skip_special_tokens=True).strip()
        == "ohwx_char pérson"
    )
    assert qwen_tokenizer().tokenize("background forest") == ["background", "Ġforest"]


def test_unknown_size_names_the_choices(tmp_path):
    with pytest.raises(ValueError, match="size 'huge' is not known; it must be one of mini, tiny"):
        new_flux(tmp_path, "huge")
