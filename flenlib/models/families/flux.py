"""The FLUX family: text in, picture out. Five verbs over an ordinary FluxPipeline; knows nothing of training.

Latents are packed 2x2 into tokens; all sizes come from the pipeline's own config, so FLUX.1-dev and mini-flux are the
same code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from PIL import Image

from flenlib.models import lora
from flenlib.models.families.base import Family

TRAINING_GUIDANCE = 1.0
"""The guidance a distilled model is told while it is trained; it is sampled at about 3.5."""


class Flux(Family):
    """A FluxPipeline with the five verbs: load, encode, predict, sample, save."""

    name = "flux"
    roles = ("generator",)
    lora_prefix = "transformer."
    pipeline_class = FluxPipeline
    transformer_class = FluxTransformer2DModel
    encoders = ("text_encoder", "text_encoder_2")

    def __init__(self, *loaded: Any) -> None:
        super().__init__(*loaded)
        self.text_length: int = self.facts.get("max_sequence_length", 512)

    @property
    def text_settings(self) -> dict[str, Any]:
        """What decides, beside its encoders, what a text is encoded to."""
        return {"length": self.text_length}

    @torch.no_grad()
    def encode(
        self, *, image: Image.Image | None = None, text: str | None = None, references: Sequence[Image.Image] = ()
    ) -> dict[str, torch.Tensor]:
        """Encode a picture, a text, or both, into what ``predict`` reads: float32 tensors on the CPU.

        A picture gives ``latents`` (tokens, channels), deterministic, and ``grid`` [rows, columns] of tokens; it is
        encoded at its own size, rounded down to a multiple of 16. A text gives ``text`` (tokens, width) and ``pooled``
        (width). Raises ValueError for references, which this family cannot take, and RuntimeError for a text after
        ``free_encoders``.
        """
        _refuse(references)
        parts: dict[str, torch.Tensor] = {}
        if image is not None:
            width, height = (side // self.multiple * self.multiple for side in image.size)
            pixels = self.pipeline.image_processor.preprocess(image, height, width)
            vae = self.pipeline.vae
            latents = vae.encode(pixels.to(self.device, vae.dtype)).latent_dist.mode()
            latents = (latents - vae.config.shift_factor) * vae.config.scaling_factor
            parts["latents"] = self.pipeline._pack_latents(latents, *latents.shape)[0].float().cpu()
            parts["grid"] = torch.tensor([height // self.multiple, width // self.multiple])
        if text is not None:
            self._need_encoders()
            embeds, pooled, _ = self.pipeline.encode_prompt(text, max_sequence_length=self.text_length)
            parts["text"] = embeds[0].float().cpu()
            parts["pooled"] = pooled[0].float().cpu()
        return parts

    def predict(self, noisy: torch.Tensor, timesteps: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return the velocity (noise - latents) the transformer sees in ``noisy``, float32.

        ``noisy`` is (B, tokens, channels), ``timesteps`` (B,) in 0..1, ``batch`` the stacked parts of ``encode``: all
        pictures of a batch have one grid.
        """
        device = self.device
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

    def conditions(self, text: str, references: Sequence[Image.Image] = ()) -> dict[str, torch.Tensor]:
        """Encode what ``sample`` needs in place of a text once the text encoders are freed: ``text``, ``pooled``."""
        return self.encode(text=text, references=references)

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
        conditions: dict[str, torch.Tensor] | None = None,
    ) -> Image.Image:
        """Draw one RGB picture of a text; one seed gives one picture on every device, up to rounding.

        ``conditions`` replace the text, which is then not read. Raises RuntimeError without them after
        ``free_encoders``.
        """
        _refuse(references)
        if conditions is None:
            self._need_encoders()
            inputs: dict[str, Any] = {"prompt": text}
        else:
            names = {"prompt_embeds": "text", "pooled_prompt_embeds": "pooled"}
            inputs = {name: conditions[key][None].to(self.device, self.dtype) for name, key in names.items()}
        return self.pipeline(
            **inputs,
            width=width or self.resolution,
            height=height or self.resolution,
            num_inference_steps=steps,
            guidance_scale=guidance,
            generator=torch.Generator("cpu").manual_seed(seed),
            max_sequence_length=self.text_length,
        ).images[0]


def _refuse(references: Sequence[Image.Image]) -> None:
    if len(references):
        raise ValueError(f"the flux family takes no reference pictures and {len(references)} were given; use an editor")
