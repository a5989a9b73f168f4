"""Hair as a second shell over the skull, with what hangs from it: curtains, a bun, a ponytail."""

from __future__ import annotations

import numpy as np

from flenlib.mini.head import skull, turns
from flenlib.mini.people import Person
from flenlib.mini.surfaces import Array, Part, angles, as_part, capsule, ellipsoid, rings, smooth

_TURN = (0.0, 0.5, 0.85, 1.1, 1.35, 1.6, 1.8, 2.1, np.pi)
"""Angles from the front at which the hairline's height is given: forehead, temple, sideburn, ear, nape."""


def hair(p: Person, detail: float) -> list[Part]:
    """Return the parts of a person's hair, none for a bald one; ``detail`` is points per head unit."""
    if p.hair == "bald":
        return []
    parts = [_cap(p, detail)]
    color = np.array(p.hair_color)
    if p.hair in ("bob", "long", "fringe"):
        parts.append(_curtain(p, detail))
    if p.hair == "bun":
        parts.append(ellipsoid((0.0, 1.14, -0.30), (0.34, 0.28, 0.32), color * 0.9, detail))
    if p.hair == "ponytail":
        parts.append(capsule((0.0, 0.42, -1.02), (0.0, -0.95, -1.22), 0.20, 0.13, color * 0.9, detail))
    return parts


def _volume(p: Person) -> float:
    fixed = {"buzzed": 0.025, "afro": 0.26 + p.hair_volume, "bun": 0.06, "ponytail": 0.07}
    return fixed.get(p.hair, 0.05 + p.hair_volume)


def _hairline(p: Person, a: Array) -> Array:
    """Return the height of the hair's edge at each angle, (columns,)."""
    top = p.hairline
    if p.hair == "fringe":
        top = p.eye_y + p.brow_y + 0.10
    burns = {"short": -0.12, "parted": -0.12, "buzzed": 0.0, "bun": 0.12, "ponytail": 0.12, "afro": -0.15}
    burn = burns.get(p.hair, -0.3)
    heights = (top, top - 0.02, top - 0.14, 0.22, burn, burn + 0.02, -0.3, -0.62, -0.70)
    line = np.interp(np.abs(a), _TURN, heights)
    if p.hair in ("parted", "long", "bob"):
        # The parting: hair sweeps lower over one side of the forehead and leaves the other open.
        sweep = 0.20 if p.hair == "parted" else 0.14
        line = line - sweep * p.part * np.sin(np.clip(a, -1, 1) * np.pi / 2) * smooth(1.2, 0.7, np.abs(a))
    kernel = np.hanning(len(a) // 14)
    return np.convolve(np.pad(line, len(kernel), "wrap"), kernel / kernel.sum(), "same")[len(kernel) : -len(kernel)]


def _cap(p: Person, detail: float) -> Part:
    thick = _volume(p)
    dense = detail * (1 + 1.6 * thick)
    inner, outer = skull(p, dense), skull(p, dense, grow=thick)
    a = turns(dense)
    above = inner[..., 1] - _hairline(p, a).astype(np.float32)
    lift = smooth(-0.02, 0.10 + thick, above)
    if p.hair == "afro":
        lift = smooth(-0.06, 0.16, above)
    grid = inner + (outer - inner) * (0.25 + 0.75 * lift)[..., None]
    grown = above > 0
    rows = slice(np.argmax(grown.any(1)), None)
    part = as_part(grid[rows], _strands(p, a, grid[rows]), gloss=0.16, two_sided=p.hair == "afro")
    return part.where(grown[rows].reshape(-1))


def _curtain(p: Person, detail: float) -> Part:
    """Hair that hangs round the sides and back of the head, open at the face."""
    thick, w = 0.04 + 0.6 * p.hair_volume, p.face_width
    low = {"bob": -0.85, "fringe": -1.15, "long": -2.05}[p.hair]
    profile = [
        (low, w + 0.20 + thick, 0.86, -0.16), (low + 0.25, w + 0.22 + thick, 0.88, -0.16),
        (-0.4, w + 0.12 + thick, 0.88, -0.14),
        (0.1, w + 0.02 + thick, 0.86, -0.08), (0.5, w * 0.92, 0.78, -0.06),
    ]  # fmt: skip
    grid = rings(np.array(profile), int(1.7 * (0.5 - low) * detail), int(7.2 * detail))
    a = angles(grid.shape[1])
    opening = 1.02 + 0.10 * smooth(0.3, -0.6, grid[..., 1]) + 0.35 * smooth(0.1, 0.6, grid[..., 1])
    part = as_part(grid, _strands(p, a, grid), gloss=0.12, two_sided=True)
    return part.where((np.abs(a)[None] > opening).reshape(-1))


def _strands(p: Person, a: Array, grid: Array) -> Array:
    """Return hair colours (rows, columns, 3): soft locks running down, darker towards the neck."""
    if p.hair == "afro":
        tone = 1 + 0.16 * np.sin(9 * a)[None] * np.sin(11 * grid[..., 1])
    else:
        tone = 1 + 0.13 * np.sin(11 * a + 1.5 * p.part)[None] * smooth(1.05, 0.5, grid[..., 1])
    tone = tone * (0.72 + 0.28 * smooth(-1.0, 0.4, grid[..., 1]))
    return np.array(p.hair_color, np.float32) * tone[..., None].astype(np.float32)
