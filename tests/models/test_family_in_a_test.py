"""A further family is one file: Z-Image stands here whole, and the kit plans, trains, samples and exports with it.

Its transformer takes lists of pictures and texts, counts time backwards, and calls its blocks ``layers``.
"""

import json
import re
from typing import ClassVar

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    ZImageImg2ImgPipeline,
    ZImageInpaintPipeline,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from PIL import Image
from safetensors.torch import load_file
from transformers import Qwen3Config, Qwen3Model

from flenlib import params
from flenlib.content import Allowed
from flenlib.draw.generator import open_generator
from flenlib.draw.pictures import make
from flenlib.export import kohya
from flenlib.mini.architecture import flux_pipeline
from flenlib.mini.tokens import flux_tokenizer
from flenlib.models import lora, registry
from flenlib.models.batch import Encoded, one_grid
from flenlib.models.families import FAMILIES
from flenlib.models.families.base import Family
from flenlib.models.start import Start
from flenlib.predict import plan
from flenlib.project import open_iteration
from flenlib.train.loop import train
from flenlib.train.watch import Preview
from flenlib.wheel import generate
from tests.models.common import picture
from tests.train.common import CHARACTER, bits, draw

ATTENTION = tuple(f"attention.to_{name}" for name in ("q", "k", "v", "out.0"))


