"""The FLUX.1 Kontext family: a picture and an instruction in, picture out. FLUX.1 with one reference beside the target.

The text encoders read the instruction alone; the transformer sees the reference's latents after the target's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from diffusers import DiffusionPipeline, FluxKontextPipeline
from diffusers.pipelines.flux.pipeline_flux_kontext import PREFERRED_KONTEXT_RESOLUTIONS
from PIL import Image

from flenlib.content import Allowed
from flenlib.models.batch import Encoded
from flenlib.models.families import flux
from flenlib.models.families.architecture import Inputs
from flenlib.models.families.flux import Flux
from flenlib.models.start import Start

AREA = 1024 * 1024
"""Pixels of a reference and of a picture: the sizes Kontext was trained at all have about so many."""
EDITING = {"steps": 28, "guidance": 2.5}
TRAINING = flux.TRAINING | {
    "accumulate": 4, "sampling_steps": EDITING["steps"], "guidance": EDITING["guidance"],
}  # fmt: skip


class FluxKontext(Flux):
    """A FluxKontextPipeline with the five verbs: load, encode, predict, sample, save."""

    name = "flux_kontext"
    roles = ("editor",)
    pipeline_class = FluxKontextPipeline
    supports: ClassVar = {}
    guidance = EDITING["guidance"]
    architecture = "flux-1-kontext-dev"
    references = most_references = 1
    settings: ClassVar = {
        "enrich": EDITING, "corrections": EDITING, "train_editor": TRAINING, "compare_editors": EDITING,
    }  # fmt: skip
    settings_at: ClassVar = {"nf4": {"train_editor": flux.CLIPPED}}

    def __init__(self, *loaded: Any) -> None:
        super().__init__(*loaded)
        self.reference_area: int = self.facts.get("reference_area", AREA)

    def fitted(self, picture: Image.Image, resolution: int, references: bool) -> Image.Image:
        """Return a picture as it is learnt: with a reference whole, in the shape the reference is resized to."""
        if not references:
            return super().fitted(picture, resolution, references)
        return picture.resize(self._shape(picture, resolution**2), Image.Resampling.LANCZOS)

    def text_settings(self, references: bool) -> dict[str, Any]:
        """Return what decides, beside its encoders, what an instruction and its reference are encoded to."""
        return super().text_settings(references) | ({"area": self.reference_area} if references else {})

    def _encode(self, image: Image.Image | None, text: Allowed | None, references: Sequence[Image.Image]) -> Encoded:
        """Encode a target picture, an instruction, a reference, or all, into what ``predict`` reads, on the CPU.

        A reference gives ``reference`` (tokens, channels) and ``reference_grid``. All else is as in `Flux`.
        """
        encoded = super()._encode(image, text, ())
        for reference in references:
            latents, grid = self._latents(reference, *self._shape(reference, self.reference_area))
            encoded |= Encoded(reference=latents, reference_grid=grid[None])
        return encoded

    def _draw(
        self,
        pipeline: DiffusionPipeline,
        text: Allowed,
        guidance: float,
        references: Sequence[Image.Image],
        conditions: Encoded | None,
        how: Inputs,
    ) -> Image.Image:
        how |= {"max_area": how["width"] * how["height"], "_auto_resize": False}
        for reference in references:
            width, height = self._shape(reference, self.reference_area)
            how["image"] = pipeline.image_processor.resize(reference, height, width)
        return super()._draw(pipeline, text, guidance, references, conditions, how)

    def _size(self, references: Sequence[Image.Image], start: Start | None) -> tuple[int, int]:
        """Return the width and height of the reference's shape, where there is one."""
        if not len(references):
            return super()._size(references, start)
        return self._shape(references[0], self.reference_area)

    def _shape(self, picture: Image.Image, area: int) -> tuple[int, int]:
        """Return the width and height, of about an area, of the nearest shape that Kontext was trained at."""
        ratio = picture.width / picture.height
        _, *sides = min((abs(ratio - width / height), width, height) for width, height in PREFERRED_KONTEXT_RESOLUTIONS)
        width, height = (int(side * (area / AREA) ** 0.5) // self.multiple * self.multiple for side in sides)
        return max(width, self.multiple), max(height, self.multiple)
