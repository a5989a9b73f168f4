"""The mini studio: procedural people, a renderer, and two small trained pipelines in ordinary diffusers folders.

Importing this package loads neither torch nor numpy.
"""

from __future__ import annotations

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
NAMES = ("mini-flux", "mini-qwen-edit")


def folder(name: str) -> Path:
    """Return the folder of a shipped pipeline, ``mini-flux`` or ``mini-qwen-edit``.

    Raises ValueError for another name and FileNotFoundError when the weights are not there.
    """
    if name not in NAMES:
        raise ValueError(f"mini pipeline {name!r} is not known; it must be one of {', '.join(NAMES)}")
    path = WEIGHTS / name
    if not (path / "model_index.json").exists():
        raise FileNotFoundError(
            f"{path} holds no pipeline; make it with `python -m flenlib.mini.build --stage assemble`"
        )
    return path


def draw_sources(seed: int, out: Path, n: int = 12, name: str = "maya") -> list[Path]:
    """Render ``n`` varied pictures of one unseen person into ``out`` as ``maya_01.png``, ...; returns their paths.

    The person is number ``seed`` of those no weights were trained on. Mostly front and half views; each PNG carries
    its provenance, and a .txt beside it says what it shows.
    """
    from flenlib.mini.sources import draw

    return draw(seed, Path(out), n, name)
