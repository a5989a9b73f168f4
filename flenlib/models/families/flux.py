"""The FLUX.1 family: text in, picture out. What its editor of the same architecture shares stands here too.

Latents are packed 2x2 into tokens; all sizes come from the pipeline's own config, so FLUX.1-dev and mini-flux are the
same code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    FluxImg2ImgPipeline,
    FluxInpaintPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
    ModelMixin,
)
from diffusers.configuration_utils import FrozenDict
from PIL import Image
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

from flenlib.content import Allowed
from flenlib.models.batch import Batch, Encoded, one_grid
from flenlib.models.families.architecture import Grid, Inputs
from flenlib.models.families.base import Family
from flenlib.words import Role

TRAINING_GUIDANCE = 1.0
"""The guidance a distilled model is given while it is trained; it is sampled at about 3.5."""

_ATTENTION = ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0")
_JOINT = ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out")
_MLP = ("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2")

BFL = {
    "transformer_blocks": {
        "norm1.linear": "img_mod.lin",
        "norm1_context.linear": "txt_mod.lin",
        "attn.to_q": "img_attn.qkv:q",
        "attn.to_k": "img_attn.qkv:k",
        "attn.to_v": "img_attn.qkv:v",
        "attn.add_q_proj": "txt_attn.qkv:q",
        "attn.add_k_proj": "txt_attn.qkv:k",
        "attn.add_v_proj": "txt_attn.qkv:v",
        "attn.to_out.0": "img_attn.proj",
        "attn.to_add_out": "txt_attn.proj",
        "ff.net.0.proj": "img_mlp.0",
        "ff.net.2": "img_mlp.2",
        "ff_context.net.0.proj": "txt_mlp.0",
        "ff_context.net.2": "txt_mlp.2",
    },
    "single_transformer_blocks": {
        "norm.linear": "modulation.lin",
        "attn.to_q": "linear1:q",
        "attn.to_k": "linear1:k",
        "attn.to_v": "linear1:v",
        "proj_mlp": "linear1:mlp",
        "proj_out": "linear2",
    },
}
"""The layers by diffusers' names and by those of FLUX's authors, who keep q, k, v (and the mlp) in one weight."""
FUSED = {"qkv": {"q": 1, "k": 1, "v": 1}, "linear1": {"q": 1, "k": 1, "v": 1, "mlp": 4}}
"""These weights' parts, top to bottom; the mlp is four times as wide as the stream."""

SAMPLING = {"steps": 28, "guidance": 3.5}
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
CAPTIONS = {"style": "sentences"}
"""T5 is a language model, and FLUX.1's authors ask for prompts in plain sentences."""
CLIPPED = {"max_grad_norm": 0.1}
"""Gradients through nf4 weights are noisy: the QLoRA recipe for FLUX.1-dev clips them more."""


