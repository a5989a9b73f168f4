"""A person's head: the skull with its features raised and painted on it, ears, glasses, and an expression.

Points of the face are addressed by where they lie from the front: X to the picture's right, Y up, in head units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flenlib.mini.people import Person
from flenlib.mini.surfaces import Array, Part, angles, as_part, bump, ellipsoid, paint, smooth


@dataclass(frozen=True)
class Expression:
    """How far an expression moves the mouth, brows and eyes, in head units."""

    corners: float = 0.0
    teeth: float = 0.0
    mouth: float = 1.0
    inner_brow: float = 0.0
    brow: float = 0.0
    eyes: float = 1.0
    cheeks: float = 0.0


FACES = {
    "neutral": Expression(corners=0.015),
    "smiling": Expression(corners=0.15, teeth=0.10, mouth=1.28, brow=0.03, eyes=0.82, cheeks=0.06),
    "angry": Expression(corners=-0.06, teeth=0.045, mouth=1.05, inner_brow=-0.14, brow=-0.03, eyes=0.72),
    "sad": Expression(corners=-0.14, mouth=1.0, inner_brow=0.14, brow=0.02, eyes=0.70),
}

_Y = np.array([-1.0, -0.85, -0.65, -0.4, -0.1, 0.2, 0.5, 0.8, 1.0])
_BACK = np.array([0.0, 0.0, -0.25, -0.55, -0.80, -0.93, -0.95, -0.90, -0.85])


def turns(detail: float) -> Array:
    """Return the angles of the skull's columns, closer together at the face than at the back."""
    a = angles(int(8.5 * detail))
    return a - 0.25 * np.sin(a)


