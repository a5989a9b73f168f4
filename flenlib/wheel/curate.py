"""Step 1.1: a folder of pictures becomes the source dataset; what cannot be used is left out, with reasons."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from PIL import Image
from tqdm.auto import tqdm

from flenlib.content import Refused, allow
from flenlib.dataset import caption_lint, caption_rules, captions, imports, marks
from flenlib.dataset.caption_lint import Captioned
from flenlib.dataset.images import contact_sheet, open_image, read_provenance, save_picture, sha256
from flenlib.dataset.prompts import FACE_ANGLES
from flenlib.dataset.records import Dataset, ImageRecord
from flenlib.draw.describe import describe
from flenlib.draw.pictures import about, check_person
from flenlib.measure.face_store import keep
from flenlib.measure.measures import FACES_FOUND, MEASURES, Measure, of_picture, recorded
from flenlib.measure.seen import Seen
from flenlib.params import Captions, Character, Curate, Iteration
from flenlib.project import Project, from_base
from flenlib.steps import Criterion, Hand
from flenlib.wheel import candidates, results
from flenlib.wheel.candidates import Candidate


@dataclass(frozen=True)
class Curated:
    """What curation came to: the dataset, and a table of every picture with the reasons against it."""

    dataset: Dataset
    table: pd.DataFrame
    criteria: list[Criterion]


def gather(project: Project, settings: Curate, hand: Hand | None = None) -> Path:
    """Return the folder of raw pictures; with no folder set, have a hand draw twelve of one person.

    Raises ValueError when there is neither.
    """
    if settings.folder:
        return from_base(settings.folder).resolve()
    if hand is None:
        raise ValueError("curate.folder is empty: name a folder of pictures of the character")
    raw = project.data("raw") / f"person_{settings.seed}"
    if not raw.is_dir() or len(list(raw.glob("*.png"))) < 12:
        hand.draw_sources(settings.seed, raw)
    return raw


def folder_sentence(project: Project, settings: Curate, hand: Hand | None = None) -> str:
    """Return how many pictures there are of whom, and where. Raises what `gather` raises."""
    folder = gather(project, settings, hand)
    return f"{len(imports.list_pictures(folder))} pictures of {project.character.subject} in {folder}"


def curate(
    project: Project,
    settings: Curate,
    hand: Hand | None = None,
    measures: Sequence[Measure] = MEASURES,
    table: Captions = captions.TEMPLATE,
) -> Curated:
    """Import the usable pictures into ``source/<version>`` and give the reasons against the others.

    The raw folder is only read. Pictures nobody has captioned get a caption by the ``table``; captions and attributes a
    person has edited in an existing ``metadata.json`` are kept. A picture marked as generated stays so; one with a
    caption this character may not be taught by is left out. Raises Refused, naming the file, for a picture marked as
    one of a real person when the character is none.
    """
    folder = gather(project, settings, hand)
    pictures = imports.list_pictures(folder)
    names, renamed = imports.new_names(pictures)
    print(*renamed, sep="\n", end="\n" if renamed else "")
    imports.check_beside(folder)
    found = [Candidate(path, names[path]) for path in pictures]
    for candidate in tqdm(found, desc="checking pictures", unit="picture"):
        candidates.check(candidate, settings)
    candidates.reject_duplicates(found)
    usable = [candidate for candidate in found if not candidate.reasons]
    for candidate in usable:
        check_person(project.character, candidate.path)
    apart = candidates.find_strangers(usable)
    dataset = _write(project, usable, settings, measures, table)
    unread = [
        Candidate(path, path.name, reasons=(f"{path.suffix.lower()} is not read here; save it as PNG or JPEG",))
        for path in imports.list_unread(folder)
    ]
    if table.captioner:
        print(*describe(dataset, project.character, table).left, sep="\n")
    return Curated(dataset, candidates.table([*found, *unread]), [*_criteria(dataset, project, settings), apart])


def _write(
    project: Project, usable: list[Candidate], settings: Curate, measures: Sequence[Measure], table: Captions
) -> Dataset:
    dataset = Dataset.open(project.data("source"), create=True)
    before = {r.filename: r for r in dataset.images}
    dataset.images = []
    for candidate in usable:
        marked = marks.read(candidate.path)
        kept = _import(project.character, dataset.folder / candidate.filename, candidate, marked)
        known = before.get(candidate.filename) if kept else None
        record = known or _record(candidate, sha256(dataset.folder / candidate.filename))
        record.kind, record.depth = _origin(candidate.path, marked)
        record.quality = candidate.quality
        keep(dataset.path(record), candidate.faces)
        record.measurements |= recorded(of_picture(Seen(open_image(candidate.path), candidate.faces), measures))
        try:
            _settle_words(project, dataset.path(record), record, candidate, table)
        except Refused as refused:
            candidate.reasons += (str(refused),)
        else:
            dataset.add(record)
    for name in {*before, *(candidate.filename for candidate in usable)} - {r.filename for r in dataset.images}:
        for left in (dataset.folder / name, (dataset.folder / name).with_suffix(".txt")):
            left.unlink(missing_ok=True)
    for record in _choose_held_out(dataset, settings):
        record.held_out = True
    dataset.save()
    return dataset


def _settle_words(project: Project, path: Path, record: ImageRecord, candidate: Candidate, table: Captions) -> None:
    """Take a person's caption from ``metadata.json`` or the .txt here, else beside the raw picture; else build one.

    The words stay as they are written; only a missing trigger is added. An angle edited in ``metadata.json`` stands;
    an unknown or estimated one is replaced by what the name or the caption gives now.
    """
    built = captions.build(project.character, candidate.attributes, table)
    written, beside = record.extra.get("caption_written"), captions.read_txt(path)
    if record.caption == written and beside and beside != written:
        record.caption = beside
    if record.angle is None or estimated(record):
        record.angle = candidate.attributes.get("angle")
        record.attributes |= {"angle": record.angle} if record.angle else {}
        record.extra.pop("angle_estimated", None)
        record.extra |= {"angle_estimated": record.angle} if candidate.estimated else {}
    edited = record.caption not in ("", record.extra.get("caption_made", built))
    if not edited:
        described = record.extra.get("described") if table.captioner else None
        made = caption_rules.edit(described, project.character, table).after if described else built
        record.caption = imports.caption_beside(candidate.path) or made
    elif "caption_of" in record.extra:
        record.caption = captions.renamed(record.caption, record.extra["caption_of"], project.character)
    _settle_trigger(project.character, record, candidate, table)
    allow(project.character, record.caption, f"caption of {record.filename}")
    captions.write_txt(path, record.caption)
    record.extra |= {"caption_written": record.caption, "caption_of": project.character.subject}
    record.extra |= {} if edited else {"caption_made": record.caption}


def _settle_trigger(character: Character, record: ImageRecord, candidate: Candidate, table: Captions) -> None:
    """Add the trigger to a caption without it, which could not be trained on, and note all there is to warn of."""
    caption = captions.with_trigger(record.caption, character)
    added = ["trigger added: the caption had none"] if caption != record.caption else []
    record.caption = caption
    found = caption_lint.lint([Captioned.of(record)], character, table.model_copy(update={"outfits": {}}))
    candidate.warnings += (*added, *(finding.sentence for finding in found if finding.picture))


def estimated(record: ImageRecord) -> bool:
    """Say whether a source picture's angle is an estimate; one a person has changed since is not."""
    return record.angle is not None and record.extra.get("angle_estimated") == record.angle


