"""Pictures described by a captioner, one at a time: what is described is kept, and not described again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tqdm.auto import tqdm

from flenlib.content import Refused, allow
from flenlib.dataset import caption_rules, captions
from flenlib.dataset.images import open_image
from flenlib.dataset.records import Dataset, ImageRecord
from flenlib.models import captioners
from flenlib.models.captioners import Captioner, Found
from flenlib.params import Captions, Character
from flenlib.predict.captioners import expected


@dataclass(frozen=True)
class Described:
    """How many captions were written, and a sentence for each picture that kept the one it had."""

    written: int
    left: tuple[str, ...]


def waiting(dataset: Dataset, character: Character, table: Captions, found: Found) -> list[ImageRecord]:
    """Return the records whose caption is not a person's, and which this captioner has not described."""
    return [
        record
        for record in dataset.images
        if record.extra.get("described_by") != _mark(found)
        and record.caption in ("", record.extra.get("described_as"), captions.build(character, record, table))
    ]


def describe(
    dataset: Dataset, character: Character, table: Captions, device: str = "auto", only: Sequence[str] | None = None
) -> Described:
    """Describe what `waiting` returns (of ``only`` these names) with the table's captioner, and edit it by its rules.

    The description stays on record (``described``); a person's captions are not touched. Each caption is kept as it is
    made, so that a run that was stopped goes on. Raises RuntimeError before loading what does not fit this machine.
    """
    found = captioners.find(table.captioner)
    records = [r for r in waiting(dataset, character, table, found) if only is None or r.filename in only]
    if not records:
        return Described(0, ())
    print(expected(found, table.captioner_precision, len(records), device=device))
    question = allow(character, captioners.QUESTION, "question to the captioner")
    captioner = Captioner.load(found, table.captioner_precision, device)
    left = []
    for record in tqdm(records, desc="describing", unit="picture"):
        try:
            text = allow(character, captioner.describe(open_image(dataset.path(record)), question), "description")
            caption = allow(character, caption_rules.edit(text, character, table).after, "caption")
        except (ValueError, Refused) as error:
            left.append(f"{record.filename} keeps its caption: {error}")
            continue
        record.caption = caption
        record.extra |= {"described": text, "described_by": _mark(found), "described_as": caption}
        record.extra |= {"caption_made": caption, "caption_written": caption}
        captions.write_txt(dataset.path(record), caption)
        dataset.keep(record)
    dataset.save()
    captioner.free()
    return Described(len(records) - len(left), tuple(left))


def _mark(found: Found) -> str:
    return f"{found.name}@{found.revision}"
