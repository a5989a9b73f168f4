"""How many numbers the parts of a published model hold, counted, and how many bytes they take at a precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar, cast

import torch
from torch import nn

from flenlib.models import lora
from flenlib.models.families.base import Family
from flenlib.models.quantise import kept

NF4_BLOCK = 64
"""Numbers of an nf4 weight that share one scale, a float (Dettmers et al. 2023, arXiv:2305.14314)."""


Function = TypeVar("Function", bound=Callable[..., Any])


def once(function: Function) -> Function:
    """Return a function that computes each answer once; unlike `lru_cache`'s, its type is the function's own."""
    return cast(Function, lru_cache(function))


@dataclass(frozen=True)
class Weights:
    """The numbers of one part: quantised ones, those nf4 leaves at int8, the rest; the largest layer's; matrix rows."""

    quantised: int
    eight: int
    rest: int
    largest: int
    rows: int
    eight_rows: int

    def bytes(self, precision: str, rest: float = 2.0) -> float:
        """Return the bytes at a precision; what is not quantised has ``rest`` bytes a number.

        nf4 is half a byte and a float for each block of 64; int8 one byte and a float for each row.
        """
        if precision == "nf4":
            small = self.quantised * (0.5 + 4 / NF4_BLOCK)
            return small + self.eight + 4 * self.eight_rows + self.rest * rest
        if precision == "int8":
            return self.quantised + self.eight + 4 * (self.rows + self.eight_rows) + self.rest * rest
        return (self.quantised + self.eight + self.rest) * (4 if precision == "fp32" else rest)


def count(model: nn.Module, keep: Sequence[str] | None, eight: Sequence[str] = ()) -> Weights:
    """Count a model's numbers: ``keep`` names layers never quantised (None: none are), ``eight`` those nf4 spares."""
    linear = {name: m.weight for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    chosen = {n: w for n, w in linear.items() if keep is not None and not kept(n, keep)}
    spared = [w for n, w in chosen.items() if kept(n, eight)]
    full = [w for n, w in chosen.items() if not kept(n, eight)]
    numbers, spared_numbers = (sum(w.numel() for w in some) for some in (full, spared))
    return Weights(
        quantised=numbers,
        eight=spared_numbers,
        rest=sum(parameter.numel() for parameter in model.parameters()) - numbers - spared_numbers,
        largest=max((w.numel() for w in linear.values()), default=0),
        rows=sum(w.shape[0] for w in full),
        eight_rows=sum(w.shape[0] for w in spared),
    )


@once
def weights(family: type[Family]) -> dict[str, Weights]:
    """Return the numbers of each part of a published model."""
    found = {}
    for name, build in family.published().items():
        with torch.device("meta"):
            eight = family.eight_bits if name == "transformer" else ()
            found[name] = count(build(), family.quantised.get(name), eight)
    return found


@once
def lora_size(family: type[Family], rank: int, targets: str | tuple[str, ...], kind: str = "lora") -> int:
    """Return how many numbers a LoRA of a published model trains; a plain one rank x (in + out) of each layer."""
    with torch.device("meta"):
        model = family.published_transformer().requires_grad_(False)
        names = lora.target_modules(family, model, targets)
        model.add_adapter(lora.new_config(kind, rank, rank, names))
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _blocks(family: type[Family]) -> list[list[int]]:
    """Return how many numbers each Linear layer of every block of a published transformer has."""
    with torch.device("meta"):
        model = family.published_transformer()
    return [
        [module.weight.numel() for module in block.modules() if isinstance(module, nn.Linear)]
        for blocks in map(model.get_submodule, family.blocks)
        for block in blocks
    ]


@once
def first_layers(family: type[Family]) -> int:
    """Return the numbers of the first Linear layer of every block of a published transformer."""
    return sum(layers[0] for layers in _blocks(family))


@once
def largest_block(family: type[Family]) -> int:
    """Return the numbers of all Linear layers of the largest block of a published transformer."""
    return max(map(sum, _blocks(family)))
