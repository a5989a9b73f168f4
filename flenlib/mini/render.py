"""Pictures of procedural people: one 3D figure seen from any angle, lit, and placed before a background.

"Left" and "right" are the picture's: at half-left the nose points to the picture's left. Two scenes with the same
seed, person, angle, height, pose and expression are aligned to the pixel, whatever their light, background or style.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_all_start_methods, get_context

import numpy as np

from flenlib.dataset import prompts
from flenlib.mini.backgrounds import background
from flenlib.mini.body import body
from flenlib.mini.hair import hair
from flenlib.mini.head import head
from flenlib.mini.people import Person
from flenlib.mini.styles import stylize
from flenlib.mini.surfaces import Array, Part

_CHOICES = {
    "angle": prompts.ANGLES,
    "height": prompts.HEIGHTS,
    "expression": prompts.EXPRESSIONS,
    "pose": prompts.POSES,
    "light": prompts.LIGHTS,
    "background": prompts.BACKGROUNDS,
    "outfit": prompts.OUTFITS,
    "style": prompts.STYLES,
}
_YAW = {"front": 0, "half-left": -28, "profile-left": -85, "half-right": 28, "profile-right": 85, "back": 180}
_PITCH = {"level": 0, "high": 20, "low": -22}
_SUPER = 2  # points are splatted on a raster this many times finer than the picture
_FAR = 9.0  # camera distance in head units
_FRAMES = {"portrait": (2.7, -0.20), "t-pose": (11.2, -4.05), "standing": (11.2, -4.05), "sitting": (9.6, -2.9)}
"""For each pose: the height of the frame in head units, and which height of the figure is at its middle."""


@dataclass(frozen=True)
class Scene:
    """What one picture shows, in the words of `flenlib.dataset.prompts`; an unknown word raises ValueError.

    The seed jitters the camera a few degrees, the head's place and size a couple of percent, the direction of the
    light, and the details of the background.
    """

    angle: str = "front"
    height: str = "level"
    expression: str = "neutral"
    pose: str = "portrait"
    light: str = "studio"
    background: str = "clean"
    outfit: str = "t-shirt"
    style: str = "photo"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            prompts.choose(name, getattr(self, name), choices)


@dataclass(frozen=True)
class Light:
    """A key light (direction to it, colour), light from everywhere, and what it does to the background."""

    key_from: tuple[float, float, float]
    key: tuple[float, float, float]
    ambient: tuple[float, float, float]
    backdrop: tuple[float, float, float]


_LIGHTS = {
    "studio": Light((-0.45, 0.55, 0.8), (0.55, 0.55, 0.55), (0.62, 0.62, 0.62), (1.0, 1.0, 1.0)),
    "daylight": Light((0.25, 0.90, 0.60), (0.72, 0.74, 0.76), (0.54, 0.59, 0.66), (1.04, 1.06, 1.10)),
    "sunset": Light((0.85, 0.15, 0.70), (0.78, 0.50, 0.26), (0.58, 0.44, 0.40), (1.02, 0.72, 0.50)),
    "nighttime": Light((-0.55, 0.65, 0.55), (0.26, 0.32, 0.52), (0.24, 0.27, 0.44), (0.22, 0.27, 0.46)),
}


@dataclass(frozen=True)
class _Camera:
    turn: Array  # (3, 3)
    scale: float  # raster pixels per head unit
    center: tuple[float, float]  # where the origin of the head lies, raster pixels
    lift: float  # height of the figure's pivot


def render(p: Person, scene: Scene, size: int = 96) -> np.ndarray:
    """Return the picture of a person in a scene, uint8 (size, size, 3)."""
    camera = _camera(scene, size * _SUPER)
    colors, cover = _splat(p, scene, camera, size * _SUPER)
    colors, cover = _shrink(colors * cover[..., None]), _shrink(cover)
    backdrop = background(scene.background, scene.seed, size) * np.array(_LIGHTS[scene.light].backdrop, np.float32)
    image = np.clip(colors + backdrop * (1 - cover[..., None]), 0, 1)
    return np.round(255 * np.clip(stylize(image, scene.style), 0, 1)).astype(np.uint8)


def render_many(jobs: Sequence[tuple[Person, Scene]], size: int = 96, workers: int = 2) -> np.ndarray:
    """Return the pictures of many (person, scene) jobs in their order, uint8 (n, size, size, 3).

    With more than one worker the jobs are spread over processes, which does not change the pictures.
    """
    if not jobs:
        return np.zeros((0, size, size, 3), np.uint8)
    if workers <= 1 or len(jobs) < 32:
        return np.stack([render(p, scene, size) for p, scene in jobs])
    chunks = [jobs[i : i + 16] for i in range(0, len(jobs), 16)]
    # Forked workers need no importable __main__, so this works in a notebook and in a script without a guard.
    context = get_context("fork" if "fork" in get_all_start_methods() else "spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        return np.concatenate(list(pool.map(_render_chunk, chunks, [size] * len(chunks))))


def face_box(p: Person, scene: Scene, size: int = 96) -> tuple[int, int, int, int] | None:
    """Return where the face is as (left, top, right, bottom) pixels, or None where the head is seen from behind."""
    if scene.angle == "back":
        return None
    camera = _camera(scene, size)
    a = np.linspace(-1.3, 1.3, 9)
    y = np.linspace(-1.0, p.eye_y + p.brow_y + 0.15, 9)
    width = p.face_width * np.sqrt(np.clip(1 - np.abs(y) ** 3, 0.1, 1))
    ring = np.stack(np.broadcast_arrays(width[:, None] * np.sin(a), y[:, None], 0.8 * np.cos(a)[None]), -1)
    xy = _project(ring.reshape(-1, 3).astype(np.float32) @ camera.turn.T, camera)[0]
    left, top = np.clip(np.floor(xy.min(0)), 0, size).astype(int)
    right, bottom = np.clip(np.ceil(xy.max(0)), 0, size).astype(int)
    return int(left), int(top), int(right), int(bottom)


def _render_chunk(jobs: Sequence[tuple[Person, Scene]], size: int) -> np.ndarray:
    return np.stack([render(p, scene, size) for p, scene in jobs])


def _camera(scene: Scene, pixels: int) -> _Camera:
    rng = np.random.default_rng([11, scene.seed])
    yaw, pitch, across, down, zoom = rng.uniform(-1, 1, 5).tolist()
    frame, middle = _FRAMES[scene.pose]
    yaw = np.deg2rad(_YAW[scene.angle] + 4 * yaw)
    pitch = np.deg2rad(_PITCH[scene.height] + 3 * pitch)
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    scale = pixels / frame * (1 + 0.02 * zoom)
    lift = 0.0 if scene.pose == "portrait" else middle
    center = (pixels * (0.5 + 0.012 * across), pixels * (0.5 + 0.012 * down) + (lift - middle) * -scale)
    return _Camera((about_x @ about_y).astype(np.float32), scale, center, lift)


def _project(points: Array, camera: _Camera) -> tuple[Array, Array]:
    """Return the raster coordinates (n, 2) and depths (n,) of points already turned to the camera."""
    pivot = camera.turn @ np.array([0, camera.lift, 0], np.float32)
    x, y, z = (points - pivot).T
    scale = camera.scale * _FAR / (_FAR - z) if camera.lift == 0 else np.full_like(z, camera.scale)
    return np.stack([camera.center[0] + x * scale, camera.center[1] - y * scale], -1), z


@lru_cache(maxsize=4)
def _figure(p: Person, expression: str, pose: str, outfit: str, detail: int) -> tuple[Part, ...]:
    return tuple(head(p, expression, detail) + hair(p, detail) + body(p, pose, outfit, detail))


def _splat(p: Person, scene: Scene, camera: _Camera, pixels: int) -> tuple[Array, Array]:
    """Return colours (pixels, pixels, 3) and cover (pixels, pixels) of the figure: nearest points win."""
    detail = max(8, round(pixels / _FRAMES[scene.pose][0]))
    light, key = _LIGHTS[scene.light], _key_direction(scene)
    parts = _figure(p, scene.expression, scene.pose, scene.outfit, detail)
    shown = [_visible(part, camera, light, key, pixels) for part in parts]
    xy, depth, colors = (np.concatenate(arrays) for arrays in zip(*shown, strict=True))
    place = xy[:, 1].astype(np.int32) * pixels + xy[:, 0].astype(np.int32)
    nearness = ((depth + 6.0) * (65535 / 12.0)).astype(np.uint16)
    order = np.argsort(nearness, kind="stable")  # 16-bit keys sort by radix; later writes win
    nearest = np.full(pixels * pixels, -1, np.int32)
    nearest[place[order]] = order
    cover = (nearest >= 0).astype(np.float32)
    image = colors[nearest] * cover[:, None]
    return _fill_holes(image.reshape(pixels, pixels, 3), cover.reshape(pixels, pixels))


def _key_direction(scene: Scene) -> Array:
    rng = np.random.default_rng([13, scene.seed])
    direction = np.array(_LIGHTS[scene.light].key_from) + rng.uniform(-0.12, 0.12, 3)
    return (direction / np.linalg.norm(direction)).astype(np.float32)


def _visible(part: Part, camera: _Camera, light: Light, key: Array, pixels: int) -> tuple[Array, Array, Array]:
    """Return raster places, depths and lit colours of the points in the frame that face the camera."""
    facing = part.normals @ camera.turn[2] > -0.05
    kept = np.arange(len(facing)) if part.two_sided else np.flatnonzero(facing)
    xy, depth = _project(part.points[kept] @ camera.turn.T, camera)
    inside = np.flatnonzero((np.abs(xy[:, 0] - pixels / 2) < pixels / 2) & (np.abs(xy[:, 1] - pixels / 2) < pixels / 2))
    xy, depth = xy[inside], depth[inside]
    kept = kept[inside]
    facing, colors, normals = facing[kept], part.colors[kept], part.normals[kept] @ camera.turn.T
    if part.two_sided:
        normals[~facing] *= -1
        colors[~facing] *= 0.5
    return xy, depth, _shade(colors, normals, light, key, part.gloss)


def _shade(colors: Array, normals: Array, light: Light, key: Array, gloss: float) -> Array:
    toward = normals @ key
    lambert = np.clip(0.85 * toward + 0.15, 0, None)[:, None]
    sky = (0.80 + 0.20 * normals[:, 1:2]) * (0.82 + 0.18 * np.clip(normals[:, 2:3], 0, 1))
    half = key + np.array([0, 0, 1], np.float32)
    mirrored = np.square(np.clip(normals @ (half / np.linalg.norm(half)), 0, 1))[:, None]
    shine = gloss * mirrored * np.square(mirrored) * np.square(np.square(mirrored))
    ambient, bright = np.array(light.ambient, np.float32), np.array(light.key, np.float32)
    return colors * (ambient * sky + bright * lambert) + shine * bright


def _fill_holes(image: Array, cover: Array) -> tuple[Array, Array]:
    """Fill single uncovered pixels that are covered on most sides with the mean of what surrounds them."""
    total, count = np.zeros_like(image), np.zeros_like(cover)
    for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        total += np.roll(image, (dy, dx), (0, 1))
        count += np.roll(cover, (dy, dx), (0, 1))
    hole = (cover == 0) & (count >= 3)
    image[hole] = total[hole] / count[hole][:, None]
    return image, np.where(hole, 1.0, cover)


def _shrink(image: Array) -> Array:
    """Return the mean over blocks of raster pixels, one for each pixel of the picture."""
    n = image.shape[0] // _SUPER
    return image.reshape(n, _SUPER, n, _SUPER, *image.shape[2:]).mean((1, 3))
