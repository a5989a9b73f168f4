"""Pairs for editors in the layouts of other trainers: written from triplets, and read into them.

``ai-toolkit`` (``target/`` with .txt captions, ``control/`` by the same names), ``musubi-tuner`` (``dataset.jsonl``:
image_path, control_path, caption), ``diffsynth`` (``metadata.json``: image, edit_image, prompt) and ``imagefolder``
(``metadata.jsonl`` of Hugging Face datasets: source_file_name, target_file_name, prompt). Rows are read from .csv too.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from flenlib.dataset import triplets
from flenlib.dataset.captions import read_txt, write_txt
from flenlib.dataset.files import link_or_copy, write_atomic
from flenlib.dataset.images import sha256
from flenlib.dataset.imports import EXTENSIONS
from flenlib.dataset.triplets import Triplet
from flenlib.project import from_base
from flenlib.words import LAYOUTS

_FILES = {"musubi-tuner": "dataset.jsonl", "diffsynth": "metadata.json", "imagefolder": "metadata.jsonl"}
_COLUMNS = {
    "musubi-tuner": (("control_path", "control_path_0"), ("image_path",), ("caption",)),
    "diffsynth": (("edit_image",), ("image",), ("prompt",)),
    "imagefolder": (("source_file_name", "file_name"), ("target_file_name", "corrected_file_name"), ("prompt", "text")),
}
"""For each layout of rows: what its source, target and instruction may be called; the first name is written."""


def export(folder: str | Path, pairs: Sequence[Triplet], out: str | Path, layout: str) -> Path:
    """Write the pairs of a triplets folder into ``out`` in a layout and return that folder; pictures are linked.

    musubi-tuner's paths are absolute, because it reads them as they are. Raises ValueError for an unknown layout, for
    nothing to write, and for a folder that holds files already.
    """
    out = Path(out).absolute()
    if layout not in LAYOUTS:
        raise ValueError(f"layout {layout!r} is not known; it must be one of {', '.join(LAYOUTS)}")
    if not pairs:
        raise ValueError(f"there are no pairs to write to {out}; run step 2.1 (notebook 21) first")
    if out.is_dir() and any(out.iterdir()):
        raise ValueError(f"{out} holds files already; give an empty folder")
    _write(folder, pairs, out, layout)
    return out


def _write(folder: str | Path, pairs: Sequence[Triplet], out: Path, layout: str) -> None:
    rows = []
    for number, pair in enumerate(pairs, 1):
        source, target = pair.paths(Path(folder))
        name = f"{number:04d}_{target.stem}"
        places = [out / side / f"{name}{path.suffix}" for side, path in (("control", source), ("target", target))]
        for path, place in zip((source, target), places, strict=True):
            link_or_copy(path, place)
        if layout == "ai-toolkit":
            write_txt(places[1], pair.edit_prompt)
            continue
        shown = [str(p) if layout == "musubi-tuner" else p.relative_to(out).as_posix() for p in places]
        rows.append(dict(zip((names[0] for names in _COLUMNS[layout]), (*shown, pair.edit_prompt), strict=True)))
    if rows:
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        text = "[\n" + ",\n".join(lines) + "\n]\n" if layout == "diffsynth" else "\n".join(lines) + "\n"
        write_atomic(out / _FILES[layout], text.encode())


def refresh(folder: str | Path, pairs: Sequence[Triplet], out: str | Path, layout: str) -> Path:
    """Make ``out`` hold these pairs as `export` writes them, and return it; one that holds them stays as it is.

    Otherwise what `export` wrote there is replaced, and other files, such as a trainer's cache, are left alone.
    """
    out = Path(out).absolute()
    if not out.is_dir() or not any(out.iterdir()):
        return export(folder, pairs, out, layout)
    wanted = sorted((p.edit_prompt, p.source_sha256, p.target_sha256) for p in pairs)
    try:
        if sorted((p.edit_prompt, p.source_sha256, p.target_sha256) for p in read(out)) == wanted:
            return out
    except (ValueError, FileNotFoundError):
        pass  # of pictures that are gone, or damaged: it is written anew
    for side in ("control", "target"):
        shutil.rmtree(out / side, ignore_errors=True)
    if layout in _FILES:
        (out / _FILES[layout]).unlink(missing_ok=True)
    _write(folder, pairs, out, layout)
    return out


def read(given: str | Path | Mapping[str, str]) -> list[Triplet]:
    """Return the pairs of a folder in any of the layouts, or of a folder with a triplets.json, with absolute paths.

    ``given`` may also be ``{"control": folder, "target": folder}``, as ai-toolkit names them, wherever they lie. A
    relative path begins at the project's base. Of a triplets.json everything is kept. Of several control pictures the
    first is taken. Raises FileNotFoundError or ValueError naming the file and row.
    """
    if isinstance(given, Mapping):
        found = _read_folders(*(from_base(given[side]).absolute() for side in ("control", "target")))
    else:
        folder = from_base(given).absolute()
        if (folder / triplets.FILE).is_file():
            return [_whole(pair, folder) for pair in triplets.read(folder)]
        if not folder.is_dir():
            raise FileNotFoundError(f"folder of pairs {folder} does not exist")
        rows = _rows_of(folder)
        found = _read_rows(folder, *rows) if rows else _read_folders(folder / "control", folder / "target")
    return [
        Triplet(str(s), prompt, str(t), by="import", source_sha256=sha256(s), target_sha256=sha256(t))
        for s, t, prompt in found
    ]


def _whole(pair: Triplet, folder: Path) -> Triplet:
    """Return a triplet of another triplets.json with absolute paths, and hashes where it had none."""
    places = dict(zip(("source", "target"), pair.paths(folder), strict=True))
    for name, path in places.items():
        if not os.path.isfile(path):
            raise FileNotFoundError(f"{folder / triplets.FILE} names the {name} {path}, which does not exist")
    before = str((folder / pair.before_image).resolve()) if pair.before_image else ""
    return replace(
        pair, source_image=str(places["source"]), target_image=str(places["target"]), before_image=before,
        source_sha256=pair.source_sha256 or sha256(places["source"]),
        target_sha256=pair.target_sha256 or sha256(places["target"]),
    )  # fmt: skip


def _rows_of(folder: Path) -> tuple[str, list[tuple[str, dict[str, Any]]]] | None:
    """Return the layout and the rows of a folder's .jsonl, .json or .csv of pairs; None where control/ and target/ are.

    A file whose rows have both source and target comes before one that has either.
    """
    either, faults = None, []
    files = (p for p in folder.iterdir() if p.suffix.lower() in (".jsonl", ".json", ".csv") and p.name[0] != ".")
    for path in sorted(files):
        try:
            rows = _rows(path)
        except ValueError as fault:  # it may be no list of pairs at all
            faults.append(fault)
            continue
        for layout, (sources, targets, _) in _COLUMNS.items():
            both = [bool(rows[0][1].keys() & set(names)) for names in (sources, targets)]
            if all(both):
                return layout, rows
            if any(both):
                either = either or (layout, rows)
    if either is None and not ((folder / "control").is_dir() and (folder / "target").is_dir()):
        if faults:
            raise faults[0]
        raise ValueError(
            f"{folder} holds pairs in no known layout: want control/ and target/ (ai-toolkit; folders of other names "
            "are given as {control: ..., target: ...}), or rows in a .jsonl, .json or .csv with image_path and "
            "control_path (musubi-tuner), image and edit_image (diffsynth), or source_file_name and target_file_name "
            "(imagefolder)"
        )
    return either


def _read_folders(control: Path, target: Path) -> list[tuple[Path, Path, str]]:
    for folder in (control, target):
        if not folder.is_dir():
            raise FileNotFoundError(f"folder of pairs {folder} does not exist")
    controls = {p.stem: p for p in sorted(control.iterdir()) if p.suffix.lower() in EXTENSIONS}
    found = []
    for path in sorted(p for p in target.iterdir() if p.suffix.lower() in EXTENSIONS):
        prompt = read_txt(path)
        if path.stem not in controls:
            raise ValueError(f"{path} has no picture of the same name in {control}")
        if not prompt:
            raise ValueError(f"{path} has no instruction; write it into {path.with_suffix('.txt').name} beside it")
        found.append((controls[path.stem], path, prompt))
    if not found:
        raise ValueError(f"{target} holds no pictures")
    return found


def _read_rows(folder: Path, layout: str, rows: list[tuple[str, dict[str, Any]]]) -> list[tuple[Path, Path, str]]:
    found = []
    for where, row in rows:
        names = [next((n for n in known if row.get(n)), "") for known in _COLUMNS[layout]]
        lacking = [known[0] for known, name in zip(_COLUMNS[layout], names, strict=True) if not name]
        if lacking:
            raise ValueError(f"{where} has no {' and no '.join(lacking)}")
        first = [row[n][0] if isinstance(row[n], list) else row[n] for n in names[:2]]
        for name, value in zip(names, (*first, row[names[2]]), strict=True):
            if not isinstance(value, str):
                raise ValueError(f"{where}: {name} is {row[name]!r}; it must be text")
        source, target = (folder / path for path in first)
        for path in (source, target):
            if not os.path.isfile(path):  # which a name too long for the system is not either
                raise FileNotFoundError(f"{where} names {str(path)!r}, which does not exist")
        found.append((source, target, row[names[2]]))
    return found


def _rows(file: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return the rows of a file, each with where it is. Raises ValueError naming the file for one that holds none."""
    try:
        text = file.read_text(encoding="utf-8-sig")
        lines = [line for line in text.splitlines() if line.strip()]
        if file.suffix.lower() == ".csv":
            items = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
        else:
            items = json.loads(text) if file.suffix.lower() == ".json" else [json.loads(line) for line in lines]
    except (ValueError, RecursionError, csv.Error) as error:
        raise ValueError(f"{file} is not valid {file.suffix[1:].upper()}: {error}") from None
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        raise ValueError(f"{file} holds no rows of pairs")
    found = [(f"{file}, row {number}", item) for number, item in enumerate(items, 1)]
    torn = next((where for where, item in found if None in item), None)
    if torn:
        raise ValueError(f"{torn} has more values than there are columns; put an instruction with commas in quotes")
    return found
