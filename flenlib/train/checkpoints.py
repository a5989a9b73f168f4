"""What a training run leaves on disk so that a killed one goes on exactly: step folders, the logs, its settings.

<folder>/training.json                              settings, samples and model of the run
<folder>/log.csv                                    one row an optimiser step
<folder>/watch.csv                                  one row a look at held-out pictures and previews
<folder>/checkpoints/step_000100/lora.safetensors   every checkpoint keeps its LoRA
<folder>/checkpoints/step_000100/state.pt           weights, optimiser and average: the last checkpoint only
<folder>/checkpoints/step_000100/SHA256SUMS         the hashes of both, as ``sha256sum --check`` reads them
"""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

import pandas as pd
import torch
from safetensors import SafetensorError

from flenlib.dataset.files import read_json, write_atomic
from flenlib.dataset.images import sha256
from flenlib.train.flow import BINS

COLUMNS = ["step", "loss", "lr", "grad_norm", *(f"bin_{b}" for b in range(BINS)), "seconds"]
"""The columns of ``log.csv``; those of ``watch.csv`` are the measures taken (`flenlib.train.watch`)."""

SUMS = "SHA256SUMS"
"""The file of a checkpoint's hashes."""

_ROW = re.compile(r"\d+(,([-+.e\d]+|nan|-?inf)?)*,[-+.e\d]+")

Row = dict[str, Any]
"""One row of a log by column; None where nothing was measured."""


def step_folder(folder: Path, step: int) -> Path:
    """Return where the checkpoint of a step is."""
    return folder / "checkpoints" / f"step_{step:06d}"


def lora_of(folder: Path, step: int) -> Path:
    """Return where the LoRA of a checkpoint is."""
    return step_folder(folder, step) / "lora.safetensors"


def latest(folder: Path) -> int | None:
    """Return the step of the last complete checkpoint that can be resumed from, or None."""
    found = (folder / "checkpoints").glob("step_" + "[0-9]" * 6 + "/state.pt")
    return max((int(path.parent.name.removeprefix("step_")) for path in found), default=None)


class State(TypedDict):
    """What a run needs to continue from a step: trained weights, their average, and the state of the optimizer."""

    weights: list[torch.Tensor]
    average: list[torch.Tensor]
    optimizer: dict[str, Any]


