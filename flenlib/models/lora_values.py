"""What a LoRA file must hold to be drawn with: whole factors of finite numbers that do not drown the model.

Knows no family. Files that fail here are loaded by diffusers without a word, and draw black pictures.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import torch
from safetensors.torch import load_file

LARGEST = 10.0
"""The largest root mean square of what a LoRA adds to a layer's weights, which themselves measure about 0.01 to 0.2."""

_FACTOR = re.compile(r"(.*)[._](lora[._](?:A|B|down|up)|lokr_w[12](?:_[ab])?)(?:\.default)?(?:\.weight)?")
_PAIRS = (("lora_A", "lora_B"), ("lora_down", "lora_up"), ("lora.down", "lora.up"),
          ("lokr_w1_b", "lokr_w1_a"), ("lokr_w2_b", "lokr_w2_a"))  # fmt: skip


def check(path: str | Path) -> None:
    """Raise ValueError, naming the tensor, for a LoRA file with which nothing can be drawn.

    That is: one with values that are not finite, with a factor that is empty or has lost its partner, with two that
    do not fit each other, or with products as large as no training leaves.
    """
    layers: dict[str, dict[str, torch.Tensor]] = {}
    file = load_file(path)
    for key, tensor in file.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor.float()).all():
            raise _refusal(path, f"{key!r} holds values that are not finite numbers")
        if found := _FACTOR.fullmatch(key):
            if tensor.ndim < 2 or not tensor.numel():
                raise _refusal(path, f"{key!r} is {_shape(tensor)}, which is no matrix")
            layers.setdefault(found[1], {})[found[2]] = tensor
    for layer, factors in layers.items():
        if f"{layer}.lokr_t2" not in file:
            size = _size(path, layer, factors) * _scale(path, layer, factors, file)
            if not abs(size) <= LARGEST:
                raise _refusal(path, f"{layer!r} adds {size:.3g} to weights of about 0.1")


def _size(path: str | Path, layer: str, factors: dict[str, torch.Tensor]) -> float:
    """Return the root mean square of the product of a layer's factors; that of a Kronecker product is their product."""
    size = math.prod(_root(factors[name]) for name in ("lokr_w1", "lokr_w2") if name in factors)
    for down, up in _PAIRS:
        there = [name for name in (down, up) if name in factors]
        if len(there) == 1:
            missing = up if there == [down] else down
            raise _refusal(path, f"{layer!r} has {there[0]} and no {missing}")
        if there:
            first, second = (factors[name].double().flatten(1) for name in there)
            if len(first) != second.shape[1]:
                shapes = f"{_shape(first)} and {_shape(second)}"
                raise _refusal(path, f"the factors {down} and {up} of {layer!r} are {shapes} and do not fit each other")
            squares = ((second.T @ second) * (first @ first.T)).sum().clamp(min=0)
            size *= math.sqrt(squares / (len(second) * first.shape[1]))
    return size


def _scale(path: str | Path, layer: str, factors: dict[str, torch.Tensor], file: dict[str, torch.Tensor]) -> float:
    """Return what a layer's product is multiplied by: alpha over rank; 1 where no alpha or no rank is in the file."""
    alpha = file.get(f"{layer}.alpha")
    ranks = [len(factors[down]) for down, _ in _PAIRS if down in factors]
    if alpha is None or not ranks:
        return 1.0
    if alpha.numel() != 1:
        raise _refusal(path, f"'{layer}.alpha' is {_shape(alpha)}, and must be one number")
    return float(alpha) / ranks[-1]


def _root(tensor: torch.Tensor) -> float:
    return math.sqrt(tensor.double().square().mean())


def _shape(tensor: torch.Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "one number"


def _refusal(path: str | Path, why: str) -> ValueError:
    return ValueError(f"LoRA {path} is damaged: {why}; it would draw black pictures. Train or download it again")