def _origin(path: Path, marked: marks.Marks) -> tuple[str, int]:
    """Return the kind and the depth of a raw picture: what a model drew is at least one generation from a real one."""
    beside = imports.record_beside(path)
    depth = max(beside.depth if beside else 0, int(bool(marked.generated_by)))
    return ("generated" if depth else "source"), depth


def _import(character: Character, target: Path, candidate: Candidate, marked: marks.Marks) -> bool:
    """Save a picture as PNG with its provenance; return whether the same picture was there already."""
    digest = sha256(candidate.path)
    if _original(target) == digest:
        return True
    before = marked.provenance
    facts = about(character) | {"original": candidate.name, "original_sha256": digest}
    facts |= {"made_by": marked.generated_by or before.get("made_by") or "import"}
    facts |= {name: before[name] for name in ("person", "scene") if name in before}  # of the mini studio's own pictures
    save_picture(open_image(candidate.path), target, facts)
    return False


def _original(target: Path) -> str | None:
    try:
        return read_provenance(target).get("original_sha256")
    except (FileNotFoundError, ValueError):  # not imported yet, or cut short by a crash: it is imported anew
        return None


def _record(candidate: Candidate, digest: str) -> ImageRecord:
    attributes = dict(candidate.attributes)
    return ImageRecord(
        filename=candidate.filename,
        sha256=digest,
        caption="",
        angle=attributes.get("angle"),
        expression=attributes.get("expression"),
        quality=candidate.quality,
        kind="source",
        depth=0,
        parent=None,
        prompt=None,
        seed=None,
        models={},
        measurements={},
        label=None,
        attributes=attributes,
        extra={"angle_estimated": attributes["angle"]} if candidate.estimated else {},
    )