def skull(p: Person, detail: float, grow: float = 0.0, rows: int | None = None) -> Array:
    """Return the bare skull as a grid (rows, columns, 3), blown up by ``grow``; ``detail`` is points per head unit."""
    rows = rows or int(4.1 * detail)
    lat = np.linspace(-np.pi / 2 + 0.03, np.pi / 2 - 0.02, rows)
    y = np.sin(lat)
    cap = np.sqrt(1 - np.abs(y) ** 3)
    w, j, c = p.face_width, p.jaw, p.chin
    shares = [c, c * 1.08, 0.35 * c + 0.65 * j, 0.25 + 0.72 * j, 1.0, 1.03, 1.03, 1.0, 0.95]
    width = np.interp(y, _Y, w * np.array(shares))
    front = np.interp(y, _Y, [0.72, 0.74 + p.chin_out, 0.75, 0.76, 0.77, 0.82, 0.84, 0.84, 0.85])
    back = np.interp(y, _Y, _BACK)
    kernel = np.hanning(2 * (rows // 9) + 3)
    kernel /= kernel.sum()
    pad = len(kernel) // 2
    width, front, back = (np.convolve(np.pad(v, pad, "edge"), kernel, "valid") for v in (width, front, back))
    middle = (front + back) / 2
    a = turns(detail)
    s, k = np.sin(a), np.cos(a)
    grid = np.empty((rows, len(a), 3), np.float32)
    grid[..., 0] = (width * cap + grow * np.sqrt(1 - y**2))[:, None] * (np.sign(s) * np.abs(s) ** 0.92)
    grid[..., 1] = (y * (1 + grow))[:, None]
    grid[..., 2] = middle[:, None] + ((front - middle) * cap + grow * np.sqrt(1 - y**2))[:, None] * k
    return grid


def head(p: Person, expression: str, detail: float) -> list[Part]:
    """Return the head's skin, ears and glasses with an expression, without hair; ``detail`` is points per head unit."""
    face = FACES[expression]
    grid = skull(p, detail)
    colors = np.broadcast_to(np.array(p.skin, np.float32), grid.shape).copy()
    a = turns(detail)
    front = np.nonzero(np.abs(a) < 1.5)[0]
    columns = slice(front[0], front[-1] + 1)
    painted = slice(0, np.searchsorted(grid[:, 0, 1], p.eye_y + p.brow_y + 0.32))
    x, y = grid[:, columns, 0], grid[:, columns, 1]
    turn = np.cos(a[columns])[None]
    grid[:, columns, 2] += relief(p, face, x, y) * smooth(0.0, 0.5, turn)
    _paint_face(colors[painted, columns], p, face, x[painted], y[painted])
    parts = [as_part(grid, colors, gloss=0.10)]
    for side in (-1, 1):
        ear = (side * p.face_width * 1.03, -0.08 + p.eye_y, -0.08)
        parts.append(ellipsoid(ear, (0.07, 0.2 * p.ear, 0.12 * p.ear), np.array(p.skin) * (0.92, 0.84, 0.82), detail))
    if p.glasses:
        parts += _glasses(p, detail)
    return parts


def relief(p: Person, face: Expression, x: Array, y: Array) -> Array:
    """Return how far the features stand out of the skull at points (x, y) of the face."""
    ax = np.abs(x)
    brow = p.eye_y + p.brow_y
    down = np.clip((brow - 0.06 - y) / (brow - 0.06 - p.nose_y), 0, 1)  # 0 at the root of the nose, 1 at its tip
    below = smooth(p.nose_y - 0.10, p.nose_y + 0.02, y)
    along = p.bridge * 0.16 * smooth(0, 0.3, down) + (p.nose_out - 0.16 * p.bridge) * down**1.4
    z = along * below * bump(x, 0.075 + (p.nose_width * 0.85 - 0.045) * down**2)
    z += 0.07 * bump(ax - p.nose_width * 0.85, 0.06) * bump(y - p.nose_y - 0.03, 0.08)
    z -= 0.10 * bump(ax - p.eye_x, 0.18) * bump(y - p.eye_y - 0.03, 0.13)
    z += p.brow_ridge * bump(y - brow, 0.10) * bump(ax - 0.25, 0.28)
    z += (p.cheek + face.cheeks) * bump(ax - 0.40, 0.20) * bump(y + 0.26, 0.20)
    z += 0.8 * p.lip * bump(x, 0.8 * p.mouth_width) * bump(y - p.mouth_y, 1.5 * p.lip + 0.03)
    z += (0.05 + p.chin_out) * bump(x, 0.20) * bump(y + 0.88, 0.14)
    return z


def _paint_face(colors: Array, p: Person, face: Expression, x: Array, y: Array) -> None:
    ax = np.abs(x)
    skin = np.array(p.skin, np.float32)
    blush = skin * np.array([1.0, 0.78, 0.76], np.float32)
    shade = skin * np.array([0.62, 0.52, 0.50], np.float32)
    paint(colors, 0.55 * bump(ax - 0.42, 0.18) * bump(y + 0.30, 0.16), blush)
    paint(colors, 0.75 * bump(ax - p.eye_x, 0.19) * bump(y - p.eye_y - 0.05, 0.11), shade)
    beside_nose = bump(ax - 0.075 - 0.6 * p.nose_width * smooth(0.1, -0.3, y), 0.05)
    beside_nose *= smooth(p.nose_y - 0.05, p.nose_y + 0.05, y) * smooth(p.eye_y + 0.12, p.eye_y - 0.05, y)
    paint(colors, 0.55 * beside_nose, shade)
    paint(colors, 0.8 * bump(x, p.nose_width + 0.02) * bump(y - p.nose_y + 0.055, 0.045), shade * 0.75)
    paint(colors, 0.9 * bump(ax - 0.6 * p.nose_width, 0.045) * bump(y - p.nose_y + 0.035, 0.035), shade * 0.35)
    _paint_age(colors, p, shade, ax, y)
    _paint_beard(colors, p, x, y)
    _paint_mouth(colors, p, face, x, y)
    for side in (-1, 1):
        _paint_eye(colors, p, face, side, x, y)
        _paint_brow(colors, p, face, side, x, y)


def _paint_age(colors: Array, p: Person, shade: Array, ax: Array, y: Array) -> None:
    age = max(0.0, p.age - 0.4) / 0.6
    fold = p.nose_width + 0.06 + 0.6 * (p.nose_y + 0.02 - y)
    heights = smooth(p.mouth_y - 0.08, p.mouth_y + 0.05, y) * smooth(p.nose_y + 0.08, p.nose_y, y)
    paint(colors, 0.75 * age * bump(ax - fold, 0.04) * heights, shade)
    paint(colors, 0.65 * age * bump(ax - p.eye_x, 0.13) * bump(y - p.eye_y + 0.15, 0.035), shade)


def _paint_eye(colors: Array, p: Person, face: Expression, side: int, x: Array, y: Array) -> None:
    u = (side * x - p.eye_x) / p.eye_width  # -1 at the inner corner, 1 at the outer
    v = y - p.eye_y - p.eye_tilt * 0.3 * p.eye_width * u
    arc = np.clip(1 - u * u, 0, 1)
    upper, lower = p.eye_height * 1.1 * face.eyes * arc, -p.eye_height * 0.75 * arc
    inside = smooth(-0.012, 0.012, upper - v) * smooth(-0.012, 0.012, v - lower) * smooth(1.05, 0.9, np.abs(u))
    paint(colors, inside, (0.93, 0.92, 0.90))
    distance = np.hypot(side * x - p.eye_x, (v - 0.1 * p.eye_height))
    paint(colors, inside * smooth(0.10, 0.08, distance), p.eye_color)
    paint(colors, inside * smooth(0.055, 0.04, distance), (0.02, 0.02, 0.02))
    lash = bump(v - upper - 0.008, 0.026 if p.woman else 0.021) * smooth(1.22, 0.9, np.abs(u))
    paint(colors, 0.95 * lash, (0.07, 0.05, 0.05))
    paint(colors, 0.45 * bump(v - lower + 0.008, 0.018) * smooth(1.1, 0.8, np.abs(u)), (0.25, 0.14, 0.12))


def _paint_brow(colors: Array, p: Person, face: Expression, side: int, x: Array, y: Array) -> None:
    u = (side * x - p.eye_x - 0.02) / (p.eye_width * 1.35)
    center = p.eye_y + p.brow_y + face.brow + p.brow_tilt * 0.16 * u + p.brow_arch * (0.5 - u * u)
    center = center + face.inner_brow * smooth(0.6, -1.0, u)
    thick = p.brow_thickness * (1.0 - 0.35 * smooth(0, 1, u))
    mask = smooth(thick + 0.02, thick - 0.012, np.abs(y - center)) * smooth(1.12, 0.85, np.abs(u))
    color = np.array(p.hair_color if p.hair != "bald" else (0.2, 0.13, 0.09)) * 0.6
    paint(colors, 0.92 * mask, np.minimum(color, 0.45 * np.array(p.skin)))


def _paint_mouth(colors: Array, p: Person, face: Expression, x: Array, y: Array) -> None:
    half = p.mouth_width * face.mouth
    u = x / half
    arc = np.clip(1 - u * u, 0, 1)
    line = p.mouth_y + face.corners * (u * u - 0.35)
    top, bottom = line + 0.45 * face.teeth * arc, line - face.teeth * arc
    within = smooth(1.04, 0.92, np.abs(u))
    upper = top + p.lip * 0.95 * arc**0.8 * (1 - 0.22 * bump(x, 0.06)) + 0.012
    lower = bottom - p.lip * 1.2 * arc**0.8 - 0.012
    lips = within * smooth(0.018, -0.018, y - upper) * smooth(-0.018, 0.018, y - lower)
    paint(colors, lips, p.lip_color)
    dark = np.array(p.lip_color, np.float32) * 0.28
    paint(colors, 0.95 * within * smooth(0.03, 0.012, np.abs(y - (top + bottom) / 2) - (top - bottom) / 2), dark)
    if face.teeth:
        paint(colors, within * smooth(0.012, -0.006, y - top) * smooth(-0.004, 0.014, y - bottom), (0.95, 0.94, 0.90))
    paint(colors, 0.5 * bump(x, 0.14) * bump(y - lower + 0.05, 0.035), np.array(p.skin) * (0.62, 0.52, 0.5))


def _paint_beard(colors: Array, p: Person, x: Array, y: Array) -> None:
    if p.beard == "none":
        return
    ax = np.abs(x)
    hair = np.minimum(np.array(p.hair_color), 0.75) * 0.8
    lip_top, lip_low = p.mouth_y + p.lip + 0.02, p.mouth_y - 1.2 * p.lip - 0.02
    moustache = smooth(p.mouth_width + 0.10, p.mouth_width, ax) * smooth(p.nose_y - 0.03, p.nose_y - 0.07, y)
    moustache *= smooth(lip_top - 0.06, lip_top - 0.03, y)
    goatee = smooth(0.30, 0.22, ax) * smooth(lip_low + 0.06, lip_low, y)
    sides = smooth(-0.08, 0.10, (ax - 0.33) * 1.1 - (y + 0.42)) * smooth(0.0, -0.1, y + 0.05)
    jaw = np.maximum(sides, smooth(lip_low + 0.04, lip_low - 0.04, y))
    corner = smooth(0.12, 0.05, np.abs(ax - p.mouth_width - 0.07)) * smooth(p.nose_y - 0.06, p.nose_y - 0.12, y)
    full = np.maximum(np.maximum(jaw, moustache), corner)
    goatee = np.maximum(goatee, moustache)
    masks = {"stubble": 0.42 * full, "moustache": moustache, "goatee": goatee, "full": full}
    paint(colors, 0.93 * masks[p.beard], hair)


def _glasses(p: Person, detail: float) -> list[Part]:
    t = np.linspace(np.pi, -np.pi, int(4 * detail), endpoint=False, dtype=np.float32)
    a = angles(16)
    rim = 0.034
    parts = []
    for side in (-1, 1):
        radius = np.array([min(0.25, p.eye_x - 0.045), 0.19]) + rim * np.cos(a)[:, None]
        grid = np.empty((len(t), len(a), 3), np.float32)
        grid[..., 0] = side * p.eye_x + radius[:, 0] * np.cos(t)[:, None]
        grid[..., 1] = p.eye_y - 0.01 + radius[:, 1] * np.sin(t)[:, None]
        grid[..., 2] = 0.86 - 0.22 * np.square(np.maximum(0, side * grid[..., 0] - 0.2)) * 4 + rim * np.sin(a)
        parts.append(as_part(grid, (0.06, 0.06, 0.07), gloss=0.3))
    return parts
