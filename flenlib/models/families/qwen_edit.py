"""The Qwen-Image-Edit family: reference pictures and an instruction in, picture out; without references a generator.

As an editor it works from one to three references: each is seen by the text encoder (small) and, as latents, by the
transformer (large), which gets them after the noisy target's tokens. Without one it is Qwen-Image: the same transformer
under Qwen-Image's own words before the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import DiffusionPipeline, QwenImageEditPlusPipeline, QwenImagePipeline
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import (
    CONDITION_IMAGE_SIZE,
    VAE_IMAGE_SIZE,
    calculate_dimensions,
)
from PIL import Image

from flenlib.content import Allowed
from flenlib.models.batch import Encoded
from flenlib.models.families.architecture import Inputs
from flenlib.models.families.qwen_image import QwenImage
from flenlib.models.families.qwen_processor import load_processor, place_pictures, reference_areas
from flenlib.models.start import Start

EDITING = {"steps": 40, "guidance": 4.0}
TRAINING = {
    "steps": 1000,
    "batch_size": 1,  # the pipeline takes one at a time: accumulate instead
    "accumulate": 4,
    "learning_rate": 1e-4,
    "targets": "attention",
    "optimizer": "adamw8bit",
    "gradient_checkpointing": True,
    "checkpoint_every": 250,
    "sample_every": 250,
    "validate_every": 250,
    "sampling_steps": EDITING["steps"],
    "guidance": EDITING["guidance"],
}


class QwenEdit(QwenImage):
    """A QwenImageEditPlusPipeline with the five verbs: load, encode, predict, sample, save."""

    name = "qwen_edit"
    roles = ("editor", "generator")
    pipeline_class = QwenImageEditPlusPipeline
    architecture = "qwen-image-edit-plus"
    text_tokens = 384  # about 200 of them of one small reference
    references, most_references = 1, 3
    encoding = 2  # 2: the encoder's positions of references have rows and columns
    settings: ClassVar = QwenImage.settings | {
        "enrich": EDITING, "corrections": EDITING, "train_editor": TRAINING, "compare_editors": EDITING,
    }  # fmt: skip

    def __init__(self, *loaded: Any) -> None:
        super().__init__(*loaded)
        self.reference_area: int = self.facts.get("reference_area", VAE_IMAGE_SIZE)
        self.condition_area: int = self.facts.get("condition_area", CONDITION_IMAGE_SIZE)
        if self.can_encode_text:
            place_pictures(self.pipeline.text_encoder)

    @classmethod
    def own_parts(cls, source: str, revision: str) -> dict[str, Any]:
        """Return the processor, which transformers makes only where torchvision is installed."""
        if Path(source).is_dir():
            return {"processor": load_processor(Path(source) / "processor")}
        return {"processor": load_processor(source, subfolder="processor", revision=revision)}

    def fitted(self, picture: Image.Image, resolution: int, references: bool) -> Image.Image:
        """Return a picture as it is learnt: with references whole, as the references are resized.

        Sides are then rounded to 32 and nothing is cropped, so that what is learnt lies where it lay in the reference.
        """
        if not references:
            return super().fitted(picture, resolution, references)
        size = calculate_dimensions(resolution**2, picture.width / picture.height)
        return picture.resize(size, Image.Resampling.LANCZOS)

    def text_settings(self, references: bool) -> dict[str, Any]:
        """Return what decides, beside its encoders, what an instruction and its references are encoded to."""
        if not references:
            return super().text_settings(references)
        template = self.pipeline.prompt_template_encode
        return {"template": template, "areas": [self.condition_area, self.reference_area], "empty": self.caption_empty}

    @property
    def _text_pipeline(self) -> QwenImagePipeline:
        """The edit pipeline itself has no call without a picture."""
        return self._of_same_parts(QwenImagePipeline)

    def _encode(self, image: Image.Image | None, text: Allowed | None, references: Sequence[Image.Image]) -> Encoded:
        """Encode a target picture, an instruction, references, or all, into what ``predict`` reads, on the CPU.

        References give ``reference`` (tokens of all, channels) and ``reference_grid``, resized to the model's reference
        area; the text encoder sees them with the instruction. All else is as in `QwenImage`.
        """
        if not len(references):
            return super()._encode(image, text, ())
        sizes = [calculate_dimensions(self.reference_area, r.width / r.height) for r in references]
        encoded = [self._latents(r, *size) for r, size in zip(references, sizes, strict=True)]
        parts = {
            "reference": torch.cat([latents for latents, _ in encoded]),
            "reference_grid": torch.stack([grid for _, grid in encoded]),
        }
        if text is not None:
            self._need_encoders()
            parts |= self._embedded(*self.pipeline.encode_prompt(text, image=self._seen(references)))
        return super()._encode(image, None, ()) | Encoded(**parts)

    def _draw(
        self,
        pipeline: DiffusionPipeline,
        text: Allowed,
        guidance: float,
        references: Sequence[Image.Image],
        conditions: Encoded | None,
        how: Inputs,
    ) -> Image.Image:
        pictures = {"image": list(references)} if len(references) else {}
        with reference_areas(self.condition_area, self.reference_area):
            return super()._draw(pipeline, text, guidance, references, conditions, how | pictures)

    def _check(self, references: Sequence[Image.Image], start: Start | None, control: Image.Image | None) -> None:
        if len(references) and not (start is control is None):
            raise ValueError("the qwen_edit family samples from references or from a start picture; give one of both")
        super()._check((), start, control)

    def _size(self, references: Sequence[Image.Image], start: Start | None) -> tuple[int, int]:
        """Return the width and height of the last reference's shape, where there are any."""
        if not len(references):
            return super()._size(references, start)
        width, height = calculate_dimensions(self.reference_area, references[-1].width / references[-1].height)
        return width, height

    def _pipeline(
        self, references: Sequence[Image.Image], start: Start | None, control: Image.Image | None
    ) -> DiffusionPipeline:
        if len(references) or start is not None or control is not None:
            return super()._pipeline(references, start, control)
        return self._text_pipeline

    def _seen(self, references: Sequence[Image.Image]) -> list[Image.Image]:
        """Return the references as the text encoder sees them."""
        sizes = [calculate_dimensions(self.condition_area, r.width / r.height) for r in references]
        resize = self.pipeline.image_processor.resize
        return [resize(r, height, width) for r, (width, height) in zip(references, sizes, strict=True)]
