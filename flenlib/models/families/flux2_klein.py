"""The FLUX.2 klein family: one model draws texts and edits from one to four references; both wheels turn on it.

Latents are packed 2x2 and normalised by the autoencoder's batch norm; texts are three layers of Qwen3 side by side.
The same code for the base models, which are trained, and for those distilled from them, which draw in four steps.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from diffusers import (
    AutoencoderKLFlux2,
    DiffusionPipeline,
    Flux2KleinInpaintPipeline,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    ModelMixin,
)
from diffusers.configuration_utils import FrozenDict
from PIL import Image
from torch import nn
from transformers import Qwen3ForCausalLM

from flenlib.content import Allowed
from flenlib.models.batch import Batch, Encoded, one_grid
from flenlib.models.families.architecture import Grid, Inputs
from flenlib.models.families.base import Family
from flenlib.models.families.qwen3 import qwen3_4b
from flenlib.models.start import Start

AREA = 1024 * 1024
"""The most pixels of a reference; the pipeline shrinks larger ones and enlarges none."""
_ATTENTION = ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0", "attn.to_qkv_mlp_proj", "attn.to_out")

BFL = {
    "transformer_blocks": {
        "attn.to_q": "img_attn.qkv:q",
        "attn.to_k": "img_attn.qkv:k",
        "attn.to_v": "img_attn.qkv:v",
        "attn.add_q_proj": "txt_attn.qkv:q",
        "attn.add_k_proj": "txt_attn.qkv:k",
        "attn.add_v_proj": "txt_attn.qkv:v",
        "attn.to_out.0": "img_attn.proj",
        "attn.to_add_out": "txt_attn.proj",
        "ff.linear_in": "img_mlp.0",
        "ff.linear_out": "img_mlp.2",
        "ff_context.linear_in": "txt_mlp.0",
        "ff_context.linear_out": "txt_mlp.2",
    },
    "single_transformer_blocks": {"attn.to_qkv_mlp_proj": "linear1", "attn.to_out": "linear2"},
}
"""The layers by diffusers' names and by those of FLUX's authors, who keep q, k and v in one weight."""

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
EDITOR = {"accumulate": 4, "sampling_steps": SAMPLING["steps"], "guidance": SAMPLING["guidance"]}
CLIPPED = {"max_grad_norm": 0.1}  # gradients through nf4 weights are noisy


class Flux2Klein(Family):
    """A Flux2KleinPipeline with the five verbs: load, encode, predict, sample, save."""

    name = "flux2_klein"
    roles = ("generator", "editor")
    pipeline_class = Flux2KleinPipeline
    transformer_class = Flux2Transformer2DModel
    encoders = ("text_encoder",)
    supports: ClassVar = {"mask": Flux2KleinInpaintPipeline}
    guidance = SAMPLING["guidance"]
    guided_twice = True
    blocks = ("transformer_blocks", "single_transformer_blocks")
    # at rank 16 of klein 4B 16.7 M and twice 24.1 M parameters: its modulation is no part of the blocks
    targets: ClassVar = {"attention": _ATTENTION, "attention+mlp": ("*",), "all-linear": ("*",)}
    lora_prefix = "transformer."
    lora_marks = re.compile(r"to_qkv_mlp_proj|\.linear_(in|out)\.|(double|single)_blocks")
    architecture = "flux.2-klein"
    lora_header = re.compile(r"flux\W?2")
    folds_alpha = True
    quantised: ClassVar = {
        "transformer": (
            "x_embedder", "context_embedder", "time_guidance_embed", "norm_out", "proj_out",
            "double_stream_modulation_img", "double_stream_modulation_txt", "single_stream_modulation",
        ),
        "text_encoder": ("lm_head",),  # as in transformers
    }  # fmt: skip
    layers = (5, 20)
    width = 3072
    text_tokens = 512
    references, most_references = 1, 4
    settings: ClassVar = dict.fromkeys(("train", "retrain"), TRAINING) | {
        "train_editor": TRAINING | EDITOR,
        **dict.fromkeys(("generate", "card", "enrich", "corrections", "compare_editors"), SAMPLING),
    }
    settings_at: ClassVar = {"nf4": dict.fromkeys(("train", "retrain", "train_editor"), CLIPPED)}
    memory = ((19, "bf16", "none"), (12, "bf16", "model"), (0, "nf4", "model"))

    def __init__(self, *loaded: Any) -> None:
        super().__init__(*loaded)
        self.text_length: int = self.facts.get("max_sequence_length", 512)
        self.reference_area: int = self.facts.get("reference_area", AREA)

    @classmethod
    def published(cls) -> dict[str, Callable[[], nn.Module]]:
        """Return the builders of klein 4B: https://huggingface.co/black-forest-labs/FLUX.2-klein-base-4B."""
        return {
            "transformer": cls.published_transformer,
            "text_encoder": lambda: Qwen3ForCausalLM(qwen3_4b()),
            "vae": AutoencoderKLFlux2,
        }

    @classmethod
    def published_transformer(cls, layers: tuple[int, ...] | None = None, heads: int | None = None) -> ModelMixin:
        """Return klein 4B's transformer, with other numbers of double and single blocks and heads where asked."""
        double, single = layers or cls.layers
        return Flux2Transformer2DModel(
            num_layers=double,
            num_single_layers=single,
            num_attention_heads=heads or 24,
            joint_attention_dim=7680,
            guidance_embeds=False,
        )

    @classmethod
    def inputs(cls, config: FrozenDict, batch: int, target: Grid, references: Sequence[Grid], text: int) -> Inputs:
        """Return what the transformer is called with, as empty tensors."""
        inputs = super().inputs(config, batch, target, references, text)
        tokens = inputs["hidden_states"].shape[1]
        return inputs | {"img_ids": torch.empty(tokens, 4), "txt_ids": torch.empty(text, 4)}

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
        return {"q": 1, "k": 1, "v": 1} if name.endswith(".qkv") else {}

    def fitted(self, picture: Image.Image, resolution: int, references: bool) -> Image.Image:
        """Return a picture as it is learnt: with references whole but for a few pixels, as the references are."""
        if not references:
            return super().fitted(picture, resolution, references)
        return self._whole(self.pipeline.image_processor._resize_to_target_area(picture, resolution**2))

    def text_settings(self, references: bool) -> dict[str, Any]:
        """Return what decides, beside its encoders, what a text and its references are encoded to."""
        settings = {"length": self.text_length, "template": self.pipeline.tokenizer.chat_template}
        return settings | ({"area": self.reference_area} if references else {})

    def _encode(self, image: Image.Image | None, text: Allowed | None, references: Sequence[Image.Image]) -> Encoded:
        """Encode a picture, a text, references, or all, into what ``predict`` reads: float32 tensors on the CPU.

        A picture gives ``latents`` and ``grid``, a text ``text``, references ``reference`` (tokens of all, channels)
        and ``reference_grid``. Raises ValueError for a reference under 64 pixels or more than eight times as long as
        it is wide.
        """
        parts: dict[str, torch.Tensor] = {}
        if image is not None:
            parts["latents"], parts["grid"] = self._latents(image)
        if text is not None:
            self._need_encoders()
            embeds, _ = self.pipeline.encode_prompt(text, max_sequence_length=self.text_length)
            parts["text"] = embeds[0].float().cpu()
        if len(references):
            encoded = [self._latents(reference) for reference in self._seen(references)]
            parts["reference"] = torch.cat([latents for latents, _ in encoded])
            parts["reference_grid"] = torch.stack([grid for _, grid in encoded])
        return Encoded(**parts)

    def predict(self, noisy: torch.Tensor, timesteps: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the velocity (noise - latents) the transformer sees in ``noisy``, float32, target tokens only.

        All targets of a batch have one grid, and so have their references, one by one; they lie at times 10, 20 ...
        of the positions, where the target is at 0.
        """
        device, pipeline, hidden = self.device, self.pipeline, noisy.to(self.device, self.dtype)
        text = batch.text.to(device, self.dtype)
        ids = pipeline._prepare_latent_ids(torch.empty(1, 1, *one_grid(batch.grid)))
        if batch.reference is not None:
            hidden = torch.cat([hidden, batch.reference.to(device, self.dtype)], dim=1)
            grids = [torch.empty(1, 1, *one_grid(grid)) for grid in batch.reference_grid.unbind(1)]
            ids = torch.cat([ids, pipeline._prepare_image_ids(grids)], dim=1)
        velocity = self.transformer(
            hidden_states=hidden,
            timestep=timesteps.to(device, self.dtype),
            encoder_hidden_states=text,
            txt_ids=pipeline._prepare_text_ids(text).to(device),
            img_ids=ids.to(device),
            return_dict=False,
        )[0]
        return velocity[:, : noisy.shape[1]].float()

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
        """Return what a pipeline draws at a true classifier-free guidance; 1 turns it off, and so does distilling."""
        inputs: Inputs = {"prompt": text}
        if conditions is not None:
            embeds = {"prompt_embeds": conditions.text, "negative_prompt_embeds": conditions.negative_text}
            inputs = {name: each[None].to(self.device, self.dtype) for name, each in embeds.items() if each is not None}
        if len(references):
            inputs["image"] = self._seen(references)
        if pipeline.config.is_distilled:
            guidance = 1.0
        drawn = pipeline(**inputs, **how, guidance_scale=guidance, max_sequence_length=self.text_length)
        return drawn.images[0]

    def _check(self, references: Sequence[Image.Image], start: Start | None, control: Image.Image | None) -> None:
        if len(references) and start is not None:
            raise ValueError("the flux2_klein family samples from references or from a start picture; give one of both")
        super()._check(references, start, control)

    def _size(self, references: Sequence[Image.Image], start: Start | None) -> tuple[int, int]:
        """Return the width and height of the first reference, where there are any."""
        if not len(references):
            return super()._size(references, start)
        width, height = self._seen(references[:1])[0].size
        return width, height

    def _seen(self, references: Sequence[Image.Image]) -> list[Image.Image]:
        """Return references as the pipeline makes them: shrunk to an area, their edges cut to whole tokens."""
        processor = self.pipeline.image_processor
        for reference in references:
            processor.check_image_input(reference)
        return [self._whole(processor._resize_if_exceeds_area(r, self.reference_area)) for r in references]

    def _whole(self, picture: Image.Image) -> Image.Image:
        """Return the middle of a picture that is whole tokens."""
        width, height = (max(side // self.multiple, 1) * self.multiple for side in picture.size)
        return self.pipeline.image_processor._resize_and_crop(picture, width, height)

    def _latents(self, image: Image.Image) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the tokens (tokens, channels) and the grid of a picture, its sides rounded down to whole tokens."""
        width, height = (side // self.multiple * self.multiple for side in image.size)
        pixels = self.pipeline.image_processor.preprocess(image, height, width)
        latents = self.pipeline._encode_vae_image(pixels.to(self.device, self.pipeline.vae.dtype), generator=None)
        packed = self.pipeline._pack_latents(latents)
        return packed[0].float().cpu(), torch.tensor(latents.shape[-2:])
