"""A further family is one file: AuraFlow stands here whole, and the kit plans, trains, samples and exports with it.

Its transformer takes whole latents, and diffusers' loader of its LoRAs refuses ``.alpha``.
"""

import json
import re
from typing import ClassVar

import numpy as np
import pytest
import torch
from diffusers import (
    AuraFlowPipeline,
    AuraFlowTransformer2DModel,
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
)
from PIL import Image
from safetensors.torch import load_file
from transformers import UMT5Config, UMT5EncoderModel

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
from flenlib.models.families.z_image import packed, unpacked
from flenlib.predict import plan
from flenlib.project import open_iteration
from flenlib.train.loop import train
from flenlib.train.watch import Preview
from flenlib.wheel import generate
from tests.train.common import CHARACTER, bits, draw

ATTENTION = tuple(f"attn.to_{name}" for name in ("q", "k", "v", "out.0"))


class AuraFlow(Family):
    """An AuraFlowPipeline with the five verbs."""

    name = "aura_flow"
    roles = ("generator",)
    pipeline_class = AuraFlowPipeline
    transformer_class = AuraFlowTransformer2DModel
    encoders = ("text_encoder",)
    guidance = 3.5
    blocks = ("joint_transformer_blocks", "single_transformer_blocks")
    targets: ClassVar = {"attention": ATTENTION, "all-linear": ("*",)}
    lora_prefix = "transformer."
    lora_marks = re.compile(r"joint_transformer_blocks")
    lora_header = re.compile(r"aura\W?flow")
    architecture = "auraflow"
    folds_alpha = True
    quantised: ClassVar = {"transformer": ("pos_embed", "context_embedder", "time_step_proj", "norm_out", "proj_out"),
                           "text_encoder": (".wo",)}  # fmt: skip
    layers = (4, 32)
    width = 3072
    text_tokens = 256

    @classmethod
    def published(cls):
        pile = UMT5Config(vocab_size=32128, d_model=2048, d_kv=64, d_ff=5120, num_layers=24, num_heads=32)
        kinds = {f"{way}_block_types": (f"{way.title()}{code}Block2D",) * 4
                 for way, code in (("down", "Encoder"), ("up", "Decoder"))}  # fmt: skip
        return {
            "transformer": cls.published_transformer,
            "text_encoder": lambda: UMT5EncoderModel(pile),
            "vae": lambda: AutoencoderKL(block_out_channels=(128, 256, 512, 512), layers_per_block=2, **kinds),
        }

    @classmethod
    def published_transformer(cls, layers=None, heads=None):
        joint, single = layers or cls.layers
        width = 256 * (heads or 12)
        return AuraFlowTransformer2DModel(num_mmdit_layers=joint, num_single_dit_layers=single, pos_embed_max_size=9216,
                                          num_attention_heads=heads or 12, caption_projection_dim=width)  # fmt: skip

    @classmethod
    def inputs(cls, config, batch, target, references, text):
        latents = torch.empty(batch, config.in_channels, 2 * target[0], 2 * target[1], dtype=torch.bfloat16)
        return super().inputs(config, batch, target, references, text) | {"hidden_states": latents}

    @classmethod
    def step(cls, transformer, batch, target, references, text):
        return transformer(**cls.inputs(transformer.config, batch, target, references, text), return_dict=False)[0]

    def text_settings(self, references):
        return {"length": 256}

    def _encode(self, image, text, references):
        parts = {}
        if image is not None:
            width, height = (side // self.multiple * self.multiple for side in image.size)
            vae = self.pipeline.vae
            pixels = self.pipeline.image_processor.preprocess(image, height, width)
            latents = vae.encode(pixels.to(self.device, vae.dtype)).latent_dist.mode() * vae.config.scaling_factor
            parts["grid"] = torch.tensor([height // self.multiple, width // self.multiple])
            parts["latents"] = packed(latents)[0].float().cpu()
        if text is not None:
            self._need_encoders()
            parts["text"] = self.pipeline.encode_prompt(text, do_classifier_free_guidance=False)[0][0].float().cpu()
        return Encoded(**parts)

    def predict(self, noisy, timesteps, batch):
        latents = unpacked(noisy.to(self.device, self.dtype), *one_grid(batch.grid))
        text, times = (each.to(self.device, self.dtype) for each in (batch.text, timesteps))
        return packed(self.transformer(latents, text, times, return_dict=False)[0]).float()

    def _draw(self, pipeline, text, guidance, references, conditions, how):
        inputs = {"prompt": text}
        if conditions is not None:
            text, off = conditions.text[None].to(self.device, self.dtype), torch.ones(1, 256)
            inputs = {"prompt_embeds": text, "prompt_attention_mask": off}
            inputs |= {f"negative_{name}": 0 * each for name, each in inputs.items()}
        return pipeline(**inputs, **how, guidance_scale=guidance).images[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny AuraFlowPipeline on disk, while its family is registered."""
    torch.manual_seed(0)
    vae, tokenizer = flux_pipeline("tiny").vae, flux_tokenizer(256)
    reader = UMT5Config(vocab_size=len(tokenizer), d_model=32, d_kv=16, d_ff=32, num_layers=1, num_heads=2)
    channels = vae.config.latent_channels
    transformer = AuraFlowTransformer2DModel(
        sample_size=8, in_channels=channels, out_channels=channels, num_mmdit_layers=1, num_single_dit_layers=1,
        attention_head_dim=16, num_attention_heads=2, joint_attention_dim=32, caption_projection_dim=32,
        pos_embed_max_size=64,
    )  # fmt: skip
    scheduler = FlowMatchEulerDiscreteScheduler(shift=1.5)
    path = tmp_path_factory.mktemp("models") / "tiny-aura-flow"
    AuraFlowPipeline(tokenizer, UMT5EncoderModel(reader), vae, transformer, scheduler).save_pretrained(path)
    (path / "flenlib.json").write_text(json.dumps({"name": "tiny-aura-flow", "resolution": 64}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FAMILIES, AuraFlow.name, AuraFlow)
        row = registry.Model("tiny-aura-flow", AuraFlow, str(path), "Apache-2.0", resolution=64)
        patch.setitem(registry.KNOWN, row.name, row)
        yield path


@pytest.fixture
def models(folder):
    return params.Models(generator="tiny-aura-flow", precision="fp32", device="cpu")


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
    assert registry.resolve(folder).family is registry.resolve("tiny-aura-flow", "generator").family is AuraFlow
    with pytest.raises(ValueError, match="is a aura_flow, which cannot be used as editor"):
        registry.resolve("tiny-aura-flow", "editor")


def test_it_is_planned_for():
    found = plan.plan(AuraFlow, precision="nf4", rank=16, targets="attention", gpu="RTX 4090 24 GB")
    assert found.fits and 5 < found.peak_gib < 24 and found.seconds_per_step > 0
    assert "aura_flow at nf4" in found.sentence
    assert plan.sampling(AuraFlow, precision="bf16", gpu="RTX 4090 24 GB").peak_gib > 18


def test_it_trains_and_goes_on_where_it_stopped(trained, models, tmp_path):
    whole, samples = trained
    assert whole.steps == 2 and whole.log["loss"].gt(0).all() and whole.watched["validation_loss"].notna().any()
    generator = open_generator(models, transformer=False)
    train(generator.family, samples, SETTINGS, tmp_path / "lora", stop_after=1)
    again = train(open_generator(models).family, samples, SETTINGS, tmp_path / "lora")
    assert again.resumed_from == 1 and bits(again.lora) == bits(whole.lora)


def test_its_lora_is_recognised_stacked_and_drawn_with(trained, models, tmp_path):
    whole, _ = trained
    assert lora.families_of(whole.lora) == [AuraFlow]
    assert lora.header(whole.lora)["modelspec.architecture"] == "auraflow/lora"
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
    assert "lora_unet_single_transformer_blocks_0_attn_to_q.lora_down.weight" in file
    assert all(re.match("lora_unet_(joint|single)_transformer_blocks_", key) for key in file)


def test_lower_precisions_load_and_draw(folder):
    for precision in ("int8", "nf4"):
        family = AuraFlow.load(folder, precision=precision, device="cpu")
        assert type(family.transformer.single_transformer_blocks[0].attn.to_q).__name__ != "Linear"
        assert type(family.transformer.proj_out).__name__ == "Linear"
        assert family.sample(Allowed("a person"), seed=1, steps=1).size == (64, 64)