def _choose_held_out(dataset: Dataset, settings: Curate) -> list[ImageRecord]:
    """Pick pictures with one face, so that there is something to measure against, leaving every angle in training.

    Of drawings in which too few faces are found (``expect_face`` is off), any are taken: the loss is measured on them.
    """
    for record in dataset.images:
        record.held_out = False
    fit = [r for r in dataset.images if FACES_FOUND.read(r.measurements) == 1 and r.angle in (*FACE_ANGLES, None)]
    if len(fit) < settings.held_out and not settings.expect_face:
        fit = list(dataset.images)
    random.Random(settings.seed).shuffle(fit)
    left = Counter(r.angle for r in dataset.images)
    chosen: list[ImageRecord] = []
    for record in fit:
        if len(chosen) < settings.held_out and left[record.angle] > 1:
            chosen.append(record)
            left[record.angle] -= 1
    return chosen if len(chosen) > 1 else []


def sheet(dataset: Dataset) -> Image.Image:
    """Return the source pictures, each with what is known of it: angle, expression, whether it is held out."""
    titles = []
    for record in dataset.images:
        known = [f"{record.angle or 'angle unknown'}{' (estimated)' if estimated(record) else ''}", record.expression]
        titles.append(" ".join(filter(None, [*known, "(held out)" if record.held_out else ""])))
    return contact_sheet([dataset.path(r) for r in dataset.images], titles, columns=6)


def _criteria(dataset: Dataset, project: Project, settings: Curate) -> list[Criterion]:
    count = len(dataset.images)
    angles = {r.angle for r in dataset.images if r.angle}
    said = {r.angle for r in dataset.images if r.angle and not estimated(r)}
    seen = ", ".join(angle if angle in said else f"{angle} (estimated)" for angle in sorted(angles)) or "none recorded"
    if len(angles) < settings.minimum_angles:
        seen += "; add other views, or say the angle in the name (maya_profile-left.jpg) or in a .txt beside it"
    uncaptioned = [r.filename for r in dataset.images if not captions.has_trigger(r.caption, project.character)]
    held = sum(r.held_out for r in dataset.images)
    return [
        Criterion(
            f"at least {settings.minimum_usable} usable pictures", count >= settings.minimum_usable, f"{count}",
            blocking=True,
        ),
        Criterion(
            f"at least {settings.minimum_angles} angles", len(angles) >= settings.minimum_angles, seen
        ),
        Criterion("every picture captioned with the trigger", not uncaptioned, ", ".join(uncaptioned) or "all"),
        Criterion(f"{settings.held_out} pictures held out to measure against", held == settings.held_out, f"{held}"),
    ]  # fmt: skip


def result(curated: Curated) -> results.CurateSource:
    """Return what step 1.1 came to."""
    usable, total = curated.dataset.images, len(curated.table)
    return results.CurateSource(
        sentence=f"{len(usable)} of {total} pictures usable, {sum(r.held_out for r in usable)} of them held out",
        criteria=curated.criteria,
        pictures=total,
        usable=len(usable),
    )


def run(project: Project, settings: Iteration, hand: Hand | None = None) -> results.CurateSource:
    """Do step 1.1: import the usable pictures of the folder as the source dataset."""
    return result(curate(project, settings.curate, hand, table=settings.captions)).check(settings.anyway)
