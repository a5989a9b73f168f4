"""The batches of a run: which samples, at which size, in which order. A function of the step, and of no state.

Everything is encoded before the first step and found again by its content (``cache.py``). What is drawn follows from
the samples, the settings and the number of the micro-step alone, so a run that goes on sees what it would have seen.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from tqdm.auto import tqdm

from flenlib.dataset.images import open_image
from flenlib.models.batch import Batch, Encoded, collate
from flenlib.params import Train
from flenlib.train import focus
from flenlib.train.cache import Cache, Sample, read
from flenlib.train.flow import generator

ENLARGED = 1.25
"""A picture is trained at a resolution when that has at most this many times its pixels (or at the lowest one)."""


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
        self.shapes = [(read(entry.image) | read(entry.text)).shape() for entry in self.entries]
        self.weighted = any(entry.weight != 1 for entry in self.entries)
        self.parts = self._parts_of_run()
        self._last: tuple[tuple[int, int], list[list[int]]] | None = None

    def batch(self, number: int, random: torch.Generator) -> Batch:
        """Return micro-step 0, 1, 2, ... of the run as CPU tensors, some captions dropped.

        Beside what the family reads there are ``focus`` (B, tokens) and ``weight`` (B,) where the loss needs them.
        """
        part = next(part for part in self.parts if number < part.end)
        epoch, place = divmod(number - part.begin, part.batches)
        order = self._epoch(part, epoch)[place]
        dropped = (torch.rand(len(order), generator=random) < self.settings.caption_dropout).tolist()
        return collate([self._encoded(self.entries[i], drop) for i, drop in zip(order, dropped, strict=True)])

    def _encoded(self, entry: Entry, drop: bool) -> Encoded:
        found = read(entry.image) | read(entry.empty if drop else entry.text)
        if entry.focus:
            found |= Encoded(focus=focus.weights(read(entry.focus).focus, self.settings.unfocused))
        return found | Encoded(weight=torch.tensor(entry.weight)) if self.weighted else found

    def _parts_of_run(self) -> list[Part]:
        """Return the phases of the curriculum; without one, the whole run."""
        micro, parts = self.settings.accumulate, list[Part]()
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


def enlarged(samples: Sequence[Sample], settings: Train, native: int) -> str:
    """Return a sentence on the pictures that even the lowest resolution enlarges much; empty where there are none.

    ``native`` is the side in pixels that pictures are learnt at where the settings name none.
    """
    side = min(settings.resolution or [native])
    sizes = {sample.image: open_image(sample.image).size for sample in samples}
    small = [path for path, (width, height) in sizes.items() if side * side > ENLARGED * width * height]
    if not small:
        return ""
    least = min(small, key=lambda path: math.prod(sizes[path]))
    return (
        f"{len(small)} of {len(sizes)} pictures are enlarged to the {side} x {side} pixels they are learnt at, the "
        f"smallest, {least.name}, from {' x '.join(map(str, sizes[least]))}: what is learnt of them is blurred; give "
        "larger originals or a lower resolution"
    )


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
