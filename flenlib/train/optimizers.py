"""What moves the weights: AdamW in 32 or 8 bits, the learning rate of each step, and the averaged weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch.nn import Parameter

from flenlib.params import Train


def make(parameters: Sequence[Parameter], settings: Train) -> torch.optim.Optimizer:
    """Return the optimiser the settings ask for. Raises ValueError for an unknown name."""
    options = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(parameters, **options)
    if settings.optimizer == "adamw8bit":
        from bitsandbytes.optim import AdamW8bit

        return AdamW8bit(parameters, **options)
    raise ValueError(f"optimizer {settings.optimizer!r} is not known; it must be one of adamw, adamw8bit")


def learning_rate(settings: Train, step: int) -> float:
    """Return the learning rate of optimiser step 1, 2, ... ``settings.steps``: linear warm-up, then the schedule.

    A function of the step alone, so that a resumed run has no scheduler to restore. Raises ValueError for an unknown
    schedule.
    """
    if step <= settings.warmup:
        return settings.learning_rate * step / (settings.warmup + 1)
    done = (step - settings.warmup - 1) / max(settings.steps - settings.warmup, 1)
    if settings.schedule == "constant":
        return settings.learning_rate
    if settings.schedule == "cosine":
        return settings.learning_rate * (1 + math.cos(math.pi * done)) / 2
    if settings.schedule == "linear":
        return settings.learning_rate * (1 - done)
    raise ValueError(f"schedule {settings.schedule!r} is not known; it must be one of constant, cosine, linear")


class Average:
    """An exponential moving average of the trained weights: what is sampled and saved when ``settings.ema`` is set."""

    def __init__(self, parameters: Sequence[Parameter], decay: float) -> None:
        self.parameters, self.decay = list(parameters) if decay else [], decay
        self.weights = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the weights; early steps are averaged over less, so that the start is forgotten."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for average, parameter in zip(self.weights, self.parameters, strict=True):
            average.lerp_(parameter, 1 - decay)

    @contextmanager
    @torch.no_grad()
    def applied(self) -> Iterator[None]:
        """Put the average in the place of the weights for a while; without a decay, leave them as they are."""
        trained = [parameter.detach().clone() for parameter in self.parameters]
        _copy(self.parameters, self.weights)
        try:
            yield
        finally:
            _copy(self.parameters, trained)


def _copy(parameters: Sequence[Parameter], weights: Sequence[torch.Tensor]) -> None:
    for parameter, weight in zip(parameters, weights, strict=True):
        parameter.copy_(weight)
