"""Pairs for editors in the layouts of other trainers: written from triplets, and read into them.

``ai-toolkit`` (``target/`` with .txt captions, ``control/`` by the same names), ``musubi-tuner`` (``dataset.jsonl``:
image_path, control_path, caption), ``diffsynth`` (``metadata.json``: image, edit_image, prompt) and ``imagefolder``
(``metadata.jsonl`` of Hugging Face datasets: source_file_name, target_file_name, prompt).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flenlib.dataset import triplets
from flenlib.dataset.captions import read_txt, write_txt
from flenlib.dataset.files import link_or_copy, write_atomic
from flenlib.dataset.images import sha256
from flenlib.dataset.imports import EXTENSIONS
from flenlib.dataset.triplets import Triplet

LAYOUTS = ("ai-toolkit", "musubi-tuner", "diffsynth", "imagefolder")
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
    return out


def read(folder: str | Path) -> list[Triplet]:
    """Return the pairs of a folder in any of the layouts, or of a folder with a triplets.json, with absolute paths.

    Of several control pictures the first is taken. Raises FileNotFoundError or ValueError naming the file and row.
    """
    folder = Path(folder).absolute()
    if (folder / triplets.FILE).is_file():
        known = triplets.read(folder)
        places = [pair.paths(folder) for pair in known]
        found = [(s, t, pair.edit_prompt) for (s, t), pair in zip(places, known, strict=True)]
    else:
        layout = _layout_of(folder)
        found = _read_folders(folder) if layout == "ai-toolkit" else _read_rows(folder, layout)
    return [
        Triplet(str(s), prompt, str(t), by="import", source_sha256=sha256(s), target_sha256=sha256(t))
        for s, t, prompt in found
    ]


def _layout_of(folder: Path) -> str:
    if not folder.is_dir():
        raise FileNotFoundError(f"folder of pairs {folder} does not exist")
    if (folder / "control").is_dir() and (folder / "target").is_dir() and not list(folder.glob("*.json*")):
        return "ai-toolkit"
    if (folder / "metadata.json").is_file():
        return "diffsynth"
    for path in sorted(folder.glob("*.jsonl")):
        columns = set(_rows(path)[0][1])
        for layout in ("musubi-tuner", "imagefolder"):
            if columns & set(_COLUMNS[layout][1]):
                return layout
    raise ValueError(
        f"{folder} holds pairs in no known layout: want control/ and target/ (ai-toolkit), a .jsonl with image_path "
        "and control_path (musubi-tuner), metadata.json with image and edit_image (diffsynth), or metadata.jsonl with "
        "source_file_name and target_file_name (imagefolder)"
    )


def _read_folders(folder: Path) -> list[tuple[Path, Path, str]]:
    controls = {p.stem: p for p in sorted((folder / "control").iterdir()) if p.suffix.lower() in EXTENSIONS}
    found = []
    for target in sorted(p for p in (folder / "target").iterdir() if p.suffix.lower() in EXTENSIONS):
        prompt = read_txt(target)
        if target.stem not in controls:
            raise ValueError(f"{target} has no picture of the same name in {folder / 'control'}")
        if not prompt:
            raise ValueError(f"{target} has no instruction; write it into {target.with_suffix('.txt').name} beside it")
        found.append((controls[target.stem], target, prompt))
    return found


def _read_rows(folder: Path, layout: str) -> list[tuple[Path, Path, str]]:
    file = folder / _FILES[layout]
    if layout == "musubi-tuner":
        file = file if file.is_file() else sorted(folder.glob("*.jsonl"))[0]
    found = []
    for where, row in _rows(file):
        values = [next((row[n] for n in names if row.get(n)), None) for names in _COLUMNS[layout]]
        lacking = [names[0] for names, value in zip(_COLUMNS[layout], values, strict=True) if not value]
        if lacking:
            raise ValueError(f"{where} has no {' and no '.join(lacking)}")
        first = [v[0] if isinstance(v, list) else v for v in values[:2]]
        source, target = (folder / path for path in first)
        for path in (source, target):
            if not path.is_file():
                raise FileNotFoundError(f"{where} names {path}, which does not exist")
        found.append((source, target, str(values[2])))
    return found


def _rows(file: Path) -> list[tuple[str, dict[str, Any]]]:
    try:
        text = file.read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if line.strip()]
        items = json.loads(text) if file.suffix == ".json" else [json.loads(line) for line in lines]
    except ValueError as error:
        raise ValueError(f"{file} is not valid JSON: {error}") from None
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        raise ValueError(f"{file} holds no rows of pairs")
    return [(f"{file}, row {number}", item) for number, item in enumerate(items, 1)]
