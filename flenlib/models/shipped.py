"""Where the pipelines shipped with the kit are. Importing this loads neither torch nor numpy."""

from __future__ import annotations

from pathlib import Path

WEIGHTS = Path(__file__).parents[1] / "mini" / "weights"
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
