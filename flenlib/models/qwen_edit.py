"""The Qwen-Image-Edit family: reference pictures and an instruction in, picture out. The same five verbs as flux.

The editor works from one to three references: each is seen by the text encoder (small) and, as latents, by the
transformer (large), which gets them after the noisy target's tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import QwenImageEditPlusPipeline
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import (
    CONDITION_IMAGE_SIZE,
    VAE_IMAGE_SIZE,
    calculate_dimensions,
)
from PIL import Image

from flenlib.models import lora, placement
from flenlib.models.qwen_processor import load_processor, reference_areas

NEGATIVE_PROMPT = " "
"""Without a negative prompt the pipeline ignores its guidance."""


class QwenEdit:
    """A QwenImageEditPlusPipeline with the five verbs: load, encode, predict, sample, save."""

    name = "qwen_edit"
    lora_prefix = "diffusion_model."

    def __init__(self, pipeline: QwenImageEditPlusPipeline, source: str, precision: str, device: torch.device):
        facts = placement.pipeline_facts(source)
        self.pipeline = pipeline
        self.source = source
        self.precision = precision
        self.device = device
        self.dtype = placement.pick_dtype(precision, device)
        self.resolution: int = facts.get("resolution", 1024)
        self.reference_area: int = facts.get("reference_area", VAE_IMAGE_SIZE)
        self.condition_area: int = facts.get("condition_area", CONDITION_IMAGE_SIZE)
        self.multiple: int = 2 * pipeline.vae_scale_factor
        self.loras: list[lora.Stacked] = []

    @property
    def transformer(self) -> torch.nn.Module:
        """The part that is trained."""
        return self.pipeline.transformer

    @classmethod
    def load(
        cls, source: str | Path, *, precision: str = "fp32", offload: str = "none", device: str = "auto"
    ) -> QwenEdit:
        """Load a QwenImageEditPlusPipeline from a hub id or a folder; the published model and the mini one alike."""
        where = placement.pick_device(device)
        options = placement.loading_options(cls.name, precision, where, "text_encoder")
        processor = _processor(str(source))
        pipeline = QwenImageEditPlusPipeline.from_pretrained(str(source), processor=processor, **options)
        placement.place(pipeline, cls.name, precision=precision, offload=offload, device=where)
        pipeline.set_progress_bar_config(disable=True)
        return cls(pipeline, str(source), precision, where)

    @torch.no_grad()
    def encode(
        self, *, image: Image.Image | None = None, text: str | None = None, references: Sequence[Image.Image] = ()
    ) -> dict[str, torch.Tensor]:
        """Encode a target picture, an instruction, references, or all, into what ``predict`` reads, on the CPU.

        A target gives ``latents`` (tokens, channels) and ``grid`` [rows, columns]; it is encoded at its own size,
        rounded down to a multiple of 16. References give ``reference`` (tokens of all, channels) and ``reference_grid``
        (references, 2), resized to the model's reference area. An instruction gives ``text`` (tokens, width) and
        ``text_mask`` (tokens,) of ones, to be padded with zeros in a batch; the encoder sees the references with it.
        Raises ValueError for an instruction without a reference.
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
            embeds, mask = self.pipeline.encode_prompt(text, image=self._seen(references))
            parts["text"] = embeds[0].float().cpu()
            parts["text_mask"] = torch.ones(embeds.shape[1], dtype=torch.long) if mask is None else mask[0].cpu()
        return parts

    def predict(self, noisy: torch.Tensor, timesteps: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the velocity (noise - latents) the transformer sees in ``noisy``, float32, target tokens only.

        ``noisy`` is (B, tokens, channels), ``timesteps`` (B,) in 0..1, ``batch`` the stacked parts of ``encode``: all
        targets of a batch have one grid, and so have their references, one by one.
        """
        device = self.pipeline._execution_device
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
    ) -> Image.Image:
        """Edit the references by an instruction into one RGB picture, of the last reference's shape unless told.

        ``guidance`` is the true classifier-free guidance; 1 turns it off. Raises ValueError without a reference.
        """
        _need(references)
        wide, high = calculate_dimensions(self.reference_area, references[-1].width / references[-1].height)
        with reference_areas(self.condition_area, self.reference_area):
            return self.pipeline(
                image=list(references),
                prompt=text,
                negative_prompt=NEGATIVE_PROMPT if guidance > 1 else None,
                true_cfg_scale=guidance,
                width=width or wide,
                height=height or high,
                num_inference_steps=steps,
                generator=torch.Generator("cpu").manual_seed(seed),
            ).images[0]

    def save(self, path: str | Path, *, metadata: dict[str, str]) -> Path:
        """Write the attached trainable LoRA, all of it or nothing (see ``lora.write``); return the path."""
        return lora.write(self, path, metadata)

    def _seen(self, references: Sequence[Image.Image]) -> list[Image.Image]:
        """Return the references as the text encoder sees them."""
        _need(references)
        sizes = [calculate_dimensions(self.condition_area, r.width / r.height) for r in references]
        resize = self.pipeline.image_processor.resize
        return [resize(r, height, width) for r, (width, height) in zip(references, sizes, strict=True)]

    def _latents(self, image: Image.Image, width: int, height: int) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = self.pipeline.image_processor.preprocess(image, height, width).unsqueeze(2)
        pixels = pixels.to(self.pipeline._execution_device, self.pipeline.vae.dtype)
        latents = self.pipeline._encode_vae_image(pixels, None)
        batch, channels, _, rows, columns = latents.shape
        packed = self.pipeline._pack_latents(latents, batch, channels, rows, columns)
        return packed[0].float().cpu(), torch.tensor([rows // 2, columns // 2])


def _need(references: Sequence[Image.Image]) -> None:
    if not len(references):
        raise ValueError("the qwen_edit family needs at least one reference picture and none was given")


def _processor(source: str):
    """Return the picture-and-text processor of a folder or a hub id."""
    if Path(source).is_dir():
        return load_processor(Path(source) / "processor")
    return load_processor(source, subfolder="processor")
