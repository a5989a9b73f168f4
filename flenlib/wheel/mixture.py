"""Which pictures a character LoRA learns from, and how often each is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from flenlib.content import allow
from flenlib.dataset.records import Dataset, ImageRecord
from flenlib.measure.coverage import value_of
from flenlib.params import Character, Train
from flenlib.train.cache import Sample


def mixture(
    character: Character,
    source: Dataset,
    extra: Sequence[tuple[str, Dataset, Sequence[ImageRecord]]],
    settings: Train,
    real_share: float = 0.5,
) -> list[Sample]:
    """Return the training samples: sources (never held-out ones), repeated to be ``real_share`` of what is drawn.

    ``extra`` are (name, dataset, records) of pictures the kit made; sources that a model drew count as made too.
    ``source_repeats`` overrides the repeats. Real pictures in every version keep a self-training loop from drifting.
    Raises ValueError when there is nothing to learn from, Refused for a caption this character may not be taught by.
    """
    sources = [r for r in source.images if not r.held_out]
    if not sources:
        raise ValueError(f"{source.folder} holds no picture to train on; run step 1.1 (notebook 11) first")
    real, drawn = [r for r in sources if not r.depth], [r for r in sources if r.depth]
    made = [("generated source", source, drawn), *extra]
    others = [(name, dataset, record) for name, dataset, records in made for record in records]
    needed = real_share / (1 - real_share) * len(others) / max(1, len(real))
    repeats = settings.source_repeats or max(1, math.ceil(needed))
    samples = [_sample(character, source, r, "source", repeats) for r in real]
    return samples + [_sample(character, dataset, record, name) for name, dataset, record in others]


def held_out(character: Character, source: Dataset) -> list[Sample]:
    """Return the sources held out from training, to measure the loss on. Raises Refused as `mixture` does."""
    return [_sample(character, source, r, "held out") for r in source.images if r.held_out]


def _sample(character: Character, dataset: Dataset, record: ImageRecord, name: str, repeats: int = 1) -> Sample:
    framing, caption = value_of(record, "pose") or "", allow(character, record.caption, f"caption of {record.filename}")
    return Sample(dataset.path(record), caption, repeats, name=f"{name}/{record.filename}", kind=framing)


def mixture_table(samples: Sequence[Sample]) -> pd.DataFrame:
    """Return, for each dataset: pictures, repeats, and the share of what training draws."""
    frame = pd.DataFrame({"dataset": [s.name.split("/")[0] for s in samples], "repeats": [s.repeats for s in samples]})
    table = frame.groupby("dataset")["repeats"].agg(pictures="count", drawn="sum")
    table["share"] = (table["drawn"] / table["drawn"].sum()).round(3)
    return table
