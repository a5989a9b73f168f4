"""Triplets (source, instruction, corrected picture): what an editor learns from. Kept in one ``triplets.json``.

The file is the process document's schema grown by who made the target, what it replaces, and its lineage. Paths in it
are relative to its folder. Knows nothing of models or reviews.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from flenlib.dataset.files import write_atomic
from flenlib.dataset.images import open_image, pixel_hash, sha256

FILE = "triplets.json"
MINIMUM = 10
"""The fewest corrections of step 2.1 (process document), those held out among them."""

SHAPE = 0.05
"""How far width over height of a target may differ from its source's: editors round sides to multiples of 32."""


@dataclass(frozen=True)
class Triplet:
    """One pair to learn from: edit ``source_image`` by ``edit_prompt`` and ``target_image`` should come out."""

    source_image: str
    edit_prompt: str
    target_image: str
    issue: str = ""  # what was wrong with the picture that was sent back
    improvement: str = ""  # how the target was made right
    before_image: str = ""  # the picture that was sent back; none for a positive pair
    kind: str = ""  # of edit: background, lighting, style, camera
    value: str = ""  # what was asked for: forest, sunset
    asked: dict[str, str] = field(default_factory=dict)  # what the target shows: {"angle": "half-left"}
    positive: bool = False  # the editor's own good edit, so that it keeps what it can do
    by: str = ""  # who made the target: person, renderer, tries, editor, import
    iteration: str = ""
    held_out: bool = False  # never trained on: checkpoints are scored with it
    depth: int = 1  # generations between a real picture and the target
    source_sha256: str = ""
    target_sha256: str = ""
    measurements: dict[str, float | str] = field(default_factory=dict)

    def paths(self, folder: Path) -> tuple[Path, Path]:
        """Return where source and target are, for a triplets file in ``folder``."""
        return (folder / self.source_image).resolve(), (folder / self.target_image).resolve()


_KNOWN = {item.name: str(item.type) for item in fields(Triplet)}
_TYPES = {"str": str, "bool": bool, "int": int, "dict[str, float | str]": dict, "dict[str, str]": dict}


def read(folder: str | Path) -> list[Triplet]:
    """Return the triplets of a folder. Raises FileNotFoundError, or ValueError naming file, entry and key."""
    path = Path(folder) / FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; run step 2.1 (notebook 21) first")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged or cut short ({error}); restore it or run step 2.1 again") from None
    items = content.get("triplets") if isinstance(content, dict) else content
    if not isinstance(items, list):
        raise ValueError(f"{path} holds no list of triplets; each needs source_image, edit_prompt and target_image")
    return [_parse(item, f"{path}, triplet {number}") for number, item in enumerate(items, 1)]


