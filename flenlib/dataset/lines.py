"""An append-only file of JSON lines: fsynced, locked for every change, and mended where a crash has cut a line.

What is written together is one line, so that a full disk or a killed process leaves all of it or nothing. A write reads
the end of the file only, and a reader that follows the file reads what is new.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

LOCK_SECONDS = 10.0
BLOCK = 65_536
CREDIBLE = timedelta(days=1)
"""A line's date that is further ahead of the clock was written by a wrong clock, or by hand: the next ignores it."""


class Lines:
    """One such file; what is in a line is the caller's affair, but each says when it was written (``when``, UTC)."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._seen: tuple[int, int, int] | None = None  # inode, size and time of change when `follow` last looked
        self._end, self._last, self._torn = 0, b"", b""  # where it stopped, the whole line before, what it left out

    def read(self) -> tuple[list[bytes], bytes]:
        """Return the whole lines, and the last one where a crash has cut it (empty when there is none such)."""
        try:
            lines, torn = _split(self.path.read_bytes())
        except FileNotFoundError:
            return [], b""
        return lines, torn.strip(b"\n")

    def follow(self) -> tuple[bool, list[bytes], bytes]:
        """Return whether the file has to be read anew, the whole lines since `follow` last looked, and a torn last one.

        Anew is the first look, and any after a change that is no append: then the lines are all there are. An edit by
        hand is told by its size, or by the last line seen, which then no longer lies where it lay.
        """
        if not self.path.is_file():
            anew, self._seen, self._end, self._last, self._torn = self._seen is not None, None, 0, b"", b""
            return anew, [], b""
        with self.path.open("rb") as file:
            found = os.fstat(file.fileno())
            now = (found.st_ino, found.st_size, found.st_mtime_ns)
            if now == self._seen:
                return False, [], self._torn
            known = self._last.rstrip(b"\n") + b"\n" if self._last else b""
            begin = self._end - len(self._last)
            file.seek(begin)
            content = file.read()
            anew = self._seen is None or self._seen[0] != now[0] or now[1] <= self._seen[1]
            if anew or not content.startswith(known):
                anew, begin, known = True, 0, b""
                file.seek(0)
                content = file.read()
        content = content[len(known) :]
        lines, torn = _split(content)
        if lines:
            whole = content[: len(b"\n".join(lines)) + 1]
            self._end, self._last = begin + len(known) + len(whole), whole[whole.rfind(b"\n", 0, -1) + 1 :]
        elif anew:
            self._end, self._last = 0, b""
        self._seen, self._torn = now, torn.strip(b"\n")
        return anew, lines, self._torn

    def date(self) -> str:
        """Return the time now (UTC), or just after the last line's where the clock has not moved on since."""
        now, last = datetime.now(UTC), None
        if self.path.is_file():
            with self.path.open("rb") as file:
                last = _date_of(_tail(file)[0])
        if last is None or last > now + CREDIBLE:
            last = now - timedelta(microseconds=1)
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
        """Append entries as one fsynced line, a list where they are several; no entries write nothing.

        A line cut by a crash is kept as the text of a line ``torn``. Raises OSError naming the file when it cannot be
        written, as on a full disk; the file is then what it was.
        """
        if not entries:
            return
        text = json.dumps(entries[0] if len(entries) == 1 else list(entries), ensure_ascii=False) + "\n"
        with self.path.open("r+b" if self.path.exists() else "w+b", buffering=0) as file:
            last, torn, begin = _tail(file)
            if torn:  # written over by a line that holds its text and is longer, so nothing of it is lost
                text = json.dumps({"torn": torn.decode(errors="replace").strip("\n")}, ensure_ascii=False) + "\n" + text
            elif last and not last.endswith(b"\n"):
                text = "\n" + text
            content, size = text.encode(), file.seek(0, os.SEEK_END)
            try:
                _put(file, begin, content)
                file.truncate(begin + len(content))
                os.fsync(file.fileno())
            except OSError as error:
                with suppress(OSError):
                    file.truncate(size)
                    _put(file, begin, torn)
                    os.fsync(file.fileno())
                raise OSError(
                    f"{self.path} cannot be written ({error.strerror}): nothing of it was kept; make room and try again"
                ) from error


def parse(line: bytes, where: str) -> list[Any]:
    """Return the entries of a whole line: none of an empty one, or of one that keeps the text of a torn one.

    Raises ValueError naming ``where`` for a line that is not JSON.
    """
    if not line.strip():
        return []
    try:
        item = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError(f"{where} is damaged: {line[:60]!r}; restore the file or remove that line") from None
    entries = item if isinstance(item, list) else [item]
    return [entry for entry in entries if not (isinstance(entry, dict) and "torn" in entry)]


def moment(text: Any) -> datetime | None:
    """Return a date that a line says, in UTC; None for one that nobody can read."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        return None


def _date_of(line: bytes) -> datetime | None:
    if not line.strip():
        return None
    item = json.loads(line)
    entry = item[-1] if isinstance(item, list) and item else item
    return moment(entry.get("when")) if isinstance(entry, dict) else None


def _tail(file: BinaryIO) -> tuple[bytes, bytes, int]:
    """Return the last whole line, a torn one after it, and where the next line is to be written: over the torn one."""
    size, length = file.seek(0, os.SEEK_END), BLOCK
    while True:
        begin = max(0, size - length)
        file.seek(begin)
        content = file.read(size - begin)
        cut = content.find(b"\n") + 1 if begin else 0  # what precedes is a part of a line
        lines, torn = _split(content[cut:])
        if begin == 0 or any(map(bytes.strip, lines)):
            break
        length *= 2
    place = size - len(torn)
    last = next((line for line in reversed(lines) if line.strip()), b"")
    return last + (b"\n" if content[: len(content) - len(torn)].endswith(b"\n") else b""), torn, place


def _split(content: bytes) -> tuple[list[bytes], bytes]:
    """Return the whole lines, and all that follows from the last on where a crash has cut it."""
    lines = content.split(b"\n")
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines or _is_json(lines[-1]):
        return lines, b""
    begin = content.rindex(lines[-1])
    return lines[:-1], content[begin:]


def _put(file: BinaryIO, place: int, content: bytes) -> None:
    """Write all of the content at a place; one call to the system may write a part of it only."""
    file.seek(place)
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
