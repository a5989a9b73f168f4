"""Rectified flow matching, on one screen: time, noise, target, loss, and the loss in ten time bins.

Time runs from 0 (picture) to 1 (noise): ``x_t = (1 - t) x + t noise``, and the model is asked for the velocity
``noise - x`` (Esser et al. 2024, arXiv:2403.03206). Works on packed latents; knows nothing of models or files.
"""

from __future__ import annotations

import hashlib
import math

import torch

from flenlib.words import TIMESTEPS

BINS = 10
FLUX_LINE = (256, 0.5, 4096, 1.15)
"""The resolution shift of FLUX.1: mu is the line through (256 tokens, 0.5) and (4096 tokens, 1.15)."""


def generator(*parts: object) -> torch.Generator:
    """Return a CPU generator seeded by what it is for, such as ``generator(seed, "noise", step, micro_step)``."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def sample_timesteps(
    mode: str,
    n: int,
    generator: torch.Generator,
    tokens: int | None = None,
    line: tuple[float, float, float, float] = FLUX_LINE,
) -> torch.Tensor:
    """Return (n,) times in 0..1: ``uniform``, ``logit_normal``(0, 1), or that ``shifted`` towards noise.

    ``shifted`` needs the number of image ``tokens`` and the ``line`` (tokens, mu, tokens, mu) of the model's scheduler.
    Raises ValueError for an unknown mode, or for ``shifted`` without tokens.
    """
    if mode == "uniform":
        return torch.rand(n, generator=generator)
    if mode not in ("logit_normal", "shifted"):
        raise ValueError(f"timesteps {mode!r} is not known; it must be one of {', '.join(TIMESTEPS)}")
    times = torch.randn(n, generator=generator).sigmoid()
    if mode == "logit_normal":
        return times
    if tokens is None:
        raise ValueError("timesteps 'shifted' needs the number of image tokens")
    stretch = shift(tokens, line)
    return stretch * times / (1 + (stretch - 1) * times)


def shift(tokens: int, line: tuple[float, float, float, float] = FLUX_LINE) -> float:
    """Return e^mu of the resolution shift, mu being on the line (tokens, mu, tokens, mu): 3.158 at 4096 for FLUX.1."""
    few, low, many, high = line
    return math.exp(low + (high - low) * (tokens - few) / (many - few))


def add_noise(latents: torch.Tensor, noise: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
    """Return the picture (B, tokens, channels) moved towards the noise by its time (B,)."""
    times = times.view(-1, *[1] * (latents.dim() - 1))
    return (1 - times) * latents + times * noise


def losses(
    velocity: torch.Tensor, latents: torch.Tensor, noise: torch.Tensor, focus: torch.Tensor | None = None
) -> torch.Tensor:
    """Return (B,) mean squared errors, in fp32, of the predicted velocity against ``noise - latents``.

    ``focus`` (B, tokens) says what each token counts; a picture's own mean of it is taken to be 1.
    """
    errors = (velocity.float() - (noise - latents).float()).square()
    if focus is None:
        return errors.flatten(1).mean(1)
    return (errors.mean(2) * focus).sum(1) / focus.sum(1)


def binned(times: torch.Tensor, values: torch.Tensor) -> list[float | None]:
    """Return the mean of the values (n,) in each of ten equal bins of time (n,); None where a bin is empty."""
    index = (times * BINS).long().clamp(0, BINS - 1)
    return [values[index == b].mean().item() if (index == b).any() else None for b in range(BINS)]
