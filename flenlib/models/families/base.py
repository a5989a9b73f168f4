"""What the families share: loading, whole or in parts, letting parts go, and saving a LoRA. Knows no architecture.

A gpu too small for everything at once is used in turns: load without the transformer, encode, free the text encoders,
load the transformer, train. Previews are then drawn from conditions encoded in the first turn.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

import diffusers
import torch
import transformers
from huggingface_hub import errors
from PIL import Image
from safetensors import SafetensorError
from torch import nn

from flenlib.dataset.images import fit
from flenlib.models import lora, lora_file, placement


class Family:
    """One loaded pipeline. A subclass holds all that is special about its architecture, and five verbs.

    The verbs are load and save, which are here, and encode, predict and sample.
    """

    name: ClassVar[str]
    roles: ClassVar[tuple[str, ...]]
    """What it can be used for: ``generator`` draws a text, ``editor`` changes a picture as it is told."""
    pipeline_class: ClassVar[type]
    transformer_class: ClassVar[type]
    encoders: ClassVar[tuple[str, ...]]
    """The pipeline's text encoders."""
    caption_empty: ClassVar[str] = ""
    """What it is told in place of a caption that is dropped, and in place of a negative prompt."""

    blocks: ClassVar[tuple[str, ...]]
    """The transformer's lists of blocks, in whose Linear layers a LoRA can be put."""
    targets: ClassVar[dict[str, tuple[str, ...]]]
    """For each preset, the endings of the layers' names within the blocks; ``*`` is every Linear there."""
    lora_prefix: ClassVar[str]
    """What keys in a LoRA file begin with: with ``.alpha`` in it diffusers reads a family under one name only."""
    lora_marks: ClassVar[re.Pattern[str]]
    """What in the keys of a LoRA file shows that it was made for this family."""
    architecture: ClassVar[str]
    """Its name in the header of a LoRA file; a header with the first word of it is of this family."""

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
    pixels_a_token: ClassVar[int] = 256
    native: ClassVar[int] = 1024
    """The side of a picture, in pixels, the published model draws; a mini model's own is in its ``flenlib.json``."""

    def __init__(self, pipeline: Any, source: str, precision: str, offload: str, device: torch.device) -> None:
        self.pipeline = pipeline
        self.source = source
        self.precision = precision
        self.offload = offload
        self.device = device
        self.dtype = placement.pick_dtype(precision, device)
        self.facts = placement.pipeline_facts(source)
        self.resolution: int = self.facts.get("resolution", self.native)
        self.multiple: int = 2 * pipeline.vae_scale_factor
        self.loras: list[lora.Stacked] = []

    @classmethod
    def published(cls) -> dict[str, Callable[[], nn.Module]]:
        """Return what builds each part of the published pipeline that holds weights, by its public configuration.

        What is built lies on torch's default device: ``with torch.device("meta")`` takes no memory.
        """
        raise NotImplementedError

    @classmethod
    def published_transformer(cls, layers: tuple[int, ...] | None = None, heads: int = 24) -> nn.Module:
        """Return the published transformer, with other numbers of blocks and attention heads where asked."""
        raise NotImplementedError

    @classmethod
    def inputs(cls, config: Any, batch: int, target: int, reference: int, text: int) -> dict[str, Any]:
        """Return what a transformer of a configuration is called with for so many tokens, as empty bfloat16 tensors.

        ``target`` tokens of the picture that is learnt, ``reference`` tokens after them, ``text`` tokens.
        """
        return {
            "hidden_states": torch.empty(batch, target + reference, config.in_channels, dtype=torch.bfloat16),
            "timestep": torch.empty(batch, dtype=torch.bfloat16),
            "encoder_hidden_states": torch.empty(batch, text, config.joint_attention_dim, dtype=torch.bfloat16),
        }

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

    def fitted(self, picture: Image.Image, resolution: int, references: bool) -> Image.Image:
        """Return a picture as it is learnt, at about ``resolution`` squared pixels; ``references`` says if it has any.

        Cropped to a coarse grid of sizes, so that pictures of like shape make batches.
        """
        return fit(picture, resolution)

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        precision: str = "fp32",
        offload: str = "none",
        device: str = "auto",
        transformer: bool = True,
    ) -> Self:
        """Load a pipeline from a hub id or a folder; the same call for the published models and the mini ones.

        Without the ``transformer`` the result can encode, and can predict and sample after ``load_transformer``.
        Raises RuntimeError in one sentence for files that are missing or damaged.
        """
        where = placement.pick_device(device)
        placement.check_offload(offload, precision)
        placement.make_current(where)
        dtype = placement.pick_dtype(precision, where)
        with _reading(str(source)):
            parts = cls.own_parts(str(source))
            pipeline = cls.pipeline_class.from_pretrained(str(source), transformer=None, dtype=dtype, **parts)
        pipeline.set_progress_bar_config(disable=True)
        family = cls(pipeline, str(source), precision, offload, where)
        family._place([name for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)])
        if transformer:
            family.load_transformer()
        return family

    @classmethod
    def own_parts(cls, source: str) -> dict[str, Any]:
        """Return the pipeline's parts that ``from_pretrained`` cannot make by itself."""
        return {}

    def load_transformer(self) -> None:
        """Load the transformer at the family's precision and offload; nothing happens when it is there already.

        Raises RuntimeError in one sentence for missing or damaged files.
        """
        if self.pipeline.transformer is not None:
            return
        placement.make_current(self.device)
        with _reading(self.source):
            model = self.transformer_class.from_pretrained(self.source, subfolder="transformer", dtype=self.dtype)
        self.pipeline.register_modules(transformer=model)
        self._place(["transformer"])

    def free_encoders(self) -> None:
        """Let the text encoders go, to make room for the transformer; nothing happens when they are gone already.

        Pictures can still be encoded; texts cannot, and ``sample`` needs ``conditions`` made before.
        """
        if not self.can_encode_text:
            return
        self.pipeline.register_modules(**dict.fromkeys(self.encoders))
        self._place([])
        collect()

    def reload(self, transformer: bool = True) -> None:
        """Load everything anew, without any LoRA: as before ``free_encoders``; also without the ``transformer``."""
        self.pipeline, self.loras = None, []
        collect()
        options = {"precision": self.precision, "offload": self.offload, "device": str(self.device)}
        self.pipeline = type(self).load(self.source, **options, transformer=transformer).pipeline

    def free(self) -> None:
        """Give back the memory it takes, on the GPU too; it cannot be used afterwards."""
        self.pipeline = None
        collect()

    @property
    def can_encode_text(self) -> bool:
        """Whether the text encoders are still there."""
        return getattr(self.pipeline, self.encoders[0]) is not None

    @property
    def transformer(self) -> torch.nn.Module:
        """The part that is trained. Raises RuntimeError before it is loaded."""
        if self.pipeline.transformer is None:
            raise RuntimeError(f"this {self.name} was loaded without its transformer; call load_transformer() first")
        return self.pipeline.transformer

    def save(self, path: str | Path, *, metadata: dict[str, str]) -> Path:
        """Write the attached trainable LoRA, all of it or nothing (see ``lora_file.write``); return the path."""
        return lora_file.write(self, path, metadata)

    def _need_encoders(self) -> None:
        if not self.can_encode_text:
            raise RuntimeError(f"this {self.name}'s text encoders were freed; give conditions=, made before they were")

    def _place(self, parts: Sequence[str]) -> None:
        placement.place(self.pipeline, parts, type(self), self.precision, self.offload, self.device)


def collect() -> None:
    """Give back memory that nothing refers to any more, on the gpu too."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def _reading(source: str) -> Iterator[None]:
    """Read weights, quietly when they are on disk, and turn what is wrong with them into one sentence."""
    try:
        with quiet(Path(source).is_dir()):
            yield
    except (OSError, errors.HfHubHTTPError, SafetensorError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        name = placement.pipeline_facts(source).get("name", source)
        raise RuntimeError(f"{name} cannot be loaded from {source}: {reason}") from error


@contextmanager
def quiet(really: bool = True) -> Iterator[None]:
    """Keep diffusers and transformers from printing progress bars and warnings about optional parts while loading."""
    if not really:
        yield
        return
    libraries = (diffusers.utils.logging, transformers.utils.logging)
    before = [library.get_verbosity() for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, level in zip(libraries, before, strict=True):
            library.set_verbosity(level)
            library.enable_progress_bar()
