"""Where the pictures that a file names may lie: in folders that a person has named, symbolic links followed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def inside(path: Path, folders: Sequence[Path], where: str) -> Path:
    """Return where a path leads. Raises ValueError beginning with ``where`` when that is in none of the folders."""
    found = path.resolve()
    if not any(found.is_relative_to(folder.resolve()) for folder in folders):
        fault = f"{where} names {path}, which lies outside of {', '.join(map(str, folders))}"
        raise ValueError(f"{fault}; copy it there, or name its folder in the params")
    return found
