"""How pictures are put in words: the style of captions, and the table of what they describe and what they omit."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator
from pydantic_core import PydanticCustomError

from flenlib import words
from flenlib.params.character import Section


def _range(value: Any) -> Any:
    """Return (least, most) of ``25``, ``20-30`` or ``[20, 30]``; anything else is left for the check."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value, value
    found = re.fullmatch(r"\s*(\d+)\s*-\s*(\d+)\s*", value) if isinstance(value, str) else None
    return (int(found[1]), int(found[2])) if found else value


Range = Annotated[tuple[int, int], BeforeValidator(_range)]


class Captions(Section):
    """How captions are made. What every picture shares and no caption says is learnt under the trigger.

    Eyes, skin, face, age and figure are never described.
    """

    style: words.CaptionStyle = Field(
        default="tags", description="tags, sentences, or the template of the process document"
    )
    framing: words.Told = "describe"
    angle: words.Told = "describe"
    outfit: words.Told = "describe"
    background: words.Told = Field(default="describe", description="its kind; details are left out")
    expression: words.Told = "describe"
    pose: words.Told = "describe"
    hair: words.Told = Field(default="omit", description="describe what the character changes from picture to picture")
    makeup: words.Told = "omit"
    facial_hair: words.Told = "omit"
    glasses: words.Told = "omit"
    light: words.Told = "omit"
    camera: words.Told = Field(default="omit", description="lens, aperture, film")
    outfits: dict[str, Range] = Field(
        default={}, description="tags of outfits and how many pictures each needs: {red_dress: 20-30}"
    )
    body_tag: str = Field(
        default="realistic_body", pattern=r"^[\w-]*$", description="tag of pictures of a body without the face"
    )
    captioner: str = Field(
        default="", description="hub id or folder of a model that describes pictures nobody has captioned"
    )
    captioner_precision: Literal["fp32", "bf16"] = "bf16"

    @field_validator("outfits")
    @classmethod
    def _outfits(cls, value: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
        seen: dict[str, str] = {}
        for name, (least, most) in value.items():
            if not re.fullmatch(r"[^\W\d_]\w*", name):
                raise PydanticCustomError("outfit", f"an outfit's tag is one word such as red_dress, not {name[:40]!r}")
            if not 1 <= least <= most:
                raise PydanticCustomError("outfit", f"outfit {name} asks for {least}-{most} pictures; give 20-30")
            other = seen.setdefault(name.casefold().replace("_", ""), name)
            if other != name:
                raise PydanticCustomError("outfit", f"outfit {name} is named twice, once as {other}; keep one of them")
        return value

    def describes(self, part: str) -> bool:
        """Say whether captions name a part of what a picture shows; a part the table does not have is never named."""
        return getattr(self, part, "omit") == "describe"
