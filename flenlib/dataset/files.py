"""Writing files so that a killed process never leaves half of one; knows nothing of what is in them."""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

UNFINISHED = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
"""What a file is called while it is written."""


def write_atomic(path: str | Path, data: bytes) -> None:
    """Write bytes to a path in one step: readers see the old file or the whole new one, also after a crash."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one; numpy numbers become plain, other things text."""
    write_atomic(path, json.dumps(content, indent=1, ensure_ascii=False, default=plain).encode())


def read_json(path: str | Path, mend: str) -> dict[str, Any]:
    """Return the object a JSON file holds. Raises ValueError naming the file, what is wrong, and how to ``mend`` it."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged or cut short ({error}); {mend}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: it holds a {type(content).__name__}; {mend}")
    return content


def plain(value: Any) -> Any:
    """Return a numpy number as Python's own, and anything else JSON does not know as text."""
    return value.item() if hasattr(value, "item") else str(value)


def link_or_copy(source: Path, target: Path) -> None:
    """Make ``target`` another name of ``source`` (hard link), or a copy where the file system has no hard links."""
    with _in_one_step(target) as part:
        try:
            os.link(source, part)
        except OSError:
            shutil.copy2(source, part)


def sweep(folder: Path) -> None:
    """Remove the unfinished files of killed writers under a folder. Only for who knows that nobody writes there now."""
    for path in folder.rglob(".*.tmp"):
        if UNFINISHED.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def copy(source: Path, target: Path) -> None:
    """Copy a file in one step; whoever changes ``target`` in place afterwards leaves ``source`` as it is."""
    with _in_one_step(target) as part:
        shutil.copy2(source, part)


@contextmanager
def _in_one_step(target: Path) -> Iterator[Path]:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield part
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
