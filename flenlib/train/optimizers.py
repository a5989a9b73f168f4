"""What moves the weights: optimisers of well-kept libraries, the learning rate of each step, the averaged weights."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import Parameter

from flenlib.params import Train
from flenlib.words import OPTIMIZERS


def make(parameters: Sequence[Parameter], settings: Train) -> torch.optim.Optimizer:
    """Return the optimiser the settings ask for. Raises ValueError for an unknown name.

    Prodigy (Mishchenko and Defazio 2023, arXiv:2306.06101) finds the rate itself: ``learning_rate`` multiplies what it
    finds and is 1 by design. Schedule-free AdamW is Defazio et al. 2024, arXiv:2405.15682.
    """
    options: dict[str, Any] = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    name = settings.optimizer
    if name == "adamw":
        return torch.optim.AdamW(parameters, fused=True, **options)
    if name in ("adamw8bit", "paged_adamw8bit"):
        from bitsandbytes import optim

        return {"adamw8bit": optim.AdamW8bit, "paged_adamw8bit": optim.PagedAdamW8bit}[name](parameters, **options)
    if name == "adafactor":
        from transformers import Adafactor

        return Adafactor(parameters, scale_parameter=False, relative_step=False, **options)
    if name == "prodigy":
        from prodigyopt import Prodigy

        with contextlib.redirect_stdout(io.StringIO()):  # it prints which weight decay it uses
            return Prodigy(parameters, use_bias_correction=True, safeguard_warmup=True, **options)
    if name == "schedule_free":
        from schedulefree import AdamWScheduleFree

        optimizer = AdamWScheduleFree(parameters, **options)
        optimizer.train()
        return optimizer
    raise ValueError(f"optimizer {name!r} is not known; it must be one of {', '.join(OPTIMIZERS)}")


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
    """The weights that are sampled, validated and saved: as trained, or an average of what they were.

    The average is an exponential moving one where ``settings.ema`` is set, and the optimiser's own for schedule-free.
    """

    def __init__(self, parameters: Sequence[Parameter], optimizer: torch.optim.Optimizer, decay: float) -> None:
        self.optimizer, self.decay = optimizer, decay
        self.parameters: list[torch.Tensor] = list(parameters)
        self.weights = [parameter.detach().clone() for parameter in self.parameters] if decay else []

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the weights; early steps are averaged over less, so that the start is forgotten."""
        if self.decay:
            torch._foreach_lerp_(self.weights, self.parameters, 1 - min(self.decay, (1 + step) / (10 + step)))

    @contextmanager
    @torch.no_grad()
    def applied(self) -> Iterator[None]:
        """Put the average in the place of the weights for a while, then the very same weights back."""
        if self.decay:
            trained = [parameter.data for parameter in self.parameters]
            self._put(self.weights)
            try:
                yield
            finally:
                self._put(trained)
        elif hasattr(self.optimizer, "eval") and hasattr(self.optimizer, "train"):
            trained = [parameter.detach().clone() for parameter in self.parameters]  # its way back would round
            self.optimizer.eval()
            try:
                yield
            finally:
                self.optimizer.train()
                torch._foreach_copy_(self.parameters, trained)
        else:
            yield

    def _put(self, values: Sequence[torch.Tensor]) -> None:
        """Let the parameters be these tensors, without copying them; an offloaded model takes copies elsewhere."""
        for parameter, value in zip(self.parameters, values, strict=True):
            parameter.data = value
