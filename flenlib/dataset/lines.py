"""An append-only file of JSON lines: fsynced, locked for every change, and mended where a crash has cut a line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

LOCK_SECONDS = 10.0


class Lines:
    """One such file; what is in a line is the caller's affair, but each says when it was written (``when``, UTC)."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def read(self) -> tuple[list[bytes], bytes]:
        """Return the whole lines, and the last one where a crash has cut it (empty when there is none such)."""
        lines = self.path.read_bytes().split(b"\n") if self.path.is_file() else []
        while lines and not lines[-1].strip():
            lines.pop()
        if lines and not _is_json(lines[-1]):
            return lines[:-1], lines[-1]
        return lines, b""

    def date(self) -> str:
        """Return the time now (UTC), or just after the last line's where the clock has not moved on since."""
        now, lines = datetime.now(UTC), self.read()[0]
        try:
            last = datetime.fromisoformat(json.loads(lines[-1])["when"]).astimezone(UTC) if lines else now
        except (ValueError, KeyError, TypeError):  # a line without a date, or with one nobody can read
            last = now
        return max(now, last + timedelta(microseconds=1)).isoformat(timespec="microseconds")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the file for one change. Raises TimeoutError when another program holds it for too long."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.path.with_name(f".{self.path.name}.lock"), timeout=LOCK_SECONDS):
                yield
        except Timeout:
            raise TimeoutError(
                f"{self.path} is held by another program for over {LOCK_SECONDS:.0f} s; close that and try again"
            ) from None

    def write(self, entries: Sequence[dict[str, Any]]) -> None:
        """Append entries in one fsynced write; a line cut by a crash is kept as the text of a line ``torn``."""
        torn = self.read()[1]
        with self.path.open("r+b" if self.path.exists() else "w+b") as file:
            file.seek(_end(file, torn))
            kept = [{"torn": torn.decode(errors="replace")}] if torn else []
            text = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in [*kept, *entries])
            file.write(text.encode())
            file.truncate()
            file.flush()
            os.fsync(file.fileno())


def parse(line: bytes, where: str) -> Any:
    """Return what a whole line says; None for an empty one, or one that keeps the text of a torn one.

    Raises ValueError naming ``where`` for a line that is not JSON.
    """
    if not line.strip():
        return None
    try:
        item = json.loads(line)
    except ValueError:
        raise ValueError(f"{where} is damaged: {line[:60]!r}; restore the file or remove that line") from None
    return None if isinstance(item, dict) and "torn" in item else item


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _end(file: Any, torn: bytes) -> int:
    """Return where to write: over the torn last line, or after the last newline (one is added when missing).

    The line that replaces a torn one holds its text and is longer, so writing over it loses nothing.
    """
    content = file.read()
    if torn:
        return content.rindex(torn)
    if content and not content.endswith(b"\n"):
        file.write(b"\n")
        return len(content) + 1
    return len(content)
