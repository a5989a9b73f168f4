"""The Qwen-Image-Edit family: reference pictures and an instruction in, picture out. The same five verbs as flux.

The editor works from one to three references: each is seen by the text encoder (small) and, as latents, by the
transformer (large), which gets them after the noisy target's tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import QwenImageEditPlusPipeline, QwenImageTransformer2DModel
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import (
    CONDITION_IMAGE_SIZE,
    VAE_IMAGE_SIZE,
    calculate_dimensions,
)
from PIL import Image

from flenlib.models import lora
from flenlib.models.families.base import Family
from flenlib.models.families.qwen_processor import load_processor, reference_areas


class QwenEdit(Family):
    """A QwenImageEditPlusPipeline with the five verbs: load, encode, predict, sample, save."""

    name = "qwen_edit"
    roles = ("editor",)
    lora_prefix = "diffusion_model."
    pipeline_class = QwenImageEditPlusPipeline
    transformer_class = QwenImageTransformer2DModel
    encoders = ("text_encoder",)
    caption_empty = " "  # without a negative prompt the pipeline ignores its guidance

    def __init__(self, *loaded: Any) -> None:
        super().__init__(*loaded)
        self.reference_area: int = self.facts.get("reference_area", VAE_IMAGE_SIZE)
        self.condition_area: int = self.facts.get("condition_area", CONDITION_IMAGE_SIZE)

    @classmethod
    def own_parts(cls, source: str) -> dict[str, Any]:
        """Return the processor, which transformers makes only where torchvision is installed."""
        if Path(source).is_dir():
            return {"processor": load_processor(Path(source) / "processor")}
        return {"processor": load_processor(source, subfolder="processor")}

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
