"""Where diffusers' QwenImageEditPlusPipeline is mended: a processor without torchvision, areas, positions of pictures.

Knows nothing of weights. The processor is for pictures only; Qwen's own also reads video, which needs torchvision.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus
from torch import nn
from transformers import AutoTokenizer, Qwen2VLImageProcessorPil, Qwen2VLProcessor
from transformers.processing_utils import ProcessorMixin


class QwenPictureProcessor(Qwen2VLProcessor):
    """The Qwen2-VL processor for pictures and text, without the video part."""

    @classmethod
    def get_attributes(cls) -> list[str]:
        """Return the names of the parts: all but the video processor."""
        return ["image_processor", "tokenizer"]

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None) -> None:
        self.image_token = "<|image_pad|>"
        self.video_token = "<|video_pad|>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


def load_processor(folder: str | Path, **hub: object) -> QwenPictureProcessor:
    """Return the processor saved in ``folder`` (a pipeline's ``processor`` folder); ``hub`` goes to from_pretrained."""
    tokenizer = AutoTokenizer.from_pretrained(folder, **hub)
    images = Qwen2VLImageProcessorPil.from_pretrained(folder, **hub)
    return QwenPictureProcessor(images, tokenizer, tokenizer.chat_template)


@contextmanager
def reference_areas(condition: int, vae: int) -> Iterator[None]:
    """Let QwenImageEditPlusPipeline resize references to these areas (pixels) inside the ``with`` block.

    Within the block each reference is shown to the text encoder at about ``condition`` pixels and to the autoencoder
    at about ``vae`` pixels, sides rounded to 32. They are module constants of diffusers (384 x 384 and 1024 x 1024).
    """
    module = pipeline_qwenimage_edit_plus
    before = module.CONDITION_IMAGE_SIZE, module.VAE_IMAGE_SIZE
    module.CONDITION_IMAGE_SIZE, module.VAE_IMAGE_SIZE = condition, vae
    try:
        yield
    finally:
        module.CONDITION_IMAGE_SIZE, module.VAE_IMAGE_SIZE = before


def place_pictures(reader: nn.Module) -> None:
    """Let Qwen2.5-VL give the tokens of pictures the positions of their rows and columns, as it was trained.

    It finds them by ``mm_token_type_ids`` (1 for a picture's token), which the pipelines of diffusers do not hand on;
    without them transformers 5 counts all tokens in one line, silently (diffusers issue 14194).
    """
    reader.register_forward_pre_hook(_with_token_types, with_kwargs=True)


def _with_token_types(
    reader: Any, positional: tuple[object, ...], named: dict[str, Any]
) -> tuple[tuple[object, ...], dict[str, Any]] | None:
    if named.get("image_grid_thw") is None or named.get("mm_token_type_ids") is not None:
        return None
    return positional, named | {"mm_token_type_ids": (named["input_ids"] == reader.config.image_token_id).int()}
