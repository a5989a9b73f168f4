"""What is known of a family without loading anything: its classes, its layers and their names, its published sizes.

The planner, quantisation, the LoRA functions and the exports ask this and never which family it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from diffusers import DiffusionPipeline, ModelMixin
from diffusers.configuration_utils import FrozenDict
from torch import nn

from flenlib.content import Allowed
from flenlib.words import Role

Inputs = dict[str, Any]
"""What a pipeline or a transformer is called with, by its own parameter names."""
Grid = tuple[int, int]
"""Rows and columns of a picture's tokens."""
Settings = dict[str, dict[str, Any]]
"""Defaults of sections of a params file: {section: {field: value}}."""


class Architecture:
    """The facts of one family, filled in by its class."""

    name: ClassVar[str]
    roles: ClassVar[tuple[Role, ...]]
    """What it can be used for: ``generator`` draws a text, ``editor`` changes a picture as it is told."""
    pipeline_class: ClassVar[type[DiffusionPipeline]]
    transformer_class: ClassVar[type[ModelMixin]]
    encoders: ClassVar[tuple[str, ...]]
    """The pipeline's text encoders."""
    supports: ClassVar[dict[str, type[DiffusionPipeline]]] = {}
    """What ``sample`` takes besides a text, of ``start``, ``mask`` and ``control``, and the pipeline that does it."""
    tokenizer: ClassVar[str] = "tokenizer"
    """The pipeline's tokenizer whose tokens the transformer is given."""
    longest_text: ClassVar[int] = 512
    """Tokens of a text that are read; a mini model's own number is in its ``flenlib.json``."""
    guidance: ClassVar[float]
    """What its published models are sampled at."""
    guided_twice: ClassVar[bool] = False
    """Whether a guidance above 1 costs a second call of the transformer a step (true classifier-free guidance)."""
    encoding: ClassVar[int] = 1
    """Raised when a repair changes what a picture or a text is encoded to: nothing encoded before is used again."""
    caption_empty: ClassVar[Allowed] = Allowed("")
    """What it is given in place of a caption that is dropped, and in place of a negative prompt."""

    blocks: ClassVar[tuple[str, ...]]
    """The transformer's lists of blocks, in whose Linear layers a LoRA can be put."""
    targets: ClassVar[dict[str, tuple[str, ...]]]
    """For each preset, the endings of the layers' names within the blocks; ``*`` is every Linear there."""
    lora_prefix: ClassVar[str]
    """What keys in a LoRA file begin with: with ``.alpha`` in it diffusers reads a family under one name only."""
    lora_marks: ClassVar[re.Pattern[str]]
    """What in the keys of a LoRA file shows that it was made for this family."""
    architecture: ClassVar[str]
    """Its name in the header of a LoRA file that is written."""
    lora_header: ClassVar[re.Pattern[str]]
    """What in such a name, in small letters, shows that a LoRA was made for this family."""
    folds_alpha: ClassVar[bool] = False
    """Whether alpha over rank is in the factors of a LoRA file: diffusers refuses ``.alpha`` of some families."""

    quantised: ClassVar[dict[str, tuple[str, ...]]]
    """The pipeline's parts that are quantised, and in each the layers that never are."""
    eight_bits: ClassVar[tuple[str, ...]] = ()
    """Layers of the transformer that stay at int8 when the rest is nf4."""

    layers: ClassVar[tuple[int, ...]]
    """How many blocks the published transformer has in each of ``blocks``."""
    width: ClassVar[int]
    """Width of the published transformer's stream."""
    text_tokens: ClassVar[int]
    """Tokens of a caption, as the planner counts them."""
    references: ClassVar[int] = 0
    """Reference pictures of a sample, as the planner counts them."""
    most_references: ClassVar[int] = 0
    """The most it can work from."""
    token_side: ClassVar[int] = 16
    """Pixels of a side that one token covers."""
    native: ClassVar[int] = 1024
    """The side of a picture, in pixels, the published model draws; a mini model's own is in its ``flenlib.json``."""

    settings: ClassVar[Settings] = {}
    """Defaults that suit its published models; a row of the registry may set others."""
    settings_at: ClassVar[dict[str, Settings]] = {}
    """Defaults over these, by the precision of the base weights."""
    memory: ClassVar[tuple[tuple[float, str, str], ...]] = ((0, "bf16", "none"),)
    """Precision and offload to use: (at least so many GiB of GPU memory, precision, offload), the most memory first."""

    @classmethod
    def for_memory(cls, gib: float) -> tuple[str, str]:
        """Return the precision and the offload the family is used at on a GPU with so many GiB."""
        return next((precision, offload) for least, precision, offload in cls.memory if gib >= least)

    @classmethod
    def published(cls) -> dict[str, Callable[[], nn.Module]]:
        """Return what builds each part of the published pipeline that holds weights, by its public configuration.

        What is built lies on torch's default device: ``with torch.device("meta")`` takes no memory.
        """
        raise NotImplementedError

    @classmethod
    def published_transformer(cls, layers: tuple[int, ...] | None = None, heads: int | None = None) -> ModelMixin:
        """Return the published transformer, with other numbers of blocks and attention heads where asked."""
        raise NotImplementedError

    @classmethod
    def inputs(cls, config: FrozenDict, batch: int, target: Grid, references: Sequence[Grid], text: int) -> Inputs:
        """Return what a transformer of a configuration is called with, as empty bfloat16 tensors.

        ``target`` is the grid of the picture that is learnt, ``references`` those of the pictures after it; ``text``
        is tokens.
        """
        tokens = sum(rows * columns for rows, columns in (target, *references))
        return {
            "hidden_states": torch.empty(batch, tokens, config.in_channels, dtype=torch.bfloat16),
            "timestep": torch.empty(batch, dtype=torch.bfloat16),
            "encoder_hidden_states": torch.empty(batch, text, config.joint_attention_dim, dtype=torch.bfloat16),
        }

    @classmethod
    def step(
        cls, transformer: ModelMixin, batch: int, target: Grid, references: Sequence[Grid], text: int
    ) -> torch.Tensor:
        """Run a transformer on ``inputs`` and return what it says of the target, (batch, tokens, channels)."""
        inputs = cls.inputs(transformer.config, batch, target, references, text)
        return transformer(**inputs, return_dict=False)[0][:, : target[0] * target[1]]

    @classmethod
    def check_references(cls, number: int) -> None:
        """Raise ValueError for more reference pictures than the family can take."""
        if number > cls.most_references:
            most = f"at most {cls.most_references}" if cls.most_references else "no"
            mend = "leave some out" if cls.most_references else "use an editor"
            raise ValueError(f"the {cls.name} family takes {most} reference pictures and {number} were given; {mend}")

    @classmethod
    def spared(cls, part: str, precision: str) -> tuple[str, ...]:
        """Return the layers of a part of the pipeline that are not quantised to a precision."""
        return cls.quantised[part] + (cls.eight_bits if part == "transformer" and precision == "nf4" else ())

    @classmethod
    def kohya_name(cls, layer: str) -> tuple[str, str]:
        """Return what kohya's trainers call a layer, and which part of it that layer is (empty: the whole).

        They keep diffusers' names where nothing else is said.
        """
        return layer, ""

    @classmethod
    def kohya_rows(cls, name: str) -> dict[str, int]:
        """Return the parts of a layer that kohya's trainers keep as one, top to bottom, and their relative heights."""
        return {}