def save(folder: Path, step: int, state: State, write_lora: Callable[[Path], object]) -> Path:
    """Write one checkpoint, all of it or nothing, then drop the full states of earlier ones; return its folder.

    ``write_lora(path)`` writes the LoRA file. Raises RuntimeError in
    one sentence when the disk is full, and leaves what was there.
    """
    final = step_folder(folder, step)
    partial = final.with_name(final.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with writing(f"the checkpoint of step {step}", final):
            partial.mkdir(parents=True)
            write_lora(partial / lora_of(folder, step).name)
            torch.save({"step": step, **state}, partial / "state.pt")
            sums = [f"{sha256(path)}  {path.name}\n" for path in sorted(partial.iterdir())]
            (partial / SUMS).write_text("".join(sums), encoding="utf-8")
            for path in (*partial.iterdir(), partial):
                _flush(path)
    except RuntimeError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    _flush(final.parent)
    for other in final.parent.glob("step_*/state.pt"):
        if other.parent != final:
            other.unlink()
    return final


def load(folder: Path, step: int, device: torch.device) -> State:
    """Read the full state of a checkpoint onto a device. Raises ValueError for a file that is not as it was written."""
    path = step_folder(folder, step) / "state.pt"
    try:
        if recorded(path) not in ("", sha256(path)):  # none: of a version that recorded no hashes
            raise ValueError(f"its sha256 is not the one in {SUMS}")
        return torch.load(path, map_location=device, weights_only=True)
    except (ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} is damaged ({reason}); delete it, and training begins again from step 0") from None


def recorded(path: Path) -> str:
    """Return the sha256 with which a file of a checkpoint was written; empty where none is recorded."""
    sums = path.with_name(SUMS)
    lines = sums.read_text(encoding="utf-8", errors="replace").splitlines() if sums.is_file() else []
    return next((line.partition("  ")[0] for line in lines if line.partition("  ")[2] == path.name), "")


def forget_after(folder: Path, step: int, watched: Sequence[str] = ("step",)) -> None:
    """Remove what an interrupted run left beyond the checkpoint it will resume from: half-written folders, log rows.

    ``watched`` are the columns of ``watch.csv``; rows with other columns, of other measures, are removed too.
    """
    for partial in (folder / "checkpoints").glob("*.partial"):
        shutil.rmtree(partial)
    for name, columns in (("log.csv", COLUMNS), ("watch.csv", watched)):
        path, header = folder / name, ",".join(columns)
        rows = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
        known = rows[1:] if rows[:1] == [header] else []
        kept = [row for row in known if _whole(row, columns) and int(row.split(",", 1)[0]) <= step]
        with writing("the log", path):
            write_atomic(path, "\n".join([header, *kept, ""]).encode())


def log_row(folder: Path, row: Row, name: str = "log.csv") -> None:
    """Append one row to ``log.csv`` or ``watch.csv``, its values in the order of the columns; None is left empty."""
    path = folder / name
    with writing(f"step {row['step']}", path), path.open("a", encoding="utf-8") as file:
        file.write(",".join("" if value is None else repr(value) for value in row.values()) + "\n")


def read_log(folder: Path) -> pd.DataFrame:
    """Return ``log.csv`` as a table: step, loss, lr, grad_norm, bin_0 .. bin_9 (loss by time), seconds of each step."""
    return pd.read_csv(folder / "log.csv")


def read_watch(folder: Path) -> pd.DataFrame:
    """Return ``watch.csv`` as a table: step, how many previews were drawn, and a column a measure.

    A measure of pictures is its mean over the previews; a value that was not measured at a step is empty.
    """
    return pd.read_csv(folder / "watch.csv")


@contextmanager
def writing(what: str, path: Path) -> Iterator[None]:
    """Turn what goes wrong while a file is written into one RuntimeError that says what to do."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        there = next(parent for parent in path.parents if parent.is_dir())
        free = shutil.disk_usage(there).free / 2**30
        raise RuntimeError(
            f"{what} could not be written to {path}: {reason} ({free:.1f} GiB are free there); "
            "make room and call again, training goes on from its last checkpoint"
        ) from error


class OtherRun(ValueError):
    """The folder holds a run with other settings, samples or model; the sentence says which."""


def check_same(folder: Path, run: dict[str, Any]) -> None:
    """Record a run's settings, samples and model in ``training.json``, or compare them with those recorded there.

    Raises OtherRun naming the first thing that changed, or ValueError for a ``training.json`` that cannot be read.
    """
    path = folder / "training.json"
    run = json.loads(json.dumps(run))
    before = read_json(path, f"delete {folder} to train from the start") if path.is_file() else {}
    change = _change(before, {**before, **run})
    if change:
        raise OtherRun(
            f"{folder} holds another run: {' '.join(change.split())}; put it back to go on with that run, "
            "or give another folder, or delete this one, to train from the start"
        )
    if run.keys() - before.keys():
        write_atomic(path, (json.dumps({**before, **run}, indent=2, sort_keys=True) + "\n").encode())


def is_same(folder: Path, run: dict[str, Any]) -> bool:
    """Say whether a folder holds the run of these settings, samples and model. Raises ValueError as `check_same`."""
    path = folder / "training.json"
    before = read_json(path, f"delete {folder} to train from the start") if path.is_file() else {}
    return before.keys() >= run.keys() and _change(before, before | json.loads(json.dumps(run))) is None


def _change(before: dict[str, Any], now: dict[str, Any]) -> str | None:
    """Say in words the first difference between two runs: a setting, a sample, the model."""
    for section in sorted(before):
        old, new = before[section], now[section]
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


def _whole(row: str, columns: Sequence[str]) -> bool:
    """Say whether a row was written to its end, and nothing but numbers stands in it."""
    return row.count(",") == len(columns) - 1 and bool(_ROW.fullmatch(row))


def _flush(path: Path) -> None:
    """Ask the system to put a file or a folder on the disk now."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
