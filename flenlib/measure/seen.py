"""A picture as measures see it: its faces, whom they are compared with, what it was made from and what was asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property

from PIL import Image

from flenlib.measure.faces import Face, ReferenceSet, find_faces


@dataclass(frozen=True, eq=False)
class Seen:
    """One picture and what is known around it; what nobody knows is None, and measures that need it do not apply."""

    image: Image.Image
    found: Sequence[Face] | None = None
    """The faces in it, where they are known; otherwise they are found when the first measure asks, and only once."""
    training: ReferenceSet | None = None
    """The faces of the sources trained on."""
    held_out: ReferenceSet | None = None
    """The faces of the sources kept from all training."""
    threshold: float | None = None
    """The face distance to ``training`` up to which it counts as the character."""
    face_expected: bool = False
    """Whether it must show a face: of a back view nobody expects one."""
    source: Seen | None = None
    """The picture it was edited from."""
    target: Image.Image | None = None
    """What should have come out."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """What it shows or should show: angle, expression, and of an edit its kind and value."""
    done: bool | None = None
    """Whether the edit was done, where a `Hand` knows the right answer."""

    @property
    def known(self) -> list[str]:
        """The fields that are known."""
        return [item.name for item in fields(self) if getattr(self, item.name) is not None]

    @cached_property
    def faces(self) -> Sequence[Face]:
        """Every face in the picture, the largest first."""
        return find_faces(self.image) if self.found is None else self.found
