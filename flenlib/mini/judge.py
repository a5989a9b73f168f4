"""Judging mini pictures: the face by face_recognition, angle, expression, background and light by a small classifier.

The classifier learns from renders of training people only, softened a little, so that it judges what is drawn and not
how sharply. It is trained once and cached.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from flenlib.dataset import prompts
from flenlib.measure.faces import find_faces
from flenlib.mini.corpus import random_scene
from flenlib.mini.people import TRAINING_SEEDS, person
from flenlib.mini.render import render_many

QUESTIONS = {
    "angle": prompts.ANGLES,
    "expression": prompts.EXPRESSIONS,
    "background": prompts.BACKGROUNDS,
    "light": prompts.LIGHTS,
    "height": prompts.HEIGHTS,
    "style": prompts.STYLES,
}
SIDE = 96
FACE_WINDOW = (20, 16, 84, 80)
"""Top, left, bottom and right of the square in which a portrait shows its face."""


def face_encoding(picture: np.ndarray) -> np.ndarray | None:
    """Return the 128 numbers of the largest face in a uint8 picture (H, W, 3), or None when no face is found."""
    faces = find_faces(Image.fromarray(picture))
    return faces[0].encoding if faces else None


class Judge(nn.Module):
    """A small convolutional classifier: one body sees the whole picture, one the face, where a portrait has it."""

    def __init__(self) -> None:
        super().__init__()
        self.scene = _body((24, 48, 96, 96), first_stride=2)
        self.face = _body((24, 48, 96, 96), first_stride=1)
        self.heads = nn.ModuleDict({name: nn.LazyLinear(len(words)) for name, words in QUESTIONS.items()})
        self(torch.zeros(2, 3, SIDE, SIDE))

    def forward(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the logits of each question for pictures (B, 3, 96, 96) in -1..1."""
        top, left, bottom, right = FACE_WINDOW
        hidden = torch.cat([self.scene(pictures), self.face(pictures[..., top:bottom, left:right])], dim=1)
        return {name: head(hidden) for name, head in self.heads.items()}

    @torch.no_grad()
    def answers(self, pictures: np.ndarray) -> dict[str, list[str]]:
        """Return the likeliest word of each question for uint8 pictures (N, 96, 96, 3)."""
        self.eval()
        logits = self(_to_tensor(pictures))
        return {name: [QUESTIONS[name][i] for i in values.argmax(1).tolist()] for name, values in logits.items()}


def _body(widths: tuple[int, ...], first_stride: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for number, (before, after) in enumerate(zip((3, *widths), widths, strict=False)):
        stride = 2 if number else first_stride
        layers += [nn.Conv2d(before, after, 3, stride=stride, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3), nn.LazyLinear(160), nn.ReLU())


def _to_tensor(pictures: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def renders(count: int, first: int, workers: int = 2) -> tuple[np.ndarray, dict[str, list[str]]]:
    """Return random renders, one of each person from seed ``first`` on, and what each question's answer is."""
    scenes = []
    for n in range(count):
        rng = np.random.default_rng([13, first + n])
        scene = random_scene(rng, first + n)
        scenes.append(replace(scene, pose="portrait", expression=str(rng.choice(prompts.EXPRESSIONS))))
    pictures = render_many([(person(first + n), scene) for n, scene in enumerate(scenes)], SIDE, workers)
    return pictures, {name: [getattr(scene, name) for scene in scenes] for name in QUESTIONS}


def train_judge(pictures: np.ndarray, truth: dict[str, list[str]], *, epochs: int = 16, seed: int = 0) -> Judge:
    """Return a judge trained on renders; flips are not used, because left and right are among the answers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        judge = Judge()
        images = _to_tensor(pictures)
        wanted = {name: torch.tensor([QUESTIONS[name].index(word) for word in words]) for name, words in truth.items()}
        steps = epochs * (len(images) // 32)
        optimizer = torch.optim.AdamW(judge.parameters(), lr=2e-3, weight_decay=0.02)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps + 1)
        judge.train()
        for _ in range(steps):
            chosen = torch.randint(len(images), (32,))
            logits = judge(_soften(images[chosen]))
            first, *others = (F.cross_entropy(logits[name], wanted[name][chosen]) for name in QUESTIONS)
            loss = sum(others, first)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return judge.eval()


def _soften(images: torch.Tensor) -> torch.Tensor:
    """Return a batch at a random lower resolution, moved a little and with a little noise."""
    side = int(torch.randint(56, SIDE + 1, ()))
    small = F.interpolate(images, size=(side, side), mode="area")
    back = F.interpolate(small, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    shift = torch.randint(-3, 4, (2,)).tolist()
    return back.roll(shift, dims=(2, 3)) + 0.04 * torch.randn_like(back)


def load_judge(path: Path, count: int = 3500) -> Judge:
    """Return the judge cached at ``path``, training it on ``count`` fresh renders when there is none."""
    judge = Judge()
    if path.exists():
        judge.load_state_dict(torch.load(path, weights_only=True))
        return judge.eval()
    judge = train_judge(*renders(count, TRAINING_SEEDS.stop - 100_000))
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(judge.state_dict(), path)
    return judge
