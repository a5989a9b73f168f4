"""A model in the role of the generator: it draws pictures of texts, with the character's LoRA or without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from flenlib.dataset.prompts import PLAIN, WORDINGS, Wording
from flenlib.draw.load import Waiting, find_family, where
from flenlib.draw.pictures import Drawing, Job, Recipe, drawn_by
from flenlib.models.families.base import Family
from flenlib.models.registry import ModelFacts
from flenlib.params import Models


@dataclass
class Generator:
    """A model that draws the pictures of jobs; ``facts`` are what a record keeps of it, LoRAs included.

    It is loaded when it first draws.
    """

    model: Waiting
    facts: ModelFacts
    wording: Wording = PLAIN
    """The words it is asked in."""

    @property
    def family(self) -> Family:
        """The loaded model."""
        return self.model.family

    def recipe(self, settings: Drawing) -> Recipe:
        """Return the settings of a job, which decide its pixels together with its prompt and seed."""
        how = {"steps": settings.steps, "guidance": settings.guidance, "generator": drawn_by(self.facts)}
        return how | ({"size": settings.size} if settings.size else {})

    def draw(self, job: Job) -> Image.Image:
        """Return the picture of a job."""
        how, side = {name: job.settings[name] for name in ("steps", "guidance")}, job.settings.get("size")
        return self.family.sample(job.prompt, seed=job.seed, width=side, height=side, **how)

    def free(self) -> None:
        """Give back the memory the model takes."""
        self.model.free()


def open_generator(
    models: Models, loras: Sequence[str | tuple[str | Path, float]] = (), transformer: bool = True
) -> Generator:
    """Return the generator the settings name, with their ``generator_loras`` and these, to be loaded at its first use.

    Without the ``transformer``, as a training begins, it is the base model without any LoRA. Raises as `find_family`.
    """
    stack = [*models.generator_loras, *loras] if transformer else []
    model = find_family(models.generator, "generator", loras=stack, transformer=transformer, **where(models))
    return Generator(model, model.facts, WORDINGS[model.model.wording])
