"""The Z-Image family: text in, picture out. Its transformer counts time backwards and calls its blocks ``layers``.

Tokens here are its latents packed 2x2; the transformer itself takes lists of pictures and of texts of any length, and
packs for itself. The same code for Z-Image, which is trained, and for Z-Image-Turbo, distilled from it to eight steps.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from diffusers import (
    DiffusionPipeline,
    ModelMixin,
    ZImageImg2ImgPipeline,
    ZImageInpaintPipeline,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from diffusers.configuration_utils import FrozenDict
from PIL import Image
from torch import nn
from torch.nn import functional
from transformers import Qwen3Model

from flenlib.content import Allowed
from flenlib.models.batch import Batch, Encoded, one_grid
from flenlib.models.families.architecture import Grid, Inputs
from flenlib.models.families.base import Family
from flenlib.models.families.flux import autoencoder
from flenlib.models.families.qwen3 import qwen3_4b

_ATTENTION = ("attention.to_q", "attention.to_k", "attention.to_v", "attention.to_out.0")
_MLP = ("feed_forward.w1", "feed_forward.w2", "feed_forward.w3")

SAMPLING = {"steps": 50, "guidance": 4.0}
TRAINING = {
    "steps": 1000,
    "batch_size": 1,
    "learning_rate": 1e-4,
    "targets": "attention",
    "optimizer": "adamw8bit",
    "gradient_checkpointing": True,
    "checkpoint_every": 250,
    "sample_every": 250,
    "validate_every": 250,
}
CLIPPED = {"max_grad_norm": 0.1}  # gradients through nf4 weights are noisy


class ZImage(Family):
    """A ZImagePipeline with the five verbs: load, encode, predict, sample, save."""

    name = "z_image"
    roles = ("generator",)
    pipeline_class = ZImagePipeline
    transformer_class = ZImageTransformer2DModel
    encoders = ("text_encoder",)
    supports: ClassVar = {"start": ZImageImg2ImgPipeline, "mask": ZImageInpaintPipeline}
    guidance = SAMPLING["guidance"]
    guided_twice = True
    blocks = ("layers",)
    # at rank 16 of Z-Image 14.7 M, 35.0 M and 42.5 M parameters
    targets: ClassVar = {"attention": _ATTENTION, "attention+mlp": _ATTENTION + _MLP, "all-linear": ("*",)}
    lora_prefix = "diffusion_model."
    lora_marks = re.compile(r"layers[._]\d+[._](attention|feed_forward|adaLN_modulation)")
    architecture = "z-image"
    lora_header = re.compile(r"z\W?image")
    quantised: ClassVar = {
        "transformer": ("all_x_embedder", "all_final_layer", "t_embedder", "cap_embedder", "adaLN_modulation"),
        "text_encoder": (),
    }
    layers = (30,)
    width = 3840
    text_tokens = 128
    settings: ClassVar = {"train": TRAINING, "retrain": TRAINING, "generate": SAMPLING, "card": SAMPLING}
    settings_at: ClassVar = {"nf4": {"train": CLIPPED, "retrain": CLIPPED}}
    memory = ((23, "bf16", "none"), (16, "bf16", "model"), (0, "nf4", "model"))

    @classmethod
    def published(cls) -> dict[str, Callable[[], nn.Module]]:
        """Return the builders of Z-Image: https://huggingface.co/Tongyi-MAI/Z-Image."""
        parts = {"transformer": cls.published_transformer, "text_encoder": lambda: Qwen3Model(qwen3_4b())}
        return parts | {"vae": autoencoder}  # FLUX.1's

    @classmethod
    def published_transformer(cls, layers: tuple[int, ...] | None = None, heads: int | None = None) -> ModelMixin:
        """Return Z-Image's transformer, with other numbers of blocks and attention heads where asked."""
        heads = heads or 30
        return ZImageTransformer2DModel(
            dim=128 * heads, n_layers=(layers or cls.layers)[0], n_heads=heads, n_kv_heads=heads
        )

    @classmethod
    def inputs(cls, config: FrozenDict, batch: int, target: Grid, references: Sequence[Grid], text: int) -> Inputs:
        """Return what the transformer is called with, as empty tensors: a picture's latents and a text a sample."""
        shape, kind = (config.in_channels, 1, 2 * target[0], 2 * target[1]), torch.bfloat16
        return {
            "x": [torch.empty(shape, dtype=kind) for _ in range(batch)],
            "t": torch.empty(batch, dtype=kind),
            "cap_feats": [torch.empty(text, config.cap_feat_dim, dtype=kind) for _ in range(batch)],
        }

    @classmethod
    def step(
        cls, transformer: ModelMixin, batch: int, target: Grid, references: Sequence[Grid], text: int
    ) -> torch.Tensor:
        """Run a transformer on ``inputs`` and return what it says of the target."""
        inputs = cls.inputs(transformer.config, batch, target, references, text)
        return torch.stack(transformer(**inputs, return_dict=False)[0])

    def text_settings(self, references: bool) -> dict[str, Any]:
        """Return what decides, beside its encoder, what a text is encoded to."""
        return {"template": self.pipeline.tokenizer.chat_template}

    def _encode(self, image: Image.Image | None, text: Allowed | None, references: Sequence[Image.Image]) -> Encoded:
        """Encode a picture, a text, or both, into what ``predict`` reads: float32 tensors on the CPU.

        A picture gives ``latents`` and ``grid``; it is encoded at its own size, rounded down to a multiple of 16. A
        text gives ``text`` and ``text_mask``.
        """
        parts: dict[str, torch.Tensor] = {}
        if image is not None:
            width, height = (side // self.multiple * self.multiple for side in image.size)
            vae = self.pipeline.vae
            pixels = self.pipeline.image_processor.preprocess(image, height, width)
            latents = vae.encode(pixels.to(self.device, vae.dtype)).latent_dist.mode()
            latents = (latents - vae.config.shift_factor) * vae.config.scaling_factor
            parts["latents"] = packed(latents)[0].float().cpu()
            parts["grid"] = torch.tensor([height // self.multiple, width // self.multiple])
        if text is not None:
            self._need_encoders()
            (embeds,), _ = self.pipeline.encode_prompt(text, do_classifier_free_guidance=False)
            parts["text"] = embeds.float().cpu()
            parts["text_mask"] = torch.ones(len(embeds), dtype=torch.long)
        return Encoded(**parts)

    def predict(self, noisy: torch.Tensor, timesteps: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the velocity (noise - latents) the transformer sees in ``noisy``, (B, tokens, channels), float32.

        It is asked for the time that is left, 1 - ``timesteps``, and says latents - noise.
        """
        latents = unpacked(noisy.to(self.device, self.dtype), *one_grid(batch.grid))
        texts = [
            text[mask.bool()].to(self.device, self.dtype)
            for text, mask in zip(batch.text, batch.text_mask, strict=True)
        ]
        times = 1 - timesteps.to(self.device, self.dtype)
        found = self.transformer(list(latents.unsqueeze(2)), times, texts, return_dict=False)[0]
        return -packed(torch.stack(found).squeeze(2)).float()

    def conditions(self, text: Allowed, references: Sequence[Image.Image] = ()) -> Encoded:
        """Encode what ``sample`` needs in place of a text: it, and the empty one that guidance leads away from."""
        return Encoded(text=self.encode(text=text).text, negative_text=self.encode(text=self.caption_empty).text)

    def _draw(
        self,
        pipeline: DiffusionPipeline,
        text: Allowed,
        guidance: float,
        references: Sequence[Image.Image],
        conditions: Encoded | None,
        how: Inputs,
    ) -> Image.Image:
        """Return what a pipeline draws.

        At guidance g it goes g times the way from the empty text's velocity to the text's beyond the latter (so g is
        other models' guidance less 1); up to 1 there is none.
        """
        inputs: Inputs = {"prompt": text}
        if conditions is not None:
            embeds = {"prompt_embeds": conditions.text, "negative_prompt_embeds": conditions.negative_text}
            inputs = {name: [each.to(self.device, self.dtype)] for name, each in embeds.items() if each is not None}
        return pipeline(**inputs, **how, guidance_scale=guidance if guidance > 1 else 0.0).images[0]


def packed(latents: torch.Tensor) -> torch.Tensor:
    """Return latents (B, channels, 2 rows, 2 columns) as tokens (B, rows x columns, 4 channels)."""
    return functional.pixel_unshuffle(latents, 2).flatten(2).transpose(1, 2)


def unpacked(tokens: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Return tokens as latents again."""
    return functional.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, (rows, columns)), 2)
