"""Loading a model to draw or train with: what cannot fit this machine is refused before anything is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flenlib.models import lora, placement, registry
from flenlib.models.families.base import Family
from flenlib.params import Models
from flenlib.predict import plan
from flenlib.predict.gpus import pick_gpu


def load_family(
    name: str | Path,
    role: str = "",
    *,
    precision: str = "fp32",
    offload: str = "none",
    device: str = "auto",
    loras: Sequence[str | tuple[str | Path, float]] = (),
    transformer: bool = True,
) -> Family:
    """Load a model for a role with finished LoRAs stacked on it (``path:0.8``, a hub id, or (path, weight)).

    Without the ``transformer`` it can only encode until ``load_transformer`` is called, and takes no LoRAs.

    Raises ValueError or FileNotFoundError for what was asked wrongly, and RuntimeError in one sentence for what cannot
    be had: gated, not found, no network, too large for this machine, damaged files.
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
    options = {"precision": precision, "offload": offload, "device": device, "revision": model.revision}
    family = model.family.load(model.source, transformer=transformer, **options)
    if uses:
        lora.stack(family, uses)
    return family


def where(models: Models) -> dict[str, str]:
    """Return the part of the settings that says where a model runs and at which precision."""
    return {"precision": models.precision, "offload": models.offload, "device": models.device}
