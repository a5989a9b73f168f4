"""Linear layers at int8 or nf4: bitsandbytes' own, put in one by one, on a processor as on a GPU.

The libraries' loaders are not used for it. diffusers' spares every layer whose own last name is in its list, so that
FLUX's ``proj_out`` would keep the output layers of all 38 single blocks at bfloat16, and layers spared for another
precision would lie on the GPU whole until the model is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self, cast

import bitsandbytes as bnb
import torch
from torch import nn


class Linear4bit(bnb.nn.Linear4bit):
    """An nf4 layer that computes and answers in autocast's type, as `nn.Linear` does; bitsandbytes' in its input's."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the layer's output for (..., inputs)."""
        return super().forward(_autocast(x))


class Linear8bit(bnb.nn.Linear8bitLt):
    """An int8 layer that follows autocast, keeps no input, and goes as a whole where its model goes.

    bitsandbytes' answers in its input's type, keeps every input for the gradient of a weight that is frozen here, where
    gradient checkpointing does not let it go, and leaves a copy on the GPU.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the layer's output for (..., inputs)."""
        output = super().forward(_autocast(x))
        if output.grad_fn is not None:
            output.grad_fn.tensors = None, None, None  # where MatMul8bitLt keeps it, on a GPU
            output.grad_fn.A = None  # where MatMul8bitFp does, on a processor
        return output

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        for holder in (self.weight, self.state):
            holder.CB = None if holder.CB is None else self.weight.data
            holder.SCB = None if holder.SCB is None else holder.SCB.to(self.weight.device)
        return self


def quantise(
    model: nn.Module,
    precision: str,
    device: torch.device,
    keep: Sequence[str] = (),
    only: Sequence[str] | None = None,
) -> int:
    """Swap Linear layers for quantised ones on a device: all but those ``keep`` names, or ``only`` those.

    Returns how many. Layer by layer, so that no more than one lies there at full width.
    """
    names = [
        name
        for name, module in model.named_modules()
        if type(module) is nn.Linear and (kept(name, only) if only is not None else not kept(name, keep))
    ]
    for name in names:
        layer = cast(nn.Linear, model.get_submodule(name))
        model.set_submodule(name, quantised(layer, precision, device))
    return len(names)


def quantised(layer: nn.Linear, precision: str, device: torch.device) -> nn.Linear:
    """Return a Linear layer at int8 or nf4, frozen, on a device; it computes in the dtype the layer had."""
    shape, biased, weight = (layer.in_features, layer.out_features), layer.bias is not None, layer.weight.data
    if precision == "nf4":
        how = {"compress_statistics": False, "quant_type": "nf4"}
        new = Linear4bit(*shape, biased, compute_dtype=weight.dtype, device="meta", **how)
        new.weight = bnb.nn.Params4bit(weight, requires_grad=False, module=new, **how).to(device)
    else:
        new = Linear8bit(*shape, biased, has_fp16_weights=False, threshold=6.0, device="meta")
        # quantised on its way from the processor to another device, and by that alone
        new.weight = bnb.nn.Int8Params(weight.cpu(), requires_grad=False, has_fp16_weights=False).to(device)
    if biased:
        new.bias = nn.Parameter(layer.bias.data.to(device), requires_grad=False)
    return new


def _autocast(x: torch.Tensor) -> torch.Tensor:
    """Return a tensor in the type autocast computes in; norms give float32, and a stream after it would stay so."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


def kept(name: str, names: Sequence[str]) -> bool:
    """Say whether a layer is meant: named so in full, inside a module so named, or, for ``.wo``, ending so."""
    return any(name == part or f"{part}." in name or (part[0] == "." and name.endswith(part)) for part in names)
