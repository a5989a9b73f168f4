"""What a training will take, said before it starts: memory and time, or a refusal with what would fit."""

from __future__ import annotations

from flenlib.models import placement, registry
from flenlib.params import Train
from flenlib.predict.gpus import pick_gpu
from flenlib.predict.plan import plan


def expected(
    model: str,
    precision: str,
    offload: str,
    settings: Train,
    device: str = "auto",
    references: int | None = None,
) -> str:
    """Return in words what a training takes on this machine; the mini models fit any.

    ``references`` are the pictures each sample is edited from: 0 for a generator, the family's own number when not
    given. Memory is that of the largest resolution, hours are of equal shares of all. Raises ValueError for a distilled
    model and for more references than it takes, and RuntimeError, with the nearest settings that fit, for a published
    model that cannot be trained here.
    """
    found = registry.resolve(model)
    if found.distilled_from:
        raise ValueError(
            f"{found.name} is distilled to few steps, which training would undo: train {found.distilled_from}, "
            "and draw with its LoRA on either"
        )
    found.family.check_references(references or 0)
    if found.small:
        return f"{model} is small: it trains on any machine"
    plans = [
        plan(
            found.family,
            precision=precision,
            offload=offload,
            resolution=resolution,
            batch_size=settings.batch_size,
            rank=settings.rank,
            targets=settings.targets,
            gradient_checkpointing=settings.gradient_checkpointing,
            references=references,
            optimizer=settings.optimizer,
            adapter=settings.adapter,
            ema=bool(settings.ema),
            gpu=pick_gpu(device=placement.pick_device(device)),
        )
        for resolution in sorted(settings.resolution or [1024])
    ]
    largest = plans[-1].check()
    if not largest.seconds_per_step:
        return f"{largest.sentence}; how fast this machine is, is not known"
    mean = sum(each.seconds_per_step for each in plans) / len(plans)
    hours = mean * settings.steps * settings.accumulate / 3600
    return f"{largest.sentence}; {settings.steps} steps: about {hours:.1f} h without previews"
