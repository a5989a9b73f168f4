"""What one training step of a transformer costs: floating point operations, and the activations kept for backward.

Counted, not guessed: the real blocks, with the LoRA on them, run forward and backward on torch's meta device, which
computes shapes and no numbers; matrix products and saved tensors are added up on the way. Blocks of one kind cost the
same, so a few of them are traced and the rest is multiplied out.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import astuple, dataclass
from functools import lru_cache
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from flenlib.models import lora
from flenlib.models.families.architecture import Grid
from flenlib.models.families.base import Family

FLOAT32 = (
    functional.layer_norm, functional.rms_norm, functional.group_norm, functional.softmax, torch.rsqrt, torch.pow,
    torch.Tensor.pow,
)  # fmt: skip
"""Operations of transformers' blocks that a gpu's autocast does in float32."""


@dataclass(frozen=True)
class Cost:
    """Operations forward and backward, and bytes kept in between."""

    forward: float
    backward: float
    saved: float

    def plus(self, other: Cost, times: int = 1) -> Cost:
        """Return this cost and ``times`` another one."""
        return Cost(*(mine + times * theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True)
class Shape:
    """What decides the cost of a step: the tokens of each sort, the batch, and the LoRA."""

    family: type[Family]
    target: Grid
    """Rows and columns of the picture that is learnt."""
    references: tuple[Grid, ...]
    text: int
    """Tokens of the text."""
    batch: int
    rank: int
    targets: str | tuple[str, ...]
    heads: int | None = None
    """Attention heads of a smaller transformer; None: as published."""
    adapter: str = "lora"

    @property
    def tokens(self) -> int:
        """Tokens of one sample: of all pictures and of the text."""
        return sum(rows * columns for rows, columns in (self.target, *self.references)) + self.text


class _FusedAttention(torch.autograd.Function):
    """Attention as fused kernels do it: keeps query, key, value, output and one number a row, and no matrix."""

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, count: list[float]
    ) -> torch.Tensor:
        out = torch.empty_like(query)
        rows = query.new_empty(query.shape[:-1], dtype=torch.float32)
        ctx.save_for_backward(query, key, value, out, rows)
        ctx.count, ctx.flops = count, 4 * query.numel() * key.shape[-2]
        count.append(ctx.flops)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, *_ = ctx.saved_tensors
        ctx.count.append(2.5 * ctx.flops)  # four products and the scores once more (Dao et al. 2022, arXiv:2205.14135)
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value), None


class OnGPU(TorchFunctionMode):
    """Does on another device what a GPU does under bfloat16 autocast, in which the loop trains, but for the numbers.

    Linear layers work in bfloat16 and keep their inputs so, norms in float32 (torch's ATen/autocast_mode.h); attention
    goes through ``_FusedAttention``, whose operations are remembered.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops: list[float] = []

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            given = [*args[:3], *(kwargs[name] for name in ("query", "key", "value")[len(args[:3]) :])]
            return _FusedAttention.apply(*_cast(given, torch.bfloat16), self.flops)
        if func is functional.linear:
            args = _cast(args, torch.bfloat16)
        if func in FLOAT32:
            args = _cast(args, torch.float32)
            kwargs = dict(zip(kwargs, _cast(kwargs.values(), torch.float32), strict=True))
        return func(*args, **kwargs)


def _cast(values: Iterable[Any], dtype: torch.dtype) -> tuple[Any, ...]:
    return tuple(value.to(dtype) if isinstance(value, torch.Tensor) else value for value in values)


@lru_cache(maxsize=256)
def trace(shape: Shape, layers: tuple[int, ...], checkpointing: bool) -> Cost:
    """Return the cost of one step of a transformer with so many blocks: bfloat16, its LoRA float32, autocast."""
    with torch.device("meta"):
        model = shape.family.published_transformer(layers, shape.heads).bfloat16().requires_grad_(False)
        names = lora.target_modules(shape.family, model, shape.targets)
        model.add_adapter(lora.new_config(shape.adapter, shape.rank, shape.rank, names))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    model.train(shape.adapter != "lokr")  # which, training, draws a number to compare, and meta tensors have none
    if checkpointing:
        model.enable_gradient_checkpointing()
    own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return tensor

    forward, fuse = FlopCounterMode(display=False), OnGPU()
    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with torch.device("meta"), nullcontext() if checkpointing else forward, fuse, hooks:
        out = shape.family.step(model, shape.batch, shape.target, shape.references, shape.text)
    saved = sum(storage.nbytes() for storage in kept.values())
    if checkpointing:  # operations are known from a trace without it
        return Cost(0.0, 0.0, saved)
    flops = forward.get_total_flops() + sum(fuse.flops)
    fuse.flops.clear()
    backward = FlopCounterMode(display=False)
    with backward:
        out.float().square().mean().backward()
    return Cost(flops, backward.get_total_flops() + sum(fuse.flops), saved)


@dataclass(frozen=True)
class Step:
    """The cost of one step of the whole transformer, and the most one block keeps while its gradients are computed."""

    flops: float
    saved: float
    block: float

    @property
    def activations(self) -> float:
        """Bytes of activations at the worst moment of a step."""
        return self.saved + self.block


def step(shape: Shape, checkpointing: bool, layers: tuple[int, ...] | None = None) -> Step:
    """Return what one micro-step costs.

    flops and saved are c + sum over kinds of blocks of n * (c with one block more - c), each c from ``trace``. With
    checkpointing only the inputs of the blocks are saved, and ``block`` is what the largest one keeps when it is run
    again; without, everything is saved already and ``block`` is the gradients of one block, as much again.
    """
    layers = layers or shape.family.layers
    plain, blocks = _whole(shape, layers, False)
    block = max(cost.saved for cost in blocks)
    if not checkpointing:
        return Step(plain.forward + plain.backward, plain.saved, block)
    return Step(2 * plain.forward + plain.backward, _whole(shape, layers, True)[0].saved, block)


def forward(shape: Shape) -> float:
    """Return the operations of one call of the whole published transformer, as it draws."""
    return _whole(shape, shape.family.layers, False)[0].forward


def _whole(shape: Shape, layers: tuple[int, ...], checkpointing: bool) -> tuple[Cost, list[Cost]]:
    """Return the cost of all blocks together, and of one of each kind."""
    one = (1,) * len(layers)
    base = trace(shape, one, checkpointing)
    more = [tuple(2 if kind == index else 1 for index in range(len(layers))) for kind in range(len(layers))]
    blocks = [trace(shape, layout, checkpointing).plus(base, -1) for layout in more]
    total = base
    for number, block in zip(layers, blocks, strict=True):
        total = total.plus(block, number - 1)
    return total, blocks