class ZImage(Family):
    """A ZImagePipeline with the five verbs."""

    name = "z_image"
    roles = ("generator",)
    pipeline_class = ZImagePipeline
    transformer_class = ZImageTransformer2DModel
    encoders = ("text_encoder",)
    supports: ClassVar = {"start": ZImageImg2ImgPipeline, "mask": ZImageInpaintPipeline}
    guidance = 5.0
    blocks = ("layers",)
    targets: ClassVar = {"attention": ATTENTION, "all-linear": ("*",)}
    lora_prefix = "diffusion_model."
    lora_marks = re.compile(r"layers[._]\d+[._](attention|feed_forward|adaLN)")
    architecture = "z-image"
    quantised: ClassVar = {"transformer": ("all_x_embedder", "all_final_layer", "t_embedder"), "text_encoder": ()}
    layers = (30,)
    width = 3840
    text_tokens = 128

    @classmethod
    def published(cls):
        qwen = Qwen3Config(
            vocab_size=151936, hidden_size=2560, intermediate_size=9728, num_hidden_layers=36, num_attention_heads=32,
            num_key_value_heads=8, head_dim=128,
        )  # fmt: skip
        vae = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "latent_channels": 16}
        kinds = {f"{way}_block_types": (f"{way.title()}{code}Block2D",) * 4
                 for way, code in (("down", "Encoder"), ("up", "Decoder"))}  # fmt: skip
        return {
            "transformer": cls.published_transformer,
            "text_encoder": lambda: Qwen3Model(qwen),
            "vae": lambda: AutoencoderKL(**vae, **kinds),
        }

    @classmethod
    def published_transformer(cls, layers=None, heads=None):
        heads = heads or 30
        return ZImageTransformer2DModel(dim=128 * heads, n_layers=(layers or cls.layers)[0], n_heads=heads,
                                        n_kv_heads=heads)  # fmt: skip

    @classmethod
    def step(cls, transformer, batch, target, references, text):
        config = transformer.config
        pictures = [
            torch.empty(config.in_channels, 1, 2 * target[0], 2 * target[1], dtype=torch.bfloat16) for _ in range(batch)
        ]
        texts = [torch.empty(text, config.cap_feat_dim, dtype=torch.bfloat16) for _ in range(batch)]
        return torch.stack(transformer(pictures, torch.empty(batch), texts, return_dict=False)[0])

    def text_settings(self, references):
        return {"length": 512}

    def _encode(self, image, text, references):
        parts = {}
        if image is not None:
            width, height = (side // self.multiple * self.multiple for side in image.size)
            vae = self.pipeline.vae
            pixels = self.pipeline.image_processor.preprocess(image, height, width)
            latents = vae.encode(pixels.to(self.device, vae.dtype)).latent_dist.mode()
            latents = (latents - vae.config.shift_factor) * vae.config.scaling_factor
            parts["grid"] = torch.tensor([height // self.multiple, width // self.multiple])
            parts["latents"] = pack(latents)[0].float().cpu()
        if text is not None:
            self._need_encoders()
            parts["text"] = self.pipeline.encode_prompt(text, do_classifier_free_guidance=False)[0][0].float().cpu()
            parts["text_mask"] = torch.ones(len(parts["text"]), dtype=torch.long)
        return Encoded(**parts)

    def predict(self, noisy, timesteps, batch):
        latents = unpack(noisy.to(self.device, self.dtype), *one_grid(batch.grid))
        texts = [text[mask.bool()].to(self.device, self.dtype)
                 for text, mask in zip(batch.text, batch.text_mask, strict=True)]  # fmt: skip
        times = 1 - timesteps.to(self.device, self.dtype)
        found = self.transformer(list(latents.unsqueeze(2)), times, texts, return_dict=False)[0]
        return -pack(torch.stack(found).squeeze(2)).float()

    def _draw(self, pipeline, text, guidance, references, conditions, how):
        inputs = {"prompt": text}
        if conditions is not None:
            embeds = [conditions.text.to(self.device, self.dtype)]
            inputs = {"prompt_embeds": embeds, "negative_prompt_embeds": [embed[:1] for embed in embeds]}
        return pipeline(**inputs, **how, guidance_scale=guidance if guidance > 1 else 0.0).images[0]


def pack(latents):
    """(B, channels, 2 rows, 2 columns) to (B, tokens, 4 channels)."""
    count, channels, high, wide = latents.shape
    split = latents.view(count, channels, high // 2, 2, wide // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return split.reshape(count, high * wide // 4, 4 * channels)


def unpack(tokens, rows, columns):
    count, _, width = tokens.shape
    split = tokens.view(count, rows, columns, width // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return split.reshape(count, width // 4, 2 * rows, 2 * columns)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny ZImagePipeline on disk, while its family is registered."""
    torch.manual_seed(0)
    parts = flux_pipeline("tiny")
    tokenizer = flux_tokenizer(64)
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    reader = Qwen3Config(vocab_size=len(tokenizer), hidden_size=32, intermediate_size=32, num_hidden_layers=2,
                         num_attention_heads=2, num_key_value_heads=2, head_dim=16)  # fmt: skip
    transformer = ZImageTransformer2DModel(
        in_channels=parts.vae.config.latent_channels, dim=48, n_layers=2, n_refiner_layers=1, n_heads=2, n_kv_heads=2,
        cap_feat_dim=32, axes_dims=[8, 8, 8], axes_lens=[128, 64, 64],
    )  # fmt: skip
    torch.nn.init.zeros_(transformer.x_pad_token)
    torch.nn.init.zeros_(transformer.cap_pad_token)
    scheduler = FlowMatchEulerDiscreteScheduler(shift=1.5)
    path = tmp_path_factory.mktemp("models") / "tiny-z-image"
    ZImagePipeline(scheduler, parts.vae, Qwen3Model(reader), tokenizer, transformer).save_pretrained(path)
    (path / "flenlib.json").write_text(json.dumps({"name": "tiny-z-image", "resolution": 64}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FAMILIES, ZImage.name, ZImage)
        row = registry.Model("tiny-z-image", ZImage, str(path), "Apache-2.0", resolution=64)
        patch.setitem(registry.KNOWN, row.name, row)
        yield path


@pytest.fixture
def models(folder):
    return params.Models(generator="tiny-z-image", precision="fp32", device="cpu")


SETTINGS = params.Train(
    steps=2, batch_size=2, rank=4, warmup=0, learning_rate=1e-2, checkpoint_every=1, sample_every=1, validate_every=2
)


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    """(what a training in one go made, its samples)."""
    samples, out = draw(tmp_path_factory.mktemp("pictures"), 4), tmp_path_factory.mktemp("unbroken") / "lora"
    generator = open_generator(params.Models(generator=str(folder), precision="fp32", device="cpu"), transformer=False)
    previews = [Preview(Allowed("photo of ohwx person"), 3, CHARACTER, steps=2)]
    return train(generator.family, samples[1:], SETTINGS, out, held_out=samples[:1], previews=previews), samples[1:]


def test_its_family_is_found_from_the_model(folder, models):
    assert registry.resolve(folder).family is registry.resolve("tiny-z-image", "generator").family is ZImage
    with pytest.raises(ValueError, match="is a z_image, which cannot be used as editor"):
        registry.resolve("tiny-z-image", "editor")


def test_it_is_planned_for():
    found = plan.plan(ZImage, precision="nf4", rank=16, targets="attention", gpu="RTX 4090 24 GB")
    assert found.fits and 5 < found.peak_gib < 24 and found.seconds_per_step > 0
    assert "z_image at nf4" in found.sentence
    assert plan.sampling(ZImage, precision="bf16", gpu="RTX 4090 24 GB").peak_gib > 18


def test_it_trains_and_goes_on_where_it_stopped(trained, models, tmp_path):
    whole, samples = trained
    assert whole.steps == 2 and whole.log["loss"].gt(0).all() and whole.watched["validation_loss"].notna().any()
    generator = open_generator(models, transformer=False)
    train(generator.family, samples, SETTINGS, tmp_path / "lora", stop_after=1)
    again = train(open_generator(models).family, samples, SETTINGS, tmp_path / "lora")
    assert again.resumed_from == 1 and bits(again.lora) == bits(whole.lora)


def test_its_lora_is_recognised_stacked_and_drawn_with(trained, models, tmp_path):
    whole, _ = trained
    assert lora.families_of(whole.lora) == [ZImage]
    assert lora.header(whole.lora)["modelspec.architecture"] == "z-image/lora"
    project = open_iteration({"name": "t", "trigger": "ohwx_char", "kind": "fictional", "age": "adult"}, root=tmp_path)
    settings = params.check("generate", {"prompts": 1, "seeds_per_prompt": 1, "steps": 2})
    drawn = []
    for loras in ((), [(whole.lora, 1.0)], [(whole.lora, 0.0)]):
        generator = open_generator(models, loras)
        (job,) = generate.plan(project, settings, generator)
        drawn.append(np.asarray(Image.open(make(project, tmp_path / str(len(drawn)), job, generator))).astype(int))
        generator.free()
    assert abs(drawn[0] - drawn[1]).max() > 0 and np.array_equal(drawn[0], drawn[2])


def test_it_is_exported_under_kohyas_names(trained, tmp_path):
    whole, _ = trained
    file = load_file(kohya.to_kohya(whole.lora, tmp_path / "kohya.safetensors"))
    assert "lora_unet_layers_0_attention_to_q.lora_down.weight" in file
    assert all(key.startswith("lora_unet_layers_") for key in file)


def test_it_samples_over_a_picture_and_within_a_mask(models):
    family, before, mask = open_generator(models).family, picture(3), Image.new("L", (64, 64))
    mask.paste(255, (32, 0, 64, 64))
    over = family.sample(Allowed("a person"), seed=1, steps=4, start=Start(before, 0.5))
    within = np.asarray(family.sample(Allowed("a person"), seed=1, steps=4, start=Start(before, 1.0, mask)))
    assert over.size == (64, 64)
    assert np.array_equal(within[:, :32], np.asarray(before)[:, :32]) and not np.array_equal(within, before)


def test_lower_precisions_load_and_draw(folder):
    for precision in ("int8", "nf4"):
        family = ZImage.load(folder, precision=precision, device="cpu")
        assert type(family.transformer.layers[0].attention.to_q).__name__ != "Linear"
        assert type(family.transformer.all_x_embedder["2-1"]).__name__ == "Linear"
        assert family.sample(Allowed("a person"), seed=1, steps=1).size == (64, 64)
