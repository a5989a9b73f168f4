"""What every training of the mini studio shares: a budget in minutes, averaged weights, checkpoints that continue.

Knows nothing of pictures or pipelines; the length of a training is wall-clock time, because that is what was scarce.
"""

from __future__ import annotations

import copy
import math
import os
import time
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import nn

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

Model = TypeVar("Model", bound=nn.Module)


class Trainee(Generic[Model]):
    """A model with its optimizers, its averaged copy, and a checkpoint file it continues from.

    ``muon`` trains the matrices (not the embeddings) with Muon (Jordan et al. 2024) scaled to AdamW's steps: on the
    mini FLUX one short trial needed about a third fewer steps than AdamW. All else is trained with AdamW.
    """

    def __init__(
        self, model: Model, path: Path, *, lr: float, minutes: float, decay: float = 0.999, muon: bool = False
    ):
        self.model = model.to(DEVICE)
        self.average = copy.deepcopy(model).eval().requires_grad_(False)
        self.path, self.peak, self.budget, self.decay = path, lr, minutes * 60, decay
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimizers = _optimizers(model, lr, muon)
        self.steps, self.seconds_before = 0, 0.0
        if path.exists():
            self._load()
        self.begun = self.saved = time.monotonic()
        self.first_step = self.steps

    @property
    def seconds(self) -> float:
        """Seconds of training so far, earlier runs included."""
        return self.seconds_before + time.monotonic() - self.begun

    @property
    def progress(self) -> float:
        """Share of this run's minutes that is spent, from 0 to 1."""
        return min(1.0, (time.monotonic() - self.begun) / self.budget) if self.budget else 1.0

    def finished(self, max_steps: int | None = None) -> bool:
        """Say whether the minutes, or ``max_steps`` steps of this run, are spent."""
        spent = self.steps - self.first_step
        return self.progress >= 1.0 or (max_steps is not None and spent >= max_steps)

    def learn(self, loss: torch.Tensor) -> None:
        """Take one step: warm-up over 100 steps, then a cosine over this run's minutes; update the average."""
        warm = min(1.0, (self.steps - self.first_step + 1) / 100)
        rate = self.peak * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.progress)))
        if not loss.isfinite():
            raise RuntimeError(
                f"the loss is {loss.item()} at step {self.steps}; the last checkpoint {self.path} is whole"
            )
        self.model.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
        self.steps += 1
        taken = self.steps - self.first_step  # each run averages anew: what it continues may have known other latents
        decay = min(self.decay, (1 + taken) / (10 + taken))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)

    def due(self, minutes: float) -> bool:
        """Say whether ``minutes`` have passed since the last save."""
        return time.monotonic() - self.saved >= minutes * 60

    def save(self) -> None:
        """Write the checkpoint; a killed write leaves the previous one whole."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "steps": self.steps,
            "seconds": self.seconds,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self.path)
        self.saved = time.monotonic()

    def _load(self) -> None:
        state = torch.load(self.path, map_location=DEVICE, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        kept = state.get("optimizers", [])
        if _sizes(kept) == _sizes([optimizer.state_dict() for optimizer in self.optimizers]):  # not after a freeze
            for optimizer, one in zip(self.optimizers, kept, strict=True):
                optimizer.load_state_dict(one)
        self.steps, self.seconds_before = state["steps"], state["seconds"]


def _optimizers(model: nn.Module, lr: float, muon: bool) -> list[torch.optim.Optimizer]:
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    parameters = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in parameters if muon and p.ndim == 2 and id(p) not in tables]
    chosen = {id(p) for p in matrices}
    rest = [p for p in parameters if id(p) not in chosen]
    adam = torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.98), weight_decay=1e-4)
    if not matrices:
        return [adam]
    return [torch.optim.Muon(matrices, lr=lr, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"), adam]


def _sizes(states: list[dict]) -> list[list[int]]:
    return [[len(group["params"]) for group in state["param_groups"]] for state in states]


def load_average(model: nn.Module, path: Path) -> dict[str, float]:
    """Load the averaged weights of a checkpoint into ``model``; returns its steps and seconds."""
    if not path.exists():
        raise FileNotFoundError(f"no checkpoint {path}; run the stage that makes it first")
    state = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(state["average"])
    return {"steps": state["steps"], "seconds": state["seconds"]}
