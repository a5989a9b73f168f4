"""Seconds to draw one picture, before anything is downloaded: the transformer's calls, the encoders, the autoencoder.

Operations are counted (``costs``, and torch's counter on the meta device for the autoencoder); that a GPU does them at
``plan.MODEL_RATE`` of its nominal rate is assumed, as for training, and not measured on one yet.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from flenlib.models.families.base import Family
from flenlib.predict import costs, plan
from flenlib.predict.gpus import GPU
from flenlib.predict.weights import once, weights


def seconds(
    family: type[Family],
    *,
    precision: str,
    offload: str,
    side: int,
    steps: int,
    guidance: float,
    references: int,
    gpu: GPU,
) -> float | None:
    """Return the seconds one picture of ``side`` squared pixels takes a published model; None where no rate is known.

    A step is one call of the transformer; two at a true classifier-free guidance above 1 (``Family.guided_twice``).
    References are encoded by the text encoders and the autoencoder once, and are tokens of every call. With offload
    ``model`` all parts cross the link to RAM once there and once back, with ``group`` the transformer at every call.
    """
    if not gpu.tflops:
        return None
    settings = plan.Settings(
        family, precision, offload, (side, side), references=references, gradient_checkpointing=False
    )
    parts, rate = weights(family), gpu.tflops * 1e12 * plan.MODEL_RATE
    texts = 2 if family.guided_twice and guidance > 1 else 1
    call = costs.forward(plan.shape_of(settings)) / rate
    if precision in ("int8", "nf4"):  # written out in bfloat16 and read again
        width = 0.5 if precision == "nf4" else 1.0
        call += parts["transformer"].quantised * (width + 4) / (gpu.bandwidth * 1e9)
    if offload == "group":
        call = max(call, parts["transformer"].bytes(precision) / (gpu.link * 1e9))
    # a forward pass takes two operations a number and token (Kaplan et al. 2020, arXiv:2001.08361)
    numbers = sum(parts[name].quantised + parts[name].rest for name in family.encoders)
    encoding = texts * 2 * numbers * family.text_tokens / rate
    pictures = _autoencoder(family, "decode", side) + references * _autoencoder(family, "encode", family.native)
    moving = 0.0
    if offload == "model":
        moving = 2 * sum(part.bytes(precision) for part in parts.values()) / (gpu.link * 1e9)
    return steps * texts * call + encoding + pictures / rate + moving


@once
def _autoencoder(family: type[Family], way: str, side: int) -> float:
    """Return the operations of a published autoencoder that encodes or decodes one picture of ``side`` squared."""
    with torch.device("meta"):
        vae: Any = family.published()["vae"]()
        config = vae.config
        channels = config.latent_channels if "latent_channels" in config else config.z_dim
        shape = (1, 3, side, side) if way == "encode" else (1, channels, side // 8, side // 8)
        picture = torch.empty(shape)
        if "z_dim" in config:  # made for video: a picture is one frame
            picture = picture.unsqueeze(2)
        with FlopCounterMode(display=False) as counted, torch.no_grad():
            getattr(vae, way)(picture)
    return float(counted.get_total_flops())