class Flux(Family):
    """A FluxPipeline with the five verbs: load, encode, predict, sample, save."""

    name = "flux"
    roles: ClassVar[tuple[Role, ...]] = ("generator",)
    pipeline_class = FluxPipeline
    transformer_class = FluxTransformer2DModel
    encoders = ("text_encoder", "text_encoder_2")
    tokenizer = "tokenizer_2"  # T5's; CLIP gives the whole text one vector
    supports: ClassVar = {"start": FluxImg2ImgPipeline, "mask": FluxInpaintPipeline}
    guidance = SAMPLING["guidance"]
    blocks = ("transformer_blocks", "single_transformer_blocks")
    # at rank 16 of FLUX.1-dev 18.7 M, 44.8 M and 85.9 M parameters
    targets: ClassVar = {
        "attention": _ATTENTION, "attention+mlp": _ATTENTION + _JOINT + _MLP, "all-linear": ("*",),
    }  # fmt: skip
    lora_prefix = "transformer."
    lora_marks = re.compile(  # but for those FLUX.2 has alone
        r"\A(?!(?s:.*)(to_qkv_mlp_proj|\.linear_(in|out)\.))(?s:.*)"
        r"(single_(transformer_)?blocks|double_blocks|ff_context|guidance_in|time_text_embed\.guidance)"
    )
    architecture = "flux-1-dev"
    lora_header = re.compile(r"flux(?!\W?[2-9])")
    quantised: ClassVar = {
        "transformer": ("x_embedder", "context_embedder", "time_text_embed", "norm_out", "proj_out"),
        "text_encoder_2": (".wo",),  # as in transformers
    }
    layers = (19, 38)
    width = 3072
    text_tokens = 512
    settings: ClassVar = {
        "captions": CAPTIONS, "train": TRAINING, "retrain": TRAINING, "generate": SAMPLING, "card": SAMPLING,
    }  # fmt: skip
    settings_at: ClassVar = {"nf4": {"train": CLIPPED, "retrain": CLIPPED}}
    memory = ((38, "bf16", "none"), (30, "bf16", "model"), (0, "nf4", "model"))

    def __init__(self, *loaded: Any) -> None:
        super().__init__(*loaded)
        self.text_length: int = self.facts.get("max_sequence_length", self.longest_text)

    @classmethod
    def published(cls) -> dict[str, Callable[[], nn.Module]]:
        """Return the builders of FLUX.1-dev: https://huggingface.co/black-forest-labs/FLUX.1-dev."""
        return {
            "transformer": cls.published_transformer,
            "text_encoder": _clip,
            "text_encoder_2": _t5,
            "vae": autoencoder,
        }

    @classmethod
    def published_transformer(cls, layers: tuple[int, ...] | None = None, heads: int | None = None) -> ModelMixin:
        """Return FLUX.1-dev's transformer, with other numbers of double and single blocks and heads where asked."""
        double, single = layers or cls.layers
        return FluxTransformer2DModel(
            num_layers=double, num_single_layers=single, num_attention_heads=heads or 24, guidance_embeds=True
        )

    @classmethod
    def inputs(cls, config: FrozenDict, batch: int, target: Grid, references: Sequence[Grid], text: int) -> Inputs:
        """Return what the transformer is called with, as empty tensors."""
        inputs = super().inputs(config, batch, target, references, text)
        return inputs | {
            "guidance": torch.empty(batch, dtype=torch.bfloat16),
            "pooled_projections": torch.empty(batch, config.pooled_projection_dim, dtype=torch.bfloat16),
            "txt_ids": torch.empty(text, 3, dtype=torch.bfloat16),
            "img_ids": torch.empty(inputs["hidden_states"].shape[1], 3, dtype=torch.bfloat16),
        }

    @classmethod
    def kohya_name(cls, layer: str) -> tuple[str, str]:
        """Return the name FLUX's authors gave a layer, and which part of a fused weight it is."""
        blocks, number, name = re.fullmatch(r"(\w+)\.(\d+)\.(.+)", layer).groups()
        theirs = "double_blocks" if blocks == "transformer_blocks" else "single_blocks"
        name, _, part = BFL[blocks][name].partition(":")
        return f"{theirs}.{number}.{name}", part

    @classmethod
    def kohya_rows(cls, name: str) -> dict[str, int]:
        """Return the parts of a fused weight and their relative heights."""
        return FUSED.get(name.rpartition(".")[2], {})

    def text_settings(self, references: bool) -> dict[str, Any]:
        """Return what decides, beside its encoders, what a text is encoded to."""
        return {"length": self.text_length}

    def _encode(self, image: Image.Image | None, text: Allowed | None, references: Sequence[Image.Image]) -> Encoded:
        """Encode a picture, a text, or both, into what ``predict`` reads: float32 tensors on the CPU.

        A picture gives ``latents``, deterministic, and ``grid``; it is encoded at its own size, rounded down to a
        multiple of 16. A text gives ``text`` and ``pooled``.
        """
        parts: dict[str, torch.Tensor] = {}
        if image is not None:
            width, height = (side // self.multiple * self.multiple for side in image.size)
            parts["latents"], parts["grid"] = self._latents(image, width, height)
        if text is not None:
            self._need_encoders()
            embeds, pooled, _ = self.pipeline.encode_prompt(text, max_sequence_length=self.text_length)
            parts["text"] = embeds[0].float().cpu()
            parts["pooled"] = pooled[0].float().cpu()
        return Encoded(**parts)

    def predict(self, noisy: torch.Tensor, timesteps: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the velocity (noise - latents) the transformer sees in ``noisy``, float32, target tokens only.

        A reference's tokens come after the target's and have a 1 where the target's have a 0 in the first of their
        three positions (FLUX.1 Kontext, arXiv:2506.15742).
        """
        device, hidden, text = self.device, noisy.to(self.device, self.dtype), batch.text.to(self.device, self.dtype)
        ids = self._ids(*one_grid(batch.grid))
        if batch.reference is not None:
            hidden = torch.cat([hidden, batch.reference.to(device, self.dtype)], dim=1)
            places = self._ids(*one_grid(batch.reference_grid))
            places[:, 0] = 1
            ids = torch.cat([ids, places])
        guidance = None
        if self.transformer.config.guidance_embeds:
            guidance = torch.full((len(noisy),), TRAINING_GUIDANCE, device=device)
        velocity = self.transformer(
            hidden_states=hidden,
            timestep=timesteps.to(device, self.dtype),
            guidance=guidance,
            pooled_projections=batch.pooled.to(device, self.dtype),
            encoder_hidden_states=text,
            txt_ids=torch.zeros(text.shape[1], 3, device=device, dtype=self.dtype),
            img_ids=ids,
            return_dict=False,
        )[0]
        return velocity[:, : noisy.shape[1]].float()

    def _draw(
        self,
        pipeline: DiffusionPipeline,
        text: Allowed,
        guidance: float,
        references: Sequence[Image.Image],
        conditions: Encoded | None,
        how: Inputs,
    ) -> Image.Image:
        inputs: Inputs = {"prompt": text}
        if conditions is not None:
            embeds = {"prompt_embeds": conditions.text, "pooled_prompt_embeds": conditions.pooled}
            inputs = {name: tensor[None].to(self.device, self.dtype) for name, tensor in embeds.items()}
        drawn = pipeline(**inputs, **how, guidance_scale=guidance, max_sequence_length=self.text_length)
        return drawn.images[0]

    def _latents(self, image: Image.Image, width: int, height: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the tokens (tokens, channels) and the grid of a picture at a size, scaled as the pipelines do."""
        vae = self.pipeline.vae
        pixels = self.pipeline.image_processor.preprocess(image, height, width)
        latents = vae.encode(pixels.to(self.device, vae.dtype)).latent_dist.mode()
        latents = (latents - vae.config.shift_factor) * vae.config.scaling_factor
        packed = self.pipeline._pack_latents(latents, *latents.shape)
        return packed[0].float().cpu(), torch.tensor([height // self.multiple, width // self.multiple])

    def _ids(self, rows: int, columns: int) -> torch.Tensor:
        """Return the positions (tokens, 3) of a picture's tokens."""
        return self.pipeline._prepare_latent_image_ids(1, rows, columns, self.device, self.dtype)


def _clip() -> nn.Module:
    """Return FLUX's small text encoder, CLIP ViT-L/14."""
    return CLIPTextModel(
        CLIPTextConfig(
            hidden_size=768, intermediate_size=3072, num_attention_heads=12, num_hidden_layers=12, projection_dim=768
        )
    )


def _t5() -> nn.Module:
    """Return FLUX's large text encoder, T5 v1.1 XXL."""
    return T5EncoderModel(
        T5Config(
            vocab_size=32128, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64,
            feed_forward_proj="gated-gelu", tie_word_embeddings=False,
        )
    )  # fmt: skip


def autoencoder() -> nn.Module:
    """Return FLUX's autoencoder: 16 channels at an eighth of the size."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=16,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
