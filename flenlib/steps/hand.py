"""Who corrects by hand: what the steps ask of somebody who can draw what was asked of a character.

A person works in the review and needs no code. The mini studio's renderer is a hand that the notebooks pass in, so
that the steps themselves import no renderer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from PIL import Image


class Hand(Protocol):
    """Somebody who draws sources where there is no folder, corrects edits, and knows whether an edit was done."""

    name: str
    """What ``corrections.hand`` calls it, and a triplet's ``by``."""

    def draw_sources(self, seed: int, folder: Path) -> list[Path]:
        """Draw a dozen pictures of one person, whom the seed says, into a folder and return their paths."""

    def correct(self, source: Path, attributes: Mapping[str, str], size: int) -> Image.Image | None:
        """Return what an edit of a source should show, ``size`` pixels wide; None for a source it does not know."""

    def done(self, source: Path, picture: Image.Image, attributes: Mapping[str, str], changed: str) -> bool | None:
        """Say whether an edit of a source shows what was asked; None where it does not know.

        ``changed`` names which of the ``attributes`` the edit was to change.
        """
