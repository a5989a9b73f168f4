"""A picture that sampling begins with: how much of it is drawn anew, and where. Knows no model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PIL import Image


@dataclass(frozen=True)
class Start:
    """A picture that sampling begins with, how much of it is drawn anew, and where.

    Raises ValueError for a strength outside 0..1 and for a mask of another size than its picture.
    """

    picture: Image.Image
    strength: float = 0.6
    """0 leaves the picture as it is; 1 begins from noise alone."""
    mask: Image.Image | None = None
    """White where the picture is drawn anew; where it is black the picture stays, bit by bit."""

    def __post_init__(self) -> None:
        if not 0 <= self.strength <= 1:
            raise ValueError(f"strength is {self.strength:g}; it must be from 0 (as it is) to 1 (drawn anew)")
        if self.mask is not None and self.mask.size != self.picture.size:
            raise ValueError(f"the mask is {self.mask.size} pixels and its picture {self.picture.size}; make it equal")

    def size(self, multiple: int) -> tuple[int, int]:
        """Return width and height of the picture, rounded down to what a pipeline draws."""
        width, height = (side // multiple * multiple for side in self.picture.size)
        return width, height

    def inputs(self) -> dict[str, Any]:
        """Return the arguments of a pipeline."""
        found = {"image": self.picture, "strength": self.strength}
        return found if self.mask is None else found | {"mask_image": self.mask}

    def finish(self, drawn: Image.Image) -> Image.Image:
        """Return what was drawn at the picture's size, with the picture itself where the mask is black."""
        if drawn.size != self.picture.size:
            drawn = drawn.resize(self.picture.size, Image.Resampling.LANCZOS)
        return drawn if self.mask is None else Image.composite(drawn, self.picture, self.mask.convert("L"))
