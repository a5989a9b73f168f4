"""The FLUX family: text in, picture out. Five verbs over an ordinary FluxPipeline; knows nothing of training.

Latents are packed 2x2 into tokens; all sizes come from the pipeline's own config, so FLUX.1-dev and mini-flux are the
same code.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import FluxPipeline
from PIL import Image

from flenlib.models import lora, placement

TRAINING_GUIDANCE = 1.0
"""The guidance a distilled model is told while it is trained; it is sampled at about 3.5."""


class Flux:
    """A FluxPipeline with the five verbs: load, encode, predict, sample, save."""

    name = "flux"
    lora_prefix = "transformer."

    def __init__(self, pipeline: FluxPipeline, source: str, precision: str, device: torch.device):
        facts = placement.pipeline_facts(source)
        self.pipeline = pipeline
        self.source = source
        self.precision = precision
        self.device = device
        self.dtype = placement.pick_dtype(precision, device)
        self.resolution: int = facts.get("resolution", 1024)
        self.text_length: int = facts.get("max_sequence_length", 512)
        self.multiple: int = 2 * pipeline.vae_scale_factor
        self.loras: list[lora.Stacked] = []

    @property
    def transformer(self) -> torch.nn.Module:
        """The part that is trained."""
        return self.pipeline.transformer

    @classmethod
    def load(cls, source: str | Path, *, precision: str = "fp32", offload: str = "none", device: str = "auto") -> Flux:
        """Load a FluxPipeline from a hub id or a folder; the same call for the published model and the mini one."""
        where = placement.pick_device(device)
        options = placement.loading_options(cls.name, precision, where, "text_encoder_2")
        pipeline = FluxPipeline.from_pretrained(str(source), **options)
        placement.place(pipeline, cls.name, precision=precision, offload=offload, device=where)
        pipeline.set_progress_bar_config(disable=True)
        return cls(pipeline, str(source), precision, where)

    @torch.no_grad()
    def encode(
        self, *, image: Image.Image | None = None, text: str | None = None, references: Sequence[Image.Image] = ()
    ) -> dict[str, torch.Tensor]:
        """Encode a picture, a text, or both, into what ``predict`` reads: float32 tensors on the CPU.

        A picture gives ``latents`` (tokens, channels), deterministic, and ``grid`` [rows, columns] of tokens; it is
        encoded at its own size, rounded down to a multiple of 16. A text gives ``text`` (tokens, width) and ``pooled``
        (width). Raises ValueError for references, which this family cannot take.
        """
        _refuse(references)
        parts: dict[str, torch.Tensor] = {}
        if image is not None:
            width, height = (side // self.multiple * self.multiple for side in image.size)
            pixels = self.pipeline.image_processor.preprocess(image, height, width)
            vae = self.pipeline.vae
            latents = vae.encode(pixels.to(self.pipeline._execution_device, vae.dtype)).latent_dist.mode()
            latents = (latents - vae.config.shift_factor) * vae.config.scaling_factor
            parts["latents"] = self.pipeline._pack_latents(latents, *latents.shape)[0].float().cpu()
            parts["grid"] = torch.tensor([height // self.multiple, width // self.multiple])
        if text is not None:
            embeds, pooled, _ = self.pipeline.encode_prompt(text, max_sequence_length=self.text_length)
            parts["text"] = embeds[0].float().cpu()
            parts["pooled"] = pooled[0].float().cpu()
        return parts

    def predict(self, noisy: torch.Tensor, timesteps: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the velocity (noise - latents) the transformer sees in ``noisy``, float32.

        ``noisy`` is (B, tokens, channels), ``timesteps`` (B,) in 0..1, ``batch`` the stacked parts of ``encode``: all
        pictures of a batch have one grid.
        """
        device = self.pipeline._execution_device
        rows, columns = lora.one_grid(batch["grid"])
        text = batch["text"].to(device, self.dtype)
        guidance = None
        if self.transformer.config.guidance_embeds:
            guidance = torch.full((len(noisy),), TRAINING_GUIDANCE, device=device)
        return self.transformer(
            hidden_states=noisy.to(device, self.dtype),
            timestep=timesteps.to(device, self.dtype),
            guidance=guidance,
            pooled_projections=batch["pooled"].to(device, self.dtype),
            encoder_hidden_states=text,
            txt_ids=torch.zeros(text.shape[1], 3, device=device, dtype=self.dtype),
            img_ids=self.pipeline._prepare_latent_image_ids(1, rows, columns, device, self.dtype),
            return_dict=False,
        )[0].float()

    def sample(
        self,
        text: str,
        *,
        seed: int,
        steps: int,
        guidance: float = 3.5,
        width: int | None = None,
        height: int | None = None,
        references: Sequence[Image.Image] = (),
    ) -> Image.Image:
        """Draw one RGB picture of a text; one seed gives one picture on every device, up to rounding."""
        _refuse(references)
        return self.pipeline(
            prompt=text,
            width=width or self.resolution,
            height=height or self.resolution,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=torch.Generator("cpu").manual_seed(seed),
            max_sequence_length=self.text_length,
        ).images[0]

    def save(self, path: str | Path, *, metadata: dict[str, str]) -> Path:
        """Write the attached trainable LoRA, all of it or nothing (see ``lora.write``); return the path."""
        return lora.write(self, path, metadata)


def _refuse(references: Sequence[Image.Image]) -> None:
    if len(references):
        raise ValueError(f"the flux family takes no reference pictures and {len(references)} were given; use an editor")
