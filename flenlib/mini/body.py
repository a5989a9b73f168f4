"""Bodies and clothes: shoulders for a portrait, whole figures in a T-pose, standing or sitting."""

from __future__ import annotations

import numpy as np

from flenlib.mini.people import Person
from flenlib.mini.surfaces import Array, Part, as_part, bump, capsule, ellipsoid, paint, rings, smooth

Point = tuple[float, float, float]

_SHIRT = (0.93, 0.93, 0.92)
_TROUSERS = {
    "t-shirt": (0.20, 0.26, 0.42), "jacket": (0.22, 0.22, 0.25), "dress": None,
    "suit": (0.12, 0.13, 0.20), "hoodie": (0.36, 0.36, 0.38),
}  # fmt: skip
_SHOE = (0.16, 0.11, 0.09)
_CHAIR = (0.50, 0.32, 0.18)


def body(p: Person, pose: str, outfit: str, detail: float) -> list[Part]:
    """Return the parts below the head in a pose and an outfit; ``detail`` is points per head unit."""
    parts = [_neck(p, detail), _torso(p, outfit, -2.9 if pose == "portrait" else -4.7, detail)]
    if outfit == "hoodie":
        parts.append(_hood(p, detail))
    if pose != "portrait":
        parts += _arms(p, pose, outfit, detail) + _legs(p, pose, outfit, detail)
    if pose == "sitting":
        parts += _chair(detail)
    return parts


def cloth_color(p: Person, outfit: str) -> Array:
    """Return the main colour of an outfit as the person wears it, (3,)."""
    own = np.array(p.clothes)
    fixed = {"jacket": (0.38, 0.22, 0.12), "suit": (0.13, 0.15, 0.24), "hoodie": tuple(0.45 * own + 0.28)}
    return np.array(fixed.get(outfit, own), np.float32)


def _neck(p: Person, detail: float) -> Part:
    profile = [
        (-1.6, p.neck * 0.9, 0.26, -0.12),
        (-1.35, p.neck * 0.98, p.neck * 0.94, -0.08),
        (-1.1, p.neck, p.neck * 0.95, -0.10),
        (-0.55, p.neck * 0.88, p.neck * 0.75, 0.0),
    ]
    grid = rings(np.array(profile), int(1.7 * detail), int(3.4 * detail))
    shadow = 0.60 + 0.34 * smooth(-0.95, -1.5, grid[..., 1])
    return as_part(grid, np.array(p.skin, np.float32) * shadow[..., None])


def _torso(p: Person, outfit: str, low: float, detail: float) -> Part:
    s, n = p.shoulders, p.neck
    profile = [
        (low, s * 0.80, 0.52, -0.12), (-2.6, s * 0.88, 0.56, -0.10), (-2.0, s * 1.0, 0.54, -0.12),
        (-1.72, s * 0.96, 0.48, -0.14),
        (-1.52, s * 0.76, 0.42, -0.16), (-1.38, s * 0.45 + n * 0.25, 0.38, -0.16), (-1.28, n * 1.03, n * 0.98, -0.11),
    ]  # fmt: skip
    height = -1.2 - low + 0.5 * s
    grid = rings(np.array(profile), int(1.5 * height * detail), int(11 * detail))
    if low > -3:
        grid = grid[np.searchsorted(grid[:, 0, 1], -2.05) :]  # a portrait ends above this
    return as_part(grid, _dress_torso(p, outfit, grid))


def _dress_torso(p: Person, outfit: str, grid: Array) -> Array:
    x, y, z = grid[..., 0], grid[..., 1], grid[..., 2]
    ax, front = np.abs(x), smooth(-0.1, 0.1, z)
    colors = np.broadcast_to(cloth_color(p, outfit), grid.shape).copy()
    skin = np.array(p.skin, np.float32) * 0.92
    drop = -1.36 - y  # how far below the neck
    if outfit == "t-shirt":
        paint(colors, front * smooth(0.20, 0.14, np.hypot(0.55 * ax, drop)), skin)
    if outfit == "dress":
        top = smooth(-1.86, -1.80, y) * (1 - smooth(0.09, 0.06, np.abs(ax - 0.52 * p.shoulders)))
        paint(colors, top, skin)
    if outfit in ("suit", "jacket"):
        opening = 0.42 if outfit == "suit" else 0.34
        closing = 0.45 if outfit == "suit" else 0.06
        edge = opening - closing * drop
        paint(colors, 0.45 * front * smooth(edge + 0.24, edge + 0.16, ax), 0.45 * cloth_color(p, outfit))
        paint(colors, front * smooth(edge + 0.03, edge - 0.03, ax), _SHIRT)
    if outfit == "suit":
        tie = smooth(0.13, 0.09, ax) * smooth(-0.02, 0.02, drop) * smooth(0.02, -0.02, ax - 0.39 + 0.45 * drop)
        paint(colors, front * tie, np.array(p.clothes) * 0.8)
    if outfit == "jacket":
        paint(colors, front * smooth(0.20, 0.14, np.hypot(0.55 * ax, drop)), skin)
    if outfit == "hoodie":
        paint(colors, 0.9 * front * bump(ax - 0.20, 0.05) * smooth(-2.15, -2.05, y), _SHIRT)
    colors *= (0.80 + 0.20 * smooth(0.0, 0.35, drop))[..., None]
    return colors


