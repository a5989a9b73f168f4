"""The Qwen-Image-Edit family: reference pictures and an instruction in, picture out. The same five verbs as flux.

The editor works from one to three references: each is seen by the text encoder (small) and, as latents, by the
transformer (large), which gets them after the noisy target's tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import AutoencoderKLQwenImage, QwenImageEditPlusPipeline, QwenImageTransformer2DModel
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import (
    CONDITION_IMAGE_SIZE,
    VAE_IMAGE_SIZE,
    calculate_dimensions,
)
from PIL import Image
from torch import nn
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from flenlib.models import lora
from flenlib.models.families.base import Family
from flenlib.models.families.qwen_processor import load_processor, reference_areas

_ATTENTION = ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0")
_JOINT = ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out")
_MLP = ("img_mlp.net.0.proj", "img_mlp.net.2", "txt_mlp.net.0.proj", "txt_mlp.net.2")


class QwenEdit(Family):
    """A QwenImageEditPlusPipeline with the five verbs: load, encode, predict, sample, save."""

    name = "qwen_edit"
    roles = ("editor",)
    pipeline_class = QwenImageEditPlusPipeline
    transformer_class = QwenImageTransformer2DModel
    encoders = ("text_encoder",)
    caption_empty = " "  # without a negative prompt the pipeline ignores its guidance
    blocks = ("transformer_blocks",)
    # at rank 16 of the published model 23.6 M, 106 M and 147 M parameters
    targets: ClassVar = {
        "attention": _ATTENTION, "attention+mlp": _ATTENTION + _JOINT + _MLP, "all-linear": ("*",),
    }  # fmt: skip
    lora_prefix = "diffusion_model."
    lora_marks = re.compile(r"(img|txt)_(mlp|mod)|transformer_blocks[._](2\d|[3-9]\d)[._]")
    architecture = "qwen-image-edit-plus"
    # With eight_bits this is DiffSynth-Studio's list of what nf4 should spare in Qwen-Image. It leaves these in
    # bfloat16: a third of the model, 12.7 GiB of it, with which no training fits a 24 GiB GPU.
    quantised: ClassVar = {
        "transformer": ("norm_out", "img_in", "txt_in", "proj_out", "time_text_embed"),
        "text_encoder": ("lm_head",),  # as in transformers
    }
    eight_bits = ("img_mod", "txt_mod")
    layers = (60,)
    width = 3072
    text_tokens = 384  # about 200 of them of one small reference
    references = 1

    def __init__(self, *loaded: Any) -> None:
        super().__init__(*loaded)
        self.reference_area: int = self.facts.get("reference_area", VAE_IMAGE_SIZE)
        self.condition_area: int = self.facts.get("condition_area", CONDITION_IMAGE_SIZE)

    @classmethod
    def published(cls) -> dict[str, Callable[[], nn.Module]]:
        """Return the builders of Qwen-Image-Edit-2509: https://huggingface.co/Qwen/Qwen-Image-Edit-2509."""
        return {"transformer": cls.published_transformer, "text_encoder": _qwen_vl, "vae": AutoencoderKLQwenImage}

    @classmethod
    def published_transformer(cls, layers: tuple[int, ...] | None = None, heads: int = 24) -> nn.Module:
        """Return the published transformer, with other numbers of blocks and attention heads where asked."""
        return QwenImageTransformer2DModel(num_layers=(layers or cls.layers)[0], num_attention_heads=heads)

    @classmethod
    def inputs(cls, config: Any, batch: int, target: int, reference: int, text: int) -> dict[str, Any]:
        """Return what the transformer is called with, as empty tensors and the shapes of its pictures."""
        pictures = [(1, 1, target), *([(1, 1, reference)] if reference else [])]
        return super().inputs(config, batch, target, reference, text) | {"img_shapes": [pictures] * batch}

    @classmethod
    def own_parts(cls, source: str) -> dict[str, Any]:
        """Return the processor, which transformers makes only where torchvision is installed."""
        if Path(source).is_dir():
            return {"processor": load_processor(Path(source) / "processor")}
        return {"processor": load_processor(source, subfolder="processor")}

    def fitted(self, picture: Image.Image, resolution: int, references: bool) -> Image.Image:
        """Return a picture as it is learnt: with references whole, as the references are resized.

        Sides are then rounded to 32 and nothing is cropped, so that what is learnt lies where it lay in the reference.
        """
        if not references:
            return super().fitted(picture, resolution, references)
        size = calculate_dimensions(resolution**2, picture.width / picture.height)
        return picture.resize(size, Image.Resampling.LANCZOS)

    @property
    def text_settings(self) -> dict[str, Any]:
        """What decides, beside its encoders, what an instruction and its references are encoded to."""
        template = self.pipeline.prompt_template_encode
        return {"template": template, "areas": [self.condition_area, self.reference_area], "empty": self.caption_empty}

    @torch.no_grad()
    def encode(
        self, *, image: Image.Image | None = None, text: str | None = None, references: Sequence[Image.Image] = ()
    ) -> dict[str, torch.Tensor]:
        """Encode a target picture, an instruction, references, or all, into what ``predict`` reads, on the CPU.

        A target gives ``latents`` (tokens, channels) and ``grid`` [rows, columns]; it is encoded at its own size,
        rounded down to a multiple of 16. References give ``reference`` (tokens of all, channels) and ``reference_grid``
        (references, 2), resized to the model's reference area. An instruction gives ``text`` (tokens, width) and
        ``text_mask`` (tokens,) of ones, to be padded with zeros in a batch; the encoder sees the references with it.
        Raises ValueError for an instruction without a reference, and RuntimeError for one after ``free_encoders``.
        """
        parts: dict[str, torch.Tensor] = {}
        if image is not None:
            width, height = (side // self.multiple * self.multiple for side in image.size)
            parts["latents"], parts["grid"] = self._latents(image, width, height)
        if len(references):
            sizes = [calculate_dimensions(self.reference_area, r.width / r.height) for r in references]
            encoded = [self._latents(r, *size) for r, size in zip(references, sizes, strict=True)]
            parts["reference"] = torch.cat([latents for latents, _ in encoded])
            parts["reference_grid"] = torch.stack([grid for _, grid in encoded])
        if text is not None:
            self._need_encoders()
            embeds, mask = self.pipeline.encode_prompt(text, image=self._seen(references))
            parts["text"] = embeds[0].float().cpu()
            parts["text_mask"] = torch.ones(embeds.shape[1], dtype=torch.long) if mask is None else mask[0].cpu()
        return parts

    def predict(self, noisy: torch.Tensor, timesteps: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the velocity (noise - latents) the transformer sees in ``noisy``, float32, target tokens only.

        ``noisy`` is (B, tokens, channels), ``timesteps`` (B,) in 0..1, ``batch`` the stacked parts of ``encode``: all
        targets of a batch have one grid, and so have their references, one by one.
        """
        device = self.device
        shapes = [(1, *lora.one_grid(batch["grid"]))]
        shapes += [(1, *lora.one_grid(grid)) for grid in batch["reference_grid"].unbind(1)]
        mask = batch["text_mask"].to(device)
        hidden = torch.cat([noisy.to(device, self.dtype), batch["reference"].to(device, self.dtype)], dim=1)
        velocity = self.transformer(
            hidden_states=hidden,
            timestep=timesteps.to(device, self.dtype),
            encoder_hidden_states=batch["text"].to(device, self.dtype),
            encoder_hidden_states_mask=None if mask.all() else mask,
            img_shapes=[shapes] * len(noisy),
            return_dict=False,
        )[0]
        return velocity[:, : noisy.shape[1]].float()

    def conditions(self, text: str, references: Sequence[Image.Image] = ()) -> dict[str, torch.Tensor]:
        """Encode what ``sample`` needs in place of a text once the text encoders are freed.

        ``text`` and ``text_mask`` of the instruction, ``negative_text`` and ``negative_text_mask`` of the empty one.
        """
        inputs = self.encode(text=text, references=references)
        negative = self.encode(text=self.caption_empty, references=references)
        names = ("text", "text_mask")
        return {name: inputs[name] for name in names} | {f"negative_{name}": negative[name] for name in names}

    def sample(
        self,
        text: str,
        *,
        seed: int,
        steps: int,
        guidance: float = 4.0,
        width: int | None = None,
        height: int | None = None,
        references: Sequence[Image.Image] = (),
        conditions: dict[str, torch.Tensor] | None = None,
    ) -> Image.Image:
        """Edit the references by an instruction into one RGB picture, of the last reference's shape unless told.

        ``guidance`` is the true classifier-free guidance; 1 turns it off. ``conditions`` replace the instruction,
        which is then not read; the references are needed all the same. Raises ValueError without a reference, and
        RuntimeError without conditions after ``free_encoders``.
        """
        _need(references)
        if conditions is None:
            self._need_encoders()
            inputs: dict[str, Any] = {"prompt": text, "negative_prompt": self.caption_empty if guidance > 1 else None}
        else:
            inputs = _embeds(conditions, self.device, self.dtype, guidance > 1)
        wide, high = calculate_dimensions(self.reference_area, references[-1].width / references[-1].height)
        with reference_areas(self.condition_area, self.reference_area):
            return self.pipeline(
                image=list(references),
                **inputs,
                true_cfg_scale=guidance,
                width=width or wide,
                height=height or high,
                num_inference_steps=steps,
                generator=torch.Generator("cpu").manual_seed(seed),
            ).images[0]

    def _seen(self, references: Sequence[Image.Image]) -> list[Image.Image]:
        """Return the references as the text encoder sees them."""
        _need(references)
        sizes = [calculate_dimensions(self.condition_area, r.width / r.height) for r in references]
        resize = self.pipeline.image_processor.resize
        return [resize(r, height, width) for r, (width, height) in zip(references, sizes, strict=True)]

    def _latents(self, image: Image.Image, width: int, height: int) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = self.pipeline.image_processor.preprocess(image, height, width).unsqueeze(2)
        pixels = pixels.to(self.device, self.pipeline.vae.dtype)
        latents = self.pipeline._encode_vae_image(pixels, None)
        batch, channels, _, rows, columns = latents.shape
        packed = self.pipeline._pack_latents(latents, batch, channels, rows, columns)
        return packed[0].float().cpu(), torch.tensor([rows // 2, columns // 2])


def _qwen_vl() -> nn.Module:
    """Return Qwen's text encoder, Qwen2.5-VL 7B, which sees the references too."""
    text = {
        "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
        "num_attention_heads": 28, "num_key_value_heads": 4, "tie_word_embeddings": False,
    }  # fmt: skip
    vision = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 3584}
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False)
    return Qwen2_5_VLForConditionalGeneration(config)


def _need(references: Sequence[Image.Image]) -> None:
    if not len(references):
        raise ValueError("the qwen_edit family needs at least one reference picture and none was given")


def _embeds(
    conditions: dict[str, torch.Tensor], device: torch.device, dtype: torch.dtype, guided: bool
) -> dict[str, torch.Tensor]:
    """Return conditions as the pipeline takes them, a batch of one."""
    inputs = {}
    for prefix in ("", "negative_") if guided else ("",):
        inputs[f"{prefix}prompt_embeds"] = conditions[f"{prefix}text"][None].to(device, dtype)
        inputs[f"{prefix}prompt_embeds_mask"] = conditions[f"{prefix}text_mask"][None].to(device)
    return inputs
