"""The batches of a run: which samples, at which size, in which order. A function of the step, and of no state.

Everything is encoded before the first step and found again by its content (``cache.py``). What is drawn follows from
the samples, the settings and the number of the micro-step alone, so a run that goes on sees what it would have seen.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from tqdm.auto import tqdm

from flenlib.dataset.images import open_image
from flenlib.params import Train
from flenlib.train import focus
from flenlib.train.cache import Cache, Sample
from flenlib.train.flow import generator

ENLARGED = 1.25
"""A picture is trained at a resolution when that has at most this many times its pixels (or at the lowest one)."""

FILES_KEPT = 256
"""Encoded files kept in memory: at most about 2 GiB of FLUX.1 captions, usually far less."""


@dataclass(frozen=True)
class Entry:
    """One way a sample is drawn: its encoded files at one size, how often, and what its loss counts."""

    image: Path
    text: Path
    empty: Path
    focus: Path | None
    kind: str
    repeats: int
    weight: float


class Part(NamedTuple):
    """One phase of a run: the micro-steps it begins at and ends before, its entries, the batches of its epochs."""

    begin: int
    end: int
    chosen: list[int]
    batches: int


class Feed:
    """The endless row of batches of a run; encoding happens when it is made."""

    def __init__(
        self,
        cache: Cache,
        samples: Sequence[Sample],
        settings: Train,
        on_encoded: Callable[[int], object],
    ) -> None:
        self.settings = settings
        self.entries: list[Entry] = []
        for number, sample in enumerate(tqdm(samples, desc="encode", leave=False), start=1):
            self.entries += entries(cache, sample, settings)
            on_encoded(number)
        self.shapes = [_shape(read(entry.image, entry.text)) for entry in self.entries]
        self.weighted = any(entry.weight != 1 for entry in self.entries)
        self.parts = self._parts_of_run()
        self._last: tuple[tuple[int, int], list[list[int]]] | None = None

    def batch(self, number: int, random: torch.Generator) -> dict[str, torch.Tensor]:
        """Return micro-step 0, 1, 2, ... of the run as CPU tensors, some captions dropped.

        Beside what the family reads there are ``focus`` (B, tokens) and ``weight`` (B,) where the loss needs them.
        """
        part = next(part for part in self.parts if number < part.end)
        epoch, place = divmod(number - part.begin, part.batches)
        order = self._epoch(part, epoch)[place]
        dropped = (torch.rand(len(order), generator=random) < self.settings.caption_dropout).tolist()
        return collate([self._parts(self.entries[i], drop) for i, drop in zip(order, dropped, strict=True)])

    def _parts(self, entry: Entry, drop: bool) -> dict[str, torch.Tensor]:
        parts = read(entry.image, entry.empty if drop else entry.text)
        if entry.focus:
            parts["focus"] = focus.weights(_load(entry.focus)["focus"], self.settings.unfocused)
        if self.weighted:
            parts["weight"] = torch.tensor(entry.weight)
        return parts

    def _parts_of_run(self) -> list[Part]:
        """Return the phases of the curriculum; without one, the whole run."""
        micro, parts = self.settings.accumulate, []
        for phase in self.settings.phases or [None]:
            chosen = self._chosen(phase.kinds) if phase else list(range(len(self.entries)))
            drawn = Counter[tuple]()
            for number in chosen:
                drawn[self.shapes[number]] += self.entries[number].repeats
            size = self.settings.batch_size
            end = micro * ((phase and phase.until) or self.settings.steps)
            begin = parts[-1].end if parts else 0
            parts.append(Part(begin, end, chosen, sum(math.ceil(count / size) for count in drawn.values())))
        return parts

    def _chosen(self, kinds: Sequence[str]) -> list[int]:
        known = {entry.kind for entry in self.entries}
        unknown = sorted(set(kinds) - known)
        if unknown:
            raise ValueError(
                f"phase kind {unknown[0]!r} is of no sample; the samples' kinds are {', '.join(sorted(known))}"
            )
        return [number for number, entry in enumerate(self.entries) if entry.kind in kinds]

    def _epoch(self, part: Part, epoch: int) -> list[list[int]]:
        if self._last is None or self._last[0] != (part.begin, epoch):
            shapes, repeats = zip(*((self.shapes[i], self.entries[i].repeats) for i in part.chosen), strict=True)
            seed = f"{self.settings.seed}/from/{part.begin}" if part.begin else self.settings.seed
            made = batches(shapes, repeats, self.settings.batch_size, seed, epoch)
            self._last = (part.begin, epoch), [[part.chosen[i] for i in order] for order in made]
        return self._last[1]


def entries(cache: Cache, sample: Sample, settings: Train) -> list[Entry]:
    """Encode a sample in every way it is drawn and return these: one a resolution that suits it, mirrored ones too.

    Every sample is drawn equally often for its repeats, however many resolutions suit it. Raises ValueError when a
    sample with reference pictures is to be mirrored: they would not be.
    """
    if settings.flip and sample.references:
        raise ValueError(f"flip mirrors {sample.image} and not the reference pictures it is edited from; turn flip off")
    text = cache.text(sample.caption, sample.references)
    empty = cache.text(cache.family.caption_empty, sample.references) if settings.caption_dropout else text
    wanted = settings.resolution or [0]
    suiting = suiting_sizes(open_image(sample.image).size, wanted) if len(wanted) > 1 else wanted
    made = []
    for number, size in enumerate(suiting):
        draws = sample.repeats * len(range(number, len(wanted), len(suiting)))
        for flip in (False, True) if settings.flip else (False,):
            where = cache.focus(sample, settings.focus, size, flip) if settings.focus != "none" else None
            image = cache.image(sample, size, flip)
            made.append(Entry(image, text, empty, where, sample.kind, draws, sample.weight))
    return made


def suiting_sizes(size: tuple[int, int], resolutions: Sequence[int]) -> list[int]:
    """Return the resolutions a picture of a size is not much enlarged at, and always the lowest, in rising order."""
    rising = sorted(resolutions)
    return [r for r in rising if r == rising[0] or r * r <= ENLARGED * size[0] * size[1]]


def batches(shapes: Sequence[tuple], repeats: Sequence[int], size: int, seed: object, epoch: int) -> list[list[int]]:
    """Return one epoch as lists of sample numbers: every sample ``repeats`` times, shuffled by (seed, epoch).

    Samples of one shape share a batch; the last batch of a shape may be smaller. The number of batches is the same in
    every epoch.
    """
    random = generator(seed, "order", epoch)
    groups: dict[tuple, list[int]] = {}
    for number, count in enumerate(repeats):
        groups.setdefault(shapes[number], []).extend([number] * count)
    made = []
    for group in groups.values():
        order = [group[i] for i in torch.randperm(len(group), generator=random).tolist()]
        made += [order[start : start + size] for start in range(0, len(order), size)]
    return [made[i] for i in torch.randperm(len(made), generator=random).tolist()]


def collate(parts: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Stack the encoded parts of several samples; texts of unlike length are padded, as their ``text_mask`` says."""
    return {name: _stack([part[name] for part in parts], name.startswith("text")) for name in parts[0]}


def read(image: Path, text: Path) -> dict[str, torch.Tensor]:
    """Return everything a family needs to learn one sample, from its two cache files."""
    return {**_load(image), **_load(text)}


@lru_cache(maxsize=FILES_KEPT)
def _load(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path)


def _stack(tensors: list[torch.Tensor], pad: bool) -> torch.Tensor:
    if not pad or len({len(tensor) for tensor in tensors}) == 1:
        return torch.stack(tensors)
    longest = max(len(tensor) for tensor in tensors)
    return torch.stack([torch.cat([t, t.new_zeros(longest - len(t), *t.shape[1:])]) for t in tensors])


def _shape(parts: dict[str, torch.Tensor]) -> tuple:
    """Return what two samples must agree on to share a batch: all shapes but the text's, and the grids themselves."""
    return tuple(
        (name, *tensor.shape, *(tensor.flatten().tolist() if name.endswith("grid") else ()))
        for name, tensor in sorted(parts.items())
        if not name.startswith("text")
    )