def _hood(p: Person, detail: float) -> Part:
    t = np.linspace(np.pi, -np.pi, int(6 * detail), endpoint=False, dtype=np.float32)
    a = np.linspace(-np.pi, np.pi, max(10, int(1.6 * detail)), endpoint=False, dtype=np.float32)
    ring, tube = p.neck + 0.22, 0.19
    grid = np.empty((len(t), len(a), 3), np.float32)
    radius = ring + tube * np.cos(a)[None]
    grid[..., 0] = radius * np.sin(t)[:, None]
    grid[..., 2] = -0.14 + 0.95 * radius * np.cos(t)[:, None]
    grid[..., 1] = -1.42 + tube * np.sin(a)[None] - 0.16 * np.cos(t)[:, None]
    return as_part(grid, cloth_color(p, "hoodie") * 0.82)


def _arms(p: Person, pose: str, outfit: str, detail: float) -> list[Part]:
    parts: list[Part] = []
    skin = np.array(p.skin)
    sleeve = cloth_color(p, outfit)
    upper = sleeve if outfit != "dress" else skin
    fore = skin if outfit in ("t-shirt", "dress") else sleeve
    for side in (-1, 1):
        shoulder, elbow, wrist = _arm(p.shoulders - 0.16, pose, side)
        parts.append(capsule(shoulder, elbow, 0.34, 0.27, upper, detail))
        parts.append(capsule(elbow, wrist, 0.26, 0.21, fore, detail))
        hand = tuple(np.array(wrist) + 0.22 * (np.array(wrist) - np.array(elbow)) / 1.6)
        parts.append(ellipsoid(hand, (0.25, 0.25, 0.22), skin, detail))
    return parts


def _arm(reach: float, pose: str, side: int) -> tuple[Point, Point, Point]:
    shoulder = (side * reach, -1.88, -0.14)
    if pose == "t-pose":
        return shoulder, (side * (reach + 1.55), -1.90, -0.14), (side * (reach + 3.0), -1.90, -0.10)
    if pose == "standing":
        return shoulder, (side * (reach + 0.30), -3.40, -0.14), (side * (reach + 0.38), -4.75, 0.10)
    return shoulder, (side * (reach + 0.25), -3.35, 0.0), (side * 0.62, -4.15, 1.35)


def _legs(p: Person, pose: str, outfit: str, detail: float) -> list[Part]:
    parts: list[Part] = []
    skin, trousers = np.array(p.skin), _TROUSERS[outfit]
    color = skin if trousers is None else np.array(trousers)
    width = 0.50 * p.shoulders * 0.8
    for side in (-1, 1):
        hip = (side * width, -5.0 if trousers is None else -4.6, -0.1)
        knee, ankle = _leg(width, pose, side)
        parts.append(capsule(hip, knee, 0.50, 0.38, color, detail))
        parts.append(capsule(knee, ankle, 0.36, 0.24, color, detail))
        parts.append(ellipsoid((ankle[0], ankle[1] - 0.18, ankle[2] + 0.22), (0.26, 0.20, 0.48), _SHOE, detail))
    seat = cloth_color(p, outfit) if trousers is None else color
    parts.append(ellipsoid((0.0, -4.65, -0.1), (0.82 * p.shoulders, 0.52, 0.55), seat, detail))
    if outfit == "dress":
        parts.append(_skirt(p, pose, detail))
    return parts


def _leg(width: float, pose: str, side: int) -> tuple[Point, Point]:
    if pose == "sitting":
        return (side * (width + 0.15), -4.55, 1.75), (side * (width + 0.15), -6.75, 1.75)
    spread = 0.22 if pose == "t-pose" else 0.08
    return (side * (width + spread), -6.7, 0.0), (side * (width + 1.5 * spread), -8.75, -0.1)


def _skirt(p: Person, pose: str, detail: float) -> Part:
    color = cloth_color(p, "dress")
    s = p.shoulders
    if pose == "sitting":
        profile = [(-5.25, s, 1.30, 0.75), (-4.7, s * 1.0, 1.20, 0.70), (-4.15, s * 0.84, 0.62, 0.0)]
    else:
        profile = [(-6.9, s * 1.25, 0.95, -0.1), (-5.6, s * 1.05, 0.8, -0.1), (-4.4, s * 0.82, 0.55, -0.12)]
    grid = rings(np.array(profile), int(4 * detail), int(14 * detail))
    return as_part(grid, color, two_sided=True)


def _chair(detail: float) -> list[Part]:
    parts = [ellipsoid((0.0, -5.25, 0.45), (1.35, 0.22, 1.25), _CHAIR, detail)]
    for side in (-1, 1):
        for z in (-0.55, 1.25):
            parts.append(capsule((side * 1.1, -5.3, z), (side * 1.2, -7.0, z), 0.13, 0.13, _CHAIR, detail))
        parts.append(capsule((side * 1.12, -5.2, -0.75), (side * 1.12, -3.0, -0.9), 0.14, 0.14, _CHAIR, detail))
    parts.append(capsule((-1.12, -3.1, -0.9), (1.12, -3.1, -0.9), 0.22, 0.22, _CHAIR, detail))
    return parts
