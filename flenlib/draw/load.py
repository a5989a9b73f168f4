"""Loading a model to draw or train with: what cannot fit this machine is refused before anything is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from flenlib.models import lora, placement, registry
from flenlib.models.families.base import Family
from flenlib.models.registry import ModelFacts
from flenlib.params import Models
from flenlib.predict import plan
from flenlib.predict.gpus import pick_gpu


@dataclass
class Waiting:
    """A model that was found fit and is loaded at its first use: what may not be asked of it is refused before."""

    model: registry.Model
    precision: str
    offload: str
    device: str
    loras: Sequence[tuple[Path, float]]
    transformer: bool

    @cached_property
    def family(self) -> Family:
        """The loaded model with its LoRAs. Raises RuntimeError in one sentence for damaged files."""
        how = {"precision": self.precision, "offload": self.offload, "device": self.device}
        family = self.model.family.load(
            self.model.source, **how, revision=self.model.revision, transformer=self.transformer
        )
        if self.loras:
            lora.stack(family, self.loras)
        return family

    @property
    def loaded(self) -> bool:
        """Whether it is in memory: used before, and not freed since."""
        return "family" in self.__dict__  # where cached_property keeps it

    @property
    def facts(self) -> ModelFacts:
        """What a record keeps of it; it need not be loaded."""
        stacked = [lora.Stacked.of(path, weight) for path, weight in self.loras]
        return registry.facts_of(self.model.source, self.model.revision, self.precision, stacked)

    def free(self) -> None:
        """Give back the memory it takes; used again, it is loaded again."""
        if self.loaded:
            self.__dict__.pop("family").free()


def find_family(
    name: str | Path,
    role: str = "",
    *,
    precision: str = "fp32",
    offload: str = "none",
    device: str = "auto",
    loras: Sequence[str | tuple[str | Path, float]] = (),
    transformer: bool = True,
) -> Waiting:
    """Find a model for a role with finished LoRAs to stack on it (``path:0.8``, a hub id, or (path, weight)).

    Without the ``transformer`` it can only encode until ``load_transformer`` is called, and takes no LoRAs.

    Raises ValueError or FileNotFoundError for what was asked wrongly, and RuntimeError in one sentence for what cannot
    be had: gated, not found, no network, too large for this machine.
    """
    model = registry.resolve(name, role)
    where = placement.pick_device(device)
    placement.pick_dtype(precision, where)
    placement.check_offload(offload, precision)
    uses = [registry.lora_file(use) for use in loras]
    for path, _ in uses:
        lora.check(path, model.family)
    if not Path(model.source).is_dir():
        if model.name in registry.KNOWN and transformer:
            references = 0 if role == "generator" else None
            gpu = pick_gpu(device=where)
            plan.sampling(model.family, precision=precision, offload=offload, references=references, gpu=gpu).check()
        registry.fetch(model.source, "model_index.json", name=model.name, revision=model.revision)
    return Waiting(model, precision, offload, device, uses, transformer)


def load_family(name: str | Path, role: str = "", **options: Any) -> Family:
    """Load a model at once; takes and raises what `find_family` does, and RuntimeError for damaged files."""
    return find_family(name, role, **options).family


def where(models: Models) -> dict[str, str]:
    """Return the part of the settings that says where a model runs and at which precision."""
    return {"precision": models.precision, "offload": models.offload, "device": models.device}
