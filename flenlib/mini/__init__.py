"""The mini studio: procedural people, a renderer, and two small trained pipelines in ordinary diffusers folders.

Importing this package loads neither torch nor numpy.
"""

from __future__ import annotations

from pathlib import Path


def draw_sources(seed: int, out: Path, n: int = 12, name: str = "maya") -> list[Path]:
    """Render ``n`` varied pictures of one unseen person into ``out`` as ``maya_01.png``, ...; returns their paths.

    The person is number ``seed`` of those no weights were trained on. Mostly front and half views; each PNG carries
    its provenance, and a .txt beside it says what it shows.
    """
    from flenlib.mini.sources import draw

    return draw(seed, Path(out), n, name)
