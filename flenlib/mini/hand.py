"""The mini studio's hand: the renderer draws sources, corrects edits of what it drew, and knows when one was done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from flenlib.dataset.images import read_provenance
from flenlib.mini import answers, draw_sources


class Renderer:
    """A `Hand` (`flenlib.steps.hand`) for pictures the studio drew, which their provenance says; it knows no others."""

    name = "renderer"

    def draw_sources(self, seed: int, folder: Path) -> list[Path]:
        """Render twelve pictures of one unseen person into a folder and return their paths."""
        return draw_sources(seed, folder)

    def correct(self, source: Path, attributes: Mapping[str, str], size: int) -> Image.Image | None:
        """Return the source rendered again with what was asked changed, aligned to the pixel."""
        facts = read_provenance(source)
        return answers.answer(facts, attributes, size) if answers.known(facts) else None

    def done(self, source: Path, picture: Image.Image, attributes: Mapping[str, str], changed: str) -> bool | None:
        """Say whether an edit is nearer to what was asked than to any other answer."""
        facts = read_provenance(source)
        return answers.reached(facts, picture, attributes, changed) if answers.known(facts) else None
