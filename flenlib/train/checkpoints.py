"""What a training run leaves on disk so that a killed one goes on exactly: step folders, the log, what it was told.

<folder>/training.json                              settings, samples and model of the run
<folder>/log.csv                                    one row an optimiser step
<folder>/checkpoints/step_000100/lora.safetensors   every checkpoint keeps its LoRA
<folder>/checkpoints/step_000100/state.pt           weights, optimiser and average: the last checkpoint only
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from flenlib.dataset.files import write_atomic
from flenlib.train.flow import BINS

COLUMNS = ["step", "loss", "lr", "grad_norm", *(f"bin_{b}" for b in range(BINS)), "seconds"]


def step_folder(folder: Path, step: int) -> Path:
    """Return where the checkpoint of a step is."""
    return folder / "checkpoints" / f"step_{step:06d}"


def latest(folder: Path) -> int | None:
    """Return the step of the last complete checkpoint that can be resumed from, or None."""
    found = (folder / "checkpoints").glob("step_" + "[0-9]" * 6 + "/state.pt")
    return max((int(path.parent.name.removeprefix("step_")) for path in found), default=None)


def save(folder: Path, step: int, state: dict[str, Any], write_lora: Callable[[Path], object]) -> Path:
    """Write one checkpoint, all of it or nothing, then drop the full states of earlier ones; return its folder.

    ``state`` is tensors, numbers, lists and dicts; ``write_lora(path)`` writes the LoRA file.
    """
    final = step_folder(folder, step)
    partial = final.with_name(final.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write_lora(partial / "lora.safetensors")
    torch.save({"step": step, **state}, partial / "state.pt")
    for path in (*partial.iterdir(), partial):
        _flush(path)
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    _flush(final.parent)
    for other in final.parent.glob("step_*/state.pt"):
        if other.parent != final:
            other.unlink()
    return final


def load(folder: Path, step: int, device: torch.device) -> dict[str, Any]:
    """Read the full state of a checkpoint onto a device."""
    return torch.load(step_folder(folder, step) / "state.pt", map_location=device, weights_only=True)


def forget_after(folder: Path, step: int) -> None:
    """Remove what an interrupted run left beyond the checkpoint it will resume from: half-written folders, log rows."""
    for partial in (folder / "checkpoints").glob("*.partial"):
        shutil.rmtree(partial)
    path = folder / "log.csv"
    rows = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    kept = [row for row in rows[1:] if _whole(row) and int(row.split(",", 1)[0]) <= step]
    write_atomic(path, "\n".join([",".join(COLUMNS), *kept, ""]).encode())


def log_row(folder: Path, row: dict[str, Any]) -> None:
    """Append one optimiser step to ``log.csv``; a missing value is left empty."""
    with (folder / "log.csv").open("a", encoding="utf-8") as file:
        file.write(",".join("" if row[name] is None else repr(row[name]) for name in COLUMNS) + "\n")


def read_log(folder: Path) -> pd.DataFrame:
    """Return ``log.csv`` as a table: step, loss, lr, grad_norm, bin_0 .. bin_9 (loss by time), seconds of each step."""
    return pd.read_csv(folder / "log.csv")


class OtherRun(ValueError):
    """The folder holds a run that was told something else; the sentence says what."""


def check_same(folder: Path, run: dict[str, Any]) -> None:
    """Record what a run was told in ``training.json``, or compare with what is recorded there.

    Raises OtherRun naming the first thing that changed, or ValueError for a ``training.json`` that cannot be read.
    """
    path = folder / "training.json"
    run = json.loads(json.dumps(run))
    if not path.is_file():
        write_atomic(path, (json.dumps(run, indent=2, sort_keys=True) + "\n").encode())
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError:
        raise ValueError(f"{path} is not valid JSON; delete {folder} to train from the start") from None
    change = _change(before, run)
    if change:
        raise OtherRun(
            f"{folder} holds a run that was told otherwise: {change}; put it back to go on with that run, "
            "or give another folder, or delete this one, to train from the start"
        )


def _change(before: dict[str, Any], now: dict[str, Any]) -> str | None:
    """Say in words the first difference between two runs: a setting, a sample, the model."""
    for section in sorted(before.keys() | now.keys()):
        old, new = before.get(section), now.get(section)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            key = next(k for k in sorted(old.keys() | new.keys()) if old.get(k) != new.get(k))
            return f"{section}: {key} was {old.get(key)!r} and is now {new.get(key)!r}"
        if isinstance(old, list) and isinstance(new, list) and len(old) != len(new):
            return f"{section}: there were {len(old)} and there are now {len(new)}"
        if isinstance(old, list) and isinstance(new, list):
            number = next(i for i, (a, b) in enumerate(zip(old, new, strict=True)) if a != b)
            return f"{section}: number {number + 1} was {old[number]} and is now {new[number]}"
        return f"{section} was {old!r} and is now {new!r}"
    return None


def _whole(row: str) -> bool:
    return row.count(",") == len(COLUMNS) - 1 and not row.endswith(",")


def _flush(path: Path) -> None:
    """Ask the system to put a file or a folder on the disk now."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
