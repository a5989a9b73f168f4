"""What is looked at between steps: previews, whose face they show, and the loss on pictures kept from training.

Everything here is measured at fixed seeds, noise and times, so that steps can be compared; it goes to ``watch.csv``,
``samples/`` and TensorBoard (``tensorboard --logdir <folder>``), and never changes what is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.tensorboard import SummaryWriter
from tqdm.auto import tqdm

from flenlib.content import Allowed
from flenlib.dataset.images import open_image, save_picture
from flenlib.draw.pictures import about, drawn_by, one_colour
from flenlib.measure.faces import ReferenceSet
from flenlib.measure.measures import MEASURES, Measure, applying, of_picture
from flenlib.measure.seen import Seen
from flenlib.models import registry
from flenlib.models.batch import collate
from flenlib.models.families.base import Family
from flenlib.params import Character, Train
from flenlib.train import checkpoints, flow, processes
from flenlib.train.cache import Cache, Sample, read

VALIDATION_TIMES = (0.125, 0.375, 0.625, 0.875)
"""The middles of four equal parts of the way from picture to noise."""

OnEvent = Callable[[str, checkpoints.Row], None]


@dataclass(frozen=True)
class Preview:
    """One picture drawn while training, always from the same seed, so that steps can be compared."""

    text: Allowed
    seed: int
    character: Character
    """Of whom it is: its file says so, with their kind and consent."""
    references: tuple[Path, ...] = ()
    steps: int = 16
    guidance: float | None = None
    """What it is sampled at; None: what its family is."""


class Watch:
    """The looks of one run. Made while the text encoders are there: previews are drawn from what they encoded."""

    def __init__(
        self,
        folder: Path,
        cache: Cache,
        settings: Train,
        held_out: Sequence[Sample],
        previews: Sequence[Preview],
        faces: ReferenceSet | None = None,
        measures: Sequence[Measure] = MEASURES,
    ) -> None:
        self.folder, self.settings, self.previews, self.faces = folder, settings, previews, faces
        self.of_lora = [m for m in measures if m.applies_to == "LoRA"]
        self.of_pictures = applying(measures, *(["held_out"] if faces else []))
        size = settings.resolution[0] if settings.resolution else 0
        self.conditions = [cache.conditions(preview.text, preview.references) for preview in previews]
        self.held_out = [(cache.image(s, size), cache.text(s.caption, s.references)) for s in held_out]
        self.models = drawn_by(registry.model_facts(cache.family))
        self.writer: SummaryWriter | None = None

    @property
    def columns(self) -> list[str]:
        """The columns of ``watch.csv``: the step, every measure taken, and how many previews were drawn."""
        return ["step", *(m.name for m in (*self.of_lora, *self.of_pictures)), "previews"]

    def begin(self, step: int) -> None:
        """Open TensorBoard's log to go on after a step, which hides what an interrupted run wrote later."""
        self.writer = SummaryWriter(str(self.folder / "tensorboard"), purge_step=step + 1 if step else None)

    def end(self) -> None:
        """Put everything on the disk."""
        if self.writer:
            with self._writing():
                self.writer.close()

    def step(self, row: checkpoints.Row) -> None:
        """Tell TensorBoard of one optimiser step."""
        with self._writing():
            for name in ("loss", "lr", "grad_norm"):
                self.writer.add_scalar(f"train/{name}", row[name], row["step"])

    def due(self, step: int, last: int) -> tuple[bool, bool]:
        """Say whether previews are drawn, and whether the held-out loss is measured, at a step."""
        draw = bool(self.previews) and due(step, self.settings.sample_every, last)
        return draw, bool(self.held_out) and due(step, self.settings.validate_every, last)

    def look(self, family: Family, step: int, last: int, on_event: OnEvent) -> None:
        """Draw, measure and validate what is due at a step, and write it down."""
        draw, validate = self.due(step, last)
        row: checkpoints.Row = dict.fromkeys(self.columns) | {"step": step, "previews": 0}
        if draw:
            pictures = self._draw(family, step, on_event)
            row |= self._measured(pictures) | {"previews": len(pictures)}
        if validate:
            row |= {m.name: m.take(_AtStep(self, family)) for m in self.of_lora}
        checkpoints.log_row(self.folder, row, "watch.csv")
        with self._writing():
            for m in (*self.of_lora, *self.of_pictures):
                if row[m.name] is not None:
                    self.writer.add_scalar(f"watch/{m.name}", row[m.name], step)
        on_event("watch", row)

    def _measured(self, pictures: Sequence[Image.Image]) -> dict[str, float | None]:
        """Return the mean of every measure over the pictures it could be taken of."""
        table = [of_picture(Seen(picture, held_out=self.faces), self.of_pictures) for picture in pictures]
        found = {m.name: [v for row in table if (v := row[m.name]) is not None] for m in self.of_pictures}
        return {name: float(np.mean(values)) if values else None for name, values in found.items()}

    @torch.no_grad()
    def validation(self, family: Family) -> float:
        """Return the mean loss on the held-out samples at ``VALIDATION_TIMES``, each with its own fixed noise."""
        values = []
        for number, (picture, text) in enumerate(self.held_out):
            batch = collate([read(picture) | read(text)]).to(family.device)
            clean = batch.latents
            random = flow.generator(self.settings.seed, "validation", number)
            for time in VALIDATION_TIMES:
                noise = torch.randn(clean.shape, generator=random).to(clean.device)
                at = torch.full((1,), time, device=clean.device)
                with processes.autocast(family):
                    velocity = family.predict(flow.add_noise(clean, noise, at), at, batch)
                values.append(flow.losses(velocity, clean, noise).item())
        return float(np.mean(values))

    def _writing(self) -> AbstractContextManager[None]:
        return checkpoints.writing("TensorBoard's log", self.folder / "tensorboard")

    @torch.no_grad()
    def _draw(self, family: Family, step: int, on_event: OnEvent) -> list[Image.Image]:
        pictures = []
        for number, (preview, conditions) in enumerate(zip(self.previews, self.conditions, strict=True)):
            picture = family.sample(
                preview.text,
                seed=preview.seed,
                steps=preview.steps,
                guidance=preview.guidance,
                references=[open_image(path) for path in preview.references],
                conditions=read(conditions),
            )
            path = self.folder / "samples" / f"step_{step:06d}_{number}.png"
            if said := one_colour(picture, f"preview {number} of step {step}"):
                tqdm.write(f"{said}; lower learning_rate or max_grad_norm, or take another precision")
            how = {"steps": preview.steps, "guidance": preview.guidance}
            facts = about(preview.character) | {
                "made_by": self.models["name"], "prompt": preview.text, "seed": preview.seed, "settings": how,
                "models": self.models, "step": step,
            }  # fmt: skip
            with checkpoints.writing(f"preview {number}", path):
                path.parent.mkdir(exist_ok=True)
                save_picture(picture, path, facts)
            with self._writing():
                self.writer.add_image(f"previews/{number}", np.asarray(picture), step, dataformats="HWC")
            on_event("sample", {"step": step, "number": number, "path": path})
            pictures.append(picture)
        return pictures


@dataclass(frozen=True)
class _AtStep:
    """What a measure of a LoRA sees of the one that is being trained."""

    watch: Watch
    family: Family

    def validation_loss(self) -> float:
        """Return the mean loss on the held-out samples."""
        return self.watch.validation(self.family)


def due(step: int, every: int, last: int) -> bool:
    """Say whether what is done every so many steps, and at the last, is done at this one."""
    return step % every == 0 or step == last