def write(folder: str | Path, triplets: Sequence[Triplet]) -> Path:
    """Write the triplets of a folder in one step and return the file."""
    path = Path(folder) / FILE
    content = {"dataset_version": path.parent.name, "triplets": [asdict(t) for t in triplets]}
    write_atomic(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
    return path


def keys(folder: str | Path, triplets: Sequence[Triplet]) -> list[tuple[str, str]]:
    """Return each triplet's key, equal for the same correction: its source's pixels, and its instruction.

    It does not depend on where a source lies or how it was saved, nor on spaces and capitals of the instruction.
    """
    hashes = {path: pixel_hash(open_image(path)) for path in {t.paths(Path(folder))[0] for t in triplets}}
    return [(hashes[t.paths(Path(folder))[0]], " ".join(t.edit_prompt.split()).casefold()) for t in triplets]


def check(folder: str | Path, triplets: Sequence[Triplet], minimum: int = MINIMUM) -> None:
    """Raise ValueError, one line a fault, naming the file: what is missing, changed, of another size, there twice.

    Also when fewer than ``minimum`` are corrections; good edits do not count.
    """
    folder, faults, whole = Path(folder), [], []
    for triplet in triplets:
        found = _faults(folder, triplet)
        faults += found
        whole += [] if found else [triplet]
    seen: dict[tuple[str, str], str] = {}
    for triplet, key in zip(whole, keys(folder, whole), strict=True):
        if key in seen:
            faults.append(
                f"{triplet.target_image} corrects {triplet.source_image} by {triplet.edit_prompt!r}, and so does "
                f"{seen[key]}: the same correction is there twice; keep one"
            )
        seen.setdefault(key, triplet.target_image)
    corrections = sum(not t.positive for t in triplets)
    if not faults and corrections < minimum:
        faults.append(
            f"{folder / FILE} holds {corrections} corrections and {minimum} are needed (good edits do not count): "
            "review more edits, correct more of what was sent back, import pairs, or set corrections.minimum lower"
        )
    if faults:
        raise ValueError("\n".join(faults))


def hold_out(folder: str | Path, triplets: Sequence[Triplet], share: float, seed: int = 0) -> list[Triplet]:
    """Return the triplets with about ``share`` of the corrections held out, whole sources at a time.

    Where they have two sources or more, at least one correction (unless ``share`` is 0) and at most half of them are
    held out. Good edits of a held-out source are left out: they would teach the picture that is measured on, and as
    the editor's own pictures they would judge in its favour. The order of sources depends on ``seed`` and their pixels
    alone, so a held-out source stays held out when others come.
    """
    groups: dict[str, int] = {}
    sources = [source for source, _ in keys(folder, triplets)]
    for triplet, source in zip(triplets, sources, strict=True):
        if not triplet.positive:
            groups[source] = groups.get(source, 0) + 1
    count, held = sum(groups.values()), set()
    order = sorted(groups, key=lambda source: hashlib.sha256(f"{seed}/{source}".encode()).digest())
    left = min(max(1, round(share * count)), count // 2) if share else 0
    for source in order:
        if groups[source] <= left:
            held.add(source)
            left -= groups[source]
    if share and not held and order:  # every source has more corrections than are wanted
        smallest = min(order, key=groups.__getitem__)
        held |= {smallest} if groups[smallest] <= count // 2 else set()
    marked = zip(triplets, sources, strict=True)
    return [replace(t, held_out=source in held) for t, source in marked if not (t.positive and source in held)]


def hashed(folder: str | Path, triplet: Triplet) -> Triplet:
    """Return a triplet with the hashes of its two files."""
    source, target = triplet.paths(Path(folder))
    return replace(triplet, source_sha256=sha256(source), target_sha256=sha256(target))


def merge(older: Sequence[Triplet], newer: Sequence[Triplet], folder: Path, old_folder: Path) -> list[Triplet]:
    """Return the triplets of an earlier iteration that none of the newer replaces, then the newer ones.

    A newer correction of the same source by the same instruction replaces an older one. A good edit replaces none: it
    is the editor's own picture, and is left out where there is a correction of it. Older paths are rewritten relative
    to ``folder``; what is no longer on disk is left out.
    """
    there = [t for t in older if all(path.is_file() for path in t.paths(old_folder))]
    found = list(zip(newer, keys(folder, newer), strict=True))
    corrected, taken = {key for triplet, key in found if not triplet.positive}, {key for _, key in found}
    kept = {
        key: moved(triplet, old_folder, folder)
        for triplet, key in zip(there, keys(old_folder, there), strict=True)
        if key not in taken or (key not in corrected and not triplet.positive)
    }
    return [*kept.values(), *(triplet for triplet, key in found if key not in kept)]


def moved(triplet: Triplet, old_folder: Path, folder: Path) -> Triplet:
    """Return a triplet of one folder as the file of another writes it."""

    def anew(name: str) -> str:
        return relative(old_folder / name, folder) if name else ""

    source, target, before = map(anew, (triplet.source_image, triplet.target_image, triplet.before_image))
    return replace(triplet, source_image=source, target_image=target, before_image=before)


def relative(path: Path, folder: Path) -> str:
    """Return a path as the triplets file writes it: relative to its folder, with forward slashes."""
    return Path(os.path.relpath(Path(path).resolve(), folder.resolve())).as_posix()


def _faults(folder: Path, triplet: Triplet) -> list[str]:
    source, target = triplet.paths(folder)
    if not triplet.edit_prompt.strip():
        return [f"the triplet of {target} has no edit_prompt; write what was asked for"]
    missing = [
        f"{name} {path} does not exist{more}"
        for name, path, more in (
            ("source", source, f", and {triplet.target_image} was made from it: restore it or remove the triplet"),
            ("target", target, f", and is to correct {triplet.source_image}: restore it or remove the triplet"),
        )
        if not path.is_file()
    ]
    if missing:
        return missing
    before = (folder / triplet.before_image).resolve() if triplet.before_image else source
    try:
        (a, b), (c, d) = (open_image(path).size for path in (before if before.is_file() else source, target))
    except (ValueError, PermissionError) as error:
        return [str(error)]
    exact = before.is_file() and before != source
    if (a, b) != (c, d) if exact else abs(a * d / (b * c) - 1) > SHAPE:
        than = f"{before.name}, which it replaces," if exact else f"its source {source.name}"
        return [f"target {target} is {c} x {d} pixels and {than} {a} x {b}; save it at that size, not cropped"]
    for path, known in ((source, triplet.source_sha256), (target, triplet.target_sha256)):
        if known and sha256(path) != known:
            return [f"{path} has changed since step 2.1 looked at it; run step 2.1 again"]
    return []


def _parse(item: Any, where: str) -> Triplet:
    if not isinstance(item, dict):
        raise ValueError(f"{where} is {item!r}; it must be an object")
    for key in ("source_image", "edit_prompt", "target_image"):
        if not isinstance(item.get(key), str) or not item[key].strip():
            raise ValueError(f"{where}: {key} is {item.get(key)!r}; it must be text")
    known = {key: value for key, value in item.items() if key in _KNOWN}
    for key, value in known.items():
        if type(value) is not _TYPES[_KNOWN[key]]:
            raise ValueError(f"{where}: {key} is {value!r}; it must be {_TYPES[_KNOWN[key]].__name__}")
    return Triplet(**known)
