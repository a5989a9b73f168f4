"""One worker at a time in one iteration's outputs: a lock that says who holds it, and that a killed process lets go."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from flenlib.dataset.files import sweep
from flenlib.project import STAGES, Project

HELD = "FLENWHEEL_HELD"
"""The environment variable that tells the kernels a runner starts which outputs it already holds."""

_locks: dict[Path, FileLock] = {}


class Busy(RuntimeError):
    """Another process works in this iteration; the sentence says what, since when, and its process id."""


def take(project: Project, what: str) -> None:
    """Take an iteration for this process, under the name of what it does; a process may take its own again.

    What killed writers left unfinished in its folders is removed: nobody else writes there now. Raises Busy when
    another process holds it.
    """
    path = project.outputs.resolve() / ".lock"
    if os.environ.get(HELD) == str(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if path not in _locks:
        _locks[path] = _acquire(path)
        for folder in (project.outputs, *(project.data(stage) for stage in STAGES if stage != "raw")):
            sweep(folder)
    path.write_text(f"{what} (process {os.getpid()}, since {datetime.now():%Y-%m-%d %H:%M:%S})", encoding="utf-8")


def release(project: Project) -> None:
    """Let an iteration go, if this process took it and is not inside `held`."""
    path = project.outputs.resolve() / ".lock"
    lock = None if os.environ.get(HELD) == str(path) else _locks.pop(path, None)
    if lock is not None:
        lock.release()


@contextmanager
def held(project: Project, what: str) -> Iterator[None]:
    """Hold an iteration for this process and for the kernels it starts. Raises Busy as `take` does."""
    take(project, what)
    os.environ[HELD] = str(project.outputs.resolve() / ".lock")
    try:
        yield
    finally:
        del os.environ[HELD]
        release(project)


def _acquire(path: Path) -> FileLock:
    lock = FileLock(path, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        holder = path.read_text(encoding="utf-8") or "another process"
        raise Busy(
            f"{path.parent} is in use by {holder}: wait until it has finished. A notebook has finished when its last "
            "cell has run, or its kernel is shut down"
        ) from None
    return lock
