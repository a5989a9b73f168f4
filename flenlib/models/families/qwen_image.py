"""The Qwen-Image family: text in, picture out. What the editor of the same architecture shares stands here too.

Latents are packed 2x2 into tokens; all sizes come from the pipeline's own config, so Qwen-Image, Qwen-Image-2512 and a
tiny random pipeline are the same code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from diffusers import (
    AutoencoderKLQwenImage,
    DiffusionPipeline,
    ModelMixin,
    QwenImageImg2ImgPipeline,
    QwenImageInpaintPipeline,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
)
from diffusers.configuration_utils import FrozenDict
from PIL import Image
from torch import nn
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from flenlib.content import Allowed
from flenlib.models.batch import Batch, Encoded, one_grid
from flenlib.models.families.architecture import Grid, Inputs
from flenlib.models.families.base import Family
from flenlib.words import Role

_ATTENTION = ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0")
_JOINT = ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out")
_MLP = ("img_mlp.net.0.proj", "img_mlp.net.2", "txt_mlp.net.0.proj", "txt_mlp.net.2")

SAMPLING = {"steps": 50, "guidance": 4.0}
TRAINING = {
    "steps": 2800,
    "batch_size": 1,
    "accumulate": 4,
    "learning_rate": 2e-4,
    "targets": "attention",
    "optimizer": "adamw8bit",
    "ema": 0.999,
    "gradient_checkpointing": True,
    "checkpoint_every": 250,
    "sample_every": 250,
    "validate_every": 250,
}
CAPTIONS = {"style": "tags"}  # the form of the process document's guide to Qwen characters
CLIPPED = {"max_grad_norm": 0.1}  # gradients through nf4 weights are noisy


class QwenImage(Family):
    """A QwenImagePipeline with the five verbs: load, encode, predict, sample, save."""

    name = "qwen_image"
    roles: ClassVar[tuple[Role, ...]] = ("generator",)
    pipeline_class = QwenImagePipeline
    transformer_class = QwenImageTransformer2DModel
    encoders = ("text_encoder",)
    longest_text = 1024
    supports: ClassVar = {"start": QwenImageImg2ImgPipeline, "mask": QwenImageInpaintPipeline}
    guidance = SAMPLING["guidance"]
    guided_twice = True
    caption_empty = Allowed(" ")  # without a negative prompt the pipelines ignore their guidance
    blocks = ("transformer_blocks",)
    # at rank 16 of the published models 23.6 M, 106 M and 147 M parameters
    targets: ClassVar = {
        "attention": _ATTENTION, "attention+mlp": _ATTENTION + _JOINT + _MLP, "all-linear": ("*",),
    }  # fmt: skip
    lora_prefix = "diffusion_model."
    lora_marks = re.compile(r"(img|txt)_(mlp|mod)|transformer_blocks[._](2\d|[3-9]\d)[._]")
    architecture = "qwen-image"
    lora_header = re.compile("qwen")
    # With eight_bits this is DiffSynth-Studio's list of what nf4 should spare in Qwen-Image. It leaves these in
    # bfloat16: a third of the model, 12.7 GiB of it, with which no training fits a 24 GiB GPU.
    quantised: ClassVar = {
        "transformer": ("norm_out", "img_in", "txt_in", "proj_out", "time_text_embed"),
        "text_encoder": ("lm_head", "visual"),  # the head as in transformers; the vision tower, as it sees fine detail
    }
    eight_bits = ("img_mod", "txt_mod")
    layers = (60,)
    width = 3072
    text_tokens = 192
    settings: ClassVar = {
        "captions": CAPTIONS, "train": TRAINING, "retrain": TRAINING, "generate": SAMPLING, "card": SAMPLING,
    }  # fmt: skip
    settings_at: ClassVar = {"nf4": {"train": CLIPPED, "retrain": CLIPPED, "train_editor": CLIPPED}}
    memory = ((70, "bf16", "none"), (30, "int8", "model"), (0, "nf4", "model"))

    @classmethod
    def published(cls) -> dict[str, Callable[[], nn.Module]]:
        """Return the builders of Qwen-Image: https://huggingface.co/Qwen/Qwen-Image (the editor's are the same)."""
        return {"transformer": cls.published_transformer, "text_encoder": _qwen_vl, "vae": AutoencoderKLQwenImage}

    @classmethod
    def published_transformer(cls, layers: tuple[int, ...] | None = None, heads: int | None = None) -> ModelMixin:
        """Return the published transformer, with other numbers of blocks and attention heads where asked."""
        return QwenImageTransformer2DModel(num_layers=(layers or cls.layers)[0], num_attention_heads=heads or 24)

    @classmethod
    def inputs(cls, config: FrozenDict, batch: int, target: Grid, references: Sequence[Grid], text: int) -> Inputs:
        """Return what the transformer is called with, as empty tensors and the shapes of its pictures."""
        pictures = [(1, *grid) for grid in (target, *references)]
        return super().inputs(config, batch, target, references, text) | {"img_shapes": [pictures] * batch}

    def text_settings(self, references: bool) -> dict[str, Any]:
        """Return what decides, beside its encoders, what a text is encoded to."""
        return {"template": self._text_pipeline.prompt_template_encode, "empty": self.caption_empty}

    @property
    def _text_pipeline(self) -> QwenImagePipeline:
        """The pipeline that encodes a text, and draws, without references."""
        return self.pipeline

    def _encode(self, image: Image.Image | None, text: Allowed | None, references: Sequence[Image.Image]) -> Encoded:
        """Encode a picture, a text, or both, into what ``predict`` reads: float32 tensors on the CPU.

        A picture gives ``latents`` and ``grid``; it is encoded at its own size, rounded down to a multiple of 16. A
        text gives ``text`` and ``text_mask``.
        """
        parts: dict[str, torch.Tensor] = {}
        if image is not None:
            width, height = (side // self.multiple * self.multiple for side in image.size)
            parts["latents"], parts["grid"] = self._latents(image, width, height)
        if text is not None:
            self._need_encoders()
            parts |= self._embedded(*self._text_pipeline.encode_prompt(text))
        return Encoded(**parts)

    def predict(self, noisy: torch.Tensor, timesteps: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the velocity (noise - latents) the transformer sees in ``noisy``, float32, target tokens only.

        All targets of a batch have one grid, and so have their references, one by one.
        """
        device, hidden = self.device, noisy.to(self.device, self.dtype)
        shapes = [(1, *one_grid(batch.grid))]
        if batch.reference is not None:
            shapes += [(1, *one_grid(grid)) for grid in batch.reference_grid.unbind(1)]
            hidden = torch.cat([hidden, batch.reference.to(device, self.dtype)], dim=1)
        mask = batch.text_mask.to(device)
        velocity = self.transformer(
            hidden_states=hidden,
            timestep=timesteps.to(device, self.dtype),
            encoder_hidden_states=batch.text.to(device, self.dtype),
            encoder_hidden_states_mask=None if mask.all() else mask,
            img_shapes=[shapes] * len(noisy),
            return_dict=False,
        )[0]
        return velocity[:, : noisy.shape[1]].float()

    def conditions(self, text: Allowed, references: Sequence[Image.Image] = ()) -> Encoded:
        """Encode what ``sample`` needs in place of a text: it, and the empty one that guidance leads away from."""
        inputs = self.encode(text=text, references=references)
        negative = self.encode(text=self.caption_empty, references=references)
        return Encoded(
            text=inputs.text,
            text_mask=inputs.text_mask,
            negative_text=negative.text,
            negative_text_mask=negative.text_mask,
        )

    def _draw(
        self,
        pipeline: DiffusionPipeline,
        text: Allowed,
        guidance: float,
        references: Sequence[Image.Image],
        conditions: Encoded | None,
        how: Inputs,
    ) -> Image.Image:
        """Return what a pipeline draws at a true classifier-free guidance; 1 turns it off."""
        inputs: Inputs = {"prompt": text, "negative_prompt": self.caption_empty if guidance > 1 else None}
        if conditions is not None:
            inputs = self._embeds(conditions, guidance > 1)
        return pipeline(**inputs, **how, true_cfg_scale=guidance).images[0]

    def _embeds(self, conditions: Encoded, guided: bool) -> dict[str, torch.Tensor]:
        """Return conditions as the pipelines take them, a batch of one."""
        given, inputs = conditions.tensors(), {}
        for prefix in ("", "negative_") if guided else ("",):
            inputs[f"{prefix}prompt_embeds"] = given[f"{prefix}text"][None].to(self.device, self.dtype)
            inputs[f"{prefix}prompt_embeds_mask"] = given[f"{prefix}text_mask"][None].to(self.device)
        return inputs

    def _embedded(self, embeds: torch.Tensor, mask: torch.Tensor | None) -> dict[str, torch.Tensor]:
        """Return what a pipeline encoded a text to, by name; no mask stands for one of ones."""
        mask = torch.ones(embeds.shape[:2], dtype=torch.long) if mask is None else mask
        return {"text": embeds[0].float().cpu(), "text_mask": mask[0].cpu()}

    def _latents(self, image: Image.Image, width: int, height: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the tokens (tokens, channels) and the grid of a picture at a size, normalised as the pipelines do."""
        vae = self.pipeline.vae
        pixels = self.pipeline.image_processor.preprocess(image, height, width).unsqueeze(2)
        latents = vae.encode(pixels.to(self.device, vae.dtype)).latent_dist.mode()
        mean, std = (
            torch.tensor(values).view(1, -1, 1, 1, 1).to(latents.device, latents.dtype)
            for values in (vae.config.latents_mean, vae.config.latents_std)
        )
        latents = (latents - mean) / std
        batch, channels, _, rows, columns = latents.shape
        packed = self.pipeline._pack_latents(latents, batch, channels, rows, columns)
        return packed[0].float().cpu(), torch.tensor([rows // 2, columns // 2])


def _qwen_vl() -> nn.Module:
    """Return Qwen's text encoder, Qwen2.5-VL 7B, which sees an editor's references too."""
    text = {
        "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4, "tie_word_embeddings": False,
    }  # fmt: skip
    vision = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 3584}
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False)
    return Qwen2_5_VLForConditionalGeneration(config)
