"""What a family encodes pictures and texts into: named tensors of one sample, and of a batch of samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

import torch

_PADDED = {"padded": True}


@dataclass(frozen=True)
class Encoded:
    """What is known of one sample, float32 on the CPU; what does not apply is None.

    ``tokens`` are those of the picture that is learnt, rows first; a token is 16 pixels of each side in every family so
    far. ``length`` is the text's own: in a batch texts are padded with zeros, which ``text_mask`` marks.
    """

    latents: torch.Tensor | None = None
    """(tokens, channels) of the picture that is learnt."""
    grid: torch.Tensor | None = None
    """(2,): rows and columns of these tokens."""
    text: torch.Tensor | None = field(default=None, metadata=_PADDED)
    """(length, width) of the caption or the instruction."""
    text_mask: torch.Tensor | None = field(default=None, metadata=_PADDED)
    """(length,): 1 where there is text, 0 where it was padded."""
    pooled: torch.Tensor | None = None
    """(width,): the whole text as one vector."""
    negative_text: torch.Tensor | None = field(default=None, metadata=_PADDED)
    """(length, width) of the text that guidance leads away from."""
    negative_text_mask: torch.Tensor | None = field(default=None, metadata=_PADDED)
    reference: torch.Tensor | None = None
    """(tokens of all references, channels)."""
    reference_grid: torch.Tensor | None = None
    """(references, 2): rows and columns of each."""
    focus: torch.Tensor | None = None
    """(tokens,): what each token counts in the loss."""
    weight: torch.Tensor | None = None
    """(): what the sample counts in the loss."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return what there is, by name."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}

    def __or__(self, other: Encoded) -> Self:
        """Return everything of both; of what both have, the other's."""
        return type(self)(**self.tensors() | other.tensors())

    def shape(self) -> tuple[Any, ...]:
        """Return what two samples must agree on to share a batch: all shapes but padded ones, and grids themselves."""
        return tuple(
            (name, *tensor.shape, *(tensor.flatten().tolist() if name in ("grid", "reference_grid") else ()))
            for name, tensor in self.tensors().items()
            if name not in PADDED
        )


PADDED = tuple(f.name for f in fields(Encoded) if f.metadata)


@dataclass(frozen=True)
class Batch(Encoded):
    """Several samples: every tensor of `Encoded` with the samples (B,) in front."""

    def __len__(self) -> int:
        return len(next(iter(self.tensors().values())))

    def __getitem__(self, which: slice) -> Batch:
        """Return some of the samples."""
        return Batch(**{name: tensor[which] for name, tensor in self.tensors().items()})

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        return Batch(**{name: tensor.to(device) for name, tensor in self.tensors().items()})


def collate(samples: Sequence[Encoded]) -> Batch:
    """Return several samples as a batch; texts of unlike length are padded, as their masks say."""
    rows = [sample.tensors() for sample in samples]
    return Batch(**{name: _stack([row[name] for row in rows], name in PADDED) for name in rows[0]})


def one_grid(grid: torch.Tensor) -> tuple[int, int]:
    """Return the (rows, columns) all pictures of a batch share. Raises ValueError when they differ."""
    rows = {tuple(row) for row in grid.reshape(-1, 2).tolist()}
    if len(rows) != 1:
        raise ValueError(f"one batch mixes pictures of different sizes ({sorted(rows)} tokens); group them by size")
    return rows.pop()


def _stack(tensors: Sequence[torch.Tensor], pad: bool) -> torch.Tensor:
    if not pad or len({len(tensor) for tensor in tensors}) == 1:
        return torch.stack(list(tensors))
    longest = max(len(tensor) for tensor in tensors)
    return torch.stack([torch.cat([t, t.new_zeros(longest - len(t), *t.shape[1:])]) for t in tensors])
