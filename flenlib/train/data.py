"""What a params file of one training names, read into samples: kohya folders, dataset folders, triplets, masks, priors.

Records and triplets marked as held out, and everything under ``held_out``, are measured and never learnt from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from flenlib.content import allow
from flenlib.dataset import caption_lint, folders, triplets
from flenlib.dataset.caption_lint import Captioned, Finding, Tokens
from flenlib.dataset.records import METADATA, Dataset
from flenlib.draw.pictures import check_person
from flenlib.measure.coverage import value_of
from flenlib.params import Character, TrainRun
from flenlib.project import base, from_base
from flenlib.train.cache import Sample

PRIOR = "prior"
"""The kind of a prior-preservation sample."""


@dataclass(frozen=True)
class Data:
    """The samples of one training: to learn from, and to measure on; and the captions of the former as lint sees them.

    Instructions to an editor and captions of prior pictures are no captions of the character.
    """

    samples: list[Sample]
    held_out: list[Sample]
    captions: list[Captioned] = field(default_factory=list)


def gather(run: TrainRun) -> Data:
    """Read everything the params file names.

    Raises FileNotFoundError for a missing folder, ValueError in one sentence for what is wrong inside one (a picture
    without a caption, a caption without the trigger, a folder without a number), and Refused for a caption this
    character may not be taught by, and for a picture of a real person when the character is none.
    """
    named = [base() / "data" / run.character.name, *map(from_base, (*run.data, *run.held_out, *run.prior))]
    read = [found for entry in run.data for found in _read(from_base(entry), run.character, named)]
    kept = [found[0] for entry in run.held_out for found in _read(from_base(entry), run.character, named)]
    samples = [sample for sample, held_out, _ in read if not held_out]
    held_out = [sample for sample, held_out, _ in read if held_out] + kept
    captioned = [seen for sample, held_out, seen in read if not held_out and not sample.references]
    for entry in run.prior:
        items = folders.read_repeats(from_base(entry), "")
        samples += [replace(_of_item(run.character, item), kind=PRIOR, weight=run.prior_weight) for item in items]
    references = tuple(from_base(path) for path in run.references)
    samples, held_out = ([_with(s, references) for s in group] for group in (samples, held_out))
    for path in {path for sample in (*samples, *held_out) for path in (sample.image, *sample.references)}:
        check_person(run.character, path)
    if run.masks:
        samples = _masked(samples, from_base(run.masks))
    return Data(samples, held_out, captioned)


def lint(run: TrainRun, found: Data, tokens: Tokens | None = None) -> list[Finding]:
    """Return the faults of the captions of a training; ``tokens`` says how the model's text encoder counts."""
    return caption_lint.lint(found.captions, run.character, run.captions, tokens) if found.captions else []


def mix(samples: Sequence[Sample]) -> pd.DataFrame:
    """Return, for each folder of samples: pictures, repeats, how many an epoch draws, and the share of all that is."""
    return folders.mix([folders.Item(s.image, s.caption, s.repeats, s.name.split("/")[0]) for s in samples])


def _read(
    path: Path, character: Character, named: Sequence[Path]
) -> Iterator[tuple[Sample, bool, Captioned]]:  # fmt: skip
    """Yield the samples of one folder, whether each is held out, and its caption as lint sees it.

    Pictures of triplets lie in the folders that were ``named``.
    """
    if (path / METADATA).is_file():
        yield from _of_dataset(Dataset.open(path), character)
    elif (path / triplets.FILE).is_file():
        found = triplets.read(path, named)
        triplets.check(path, found, minimum=0)
        for triplet in found:
            source, target = triplet.paths(path)
            name = f"{path.name}/{target.name}"
            kind = "positive" if triplet.positive else "correction"
            text = allow(character, triplet.edit_prompt, f"instruction of {target.name}")
            sample = Sample(target, text, references=(source,), name=name, kind=kind)
            yield sample, triplet.held_out, Captioned(name, text)
    else:
        for item in folders.read_repeats(path, character.trigger):
            yield _of_item(character, item), False, Captioned(item.image.name, item.caption, concept=item.concept)


def _of_dataset(dataset: Dataset, character: Character) -> Iterator[tuple[Sample, bool, Captioned]]:
    records = [record for record in dataset.images if not record.label or record.label["label"] == "good"]
    folders.check_captions([(dataset.path(r), r.caption) for r in records], character.trigger, "one in metadata.json")
    for record in records:
        name = f"{dataset.folder.name}/{record.filename}"
        framing = value_of(record, "pose") or ""
        text = allow(character, record.caption, f"caption of {record.filename}")
        yield Sample(dataset.path(record), text, name=name, kind=framing), record.held_out, Captioned.of(record)


def _of_item(character: Character, item: folders.Item) -> Sample:
    text = allow(character, item.caption, f"caption of {item.image.name}")
    return Sample(item.image, text, item.repeats, name=f"{item.concept}/{item.image.name}", kind=item.concept)


def _with(sample: Sample, references: tuple[Path, ...]) -> Sample:
    return sample if sample.references else replace(sample, references=references)


def _masked(samples: Sequence[Sample], folder: Path) -> list[Sample]:
    """Give each sample the mask picture of its name, where there is one. Raises ValueError when no sample has one."""
    masks = {path.stem: path for path in sorted(folder.glob("*.png"))}
    found = [replace(sample, mask=masks.get(Path(sample.image).stem)) for sample in samples]
    if not any(sample.mask for sample in found):
        raise ValueError(f"{folder} holds no mask of any picture; name masks as their pictures, such as 001.png")
    return found
