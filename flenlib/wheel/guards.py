"""What wheel 1 trains on in every turn, and the guards against drift in a loop that learns from its own pictures.

Each guard is a setting (``params.Guards``), on by default; its reason is in docs/process.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from flenlib.dataset import caption_lint, captions
from flenlib.dataset.caption_lint import Captioned, Finding, Tokens
from flenlib.dataset.records import Dataset, ImageRecord
from flenlib.params import Captions, Guards, Train
from flenlib.project import Project
from flenlib.steps import Criterion, lint_criterion, record
from flenlib.train.cache import Sample
from flenlib.wheel import results
from flenlib.wheel.mixture import mixture, mixture_table


@dataclass(frozen=True)
class Inherited:
    """Pristine pictures of earlier iterations that this one learns from, and a sentence for each group left out."""

    pictures: list[tuple[str, Dataset, list[ImageRecord]]]
    left_out: list[str]

    @property
    def records(self) -> list[ImageRecord]:
        """All records, the oldest iteration first."""
        return [record for _, _, records in self.pictures for record in records]


@dataclass(frozen=True)
class TrainingSet:
    """The samples of a training, the greatest depth among them, which guards hold, and the faults of captions."""

    samples: list[Sample]
    depth: int
    criteria: list[Criterion]
    findings: list[Finding]


def inherit(project: Project, guards: Guards) -> Inherited:
    """Return the pristine pictures of earlier iterations that the guards let through."""
    pictures, left_out = [], []
    earlier, before = [], project.before()
    while before is not None:
        earlier.append(before)
        before = None if guards.previous_only else before.before()
    for each in reversed(earlier):
        folder = each.data("pristine")
        if not (folder / "metadata.json").is_file():
            left_out.append(f"{each.iteration} has no pristine pictures")
            continue
        if guards.only_shipped and not shipped(each):
            left_out.append(f"without {each.iteration}'s pristine pictures: their LoRA failed its shipping check")
            continue
        dataset = Dataset.open(folder)
        shallow = [r for r in dataset.images if not guards.deepest or r.depth <= guards.deepest]
        if len(shallow) < len(dataset.images):
            count = len(dataset.images) - len(shallow)
            left_out.append(
                f"{count} of {each.iteration} are more than {guards.deepest} generations from a real picture"
            )
        pictures.append((f"pristine {each.iteration}", dataset, shallow))
    return Inherited(pictures, left_out)


def shipped(project: Project) -> bool:
    """Say whether an iteration's own pristine pictures passed step 1.8: its refined LoRA may be used.

    An iteration without step 1.8 has refused nothing.
    """
    compared = record.result(project, results.RetrainAndCompare)
    return compared is None or compared.ship == results.refined(project.iteration)


def training_set(
    project: Project,
    source: Dataset,
    enriched: Dataset,
    settings: Train,
    guards: Guards,
    pristine: Dataset | None = None,
    table: Captions = captions.TEMPLATE,
    tokens: Tokens | None = None,
) -> TrainingSet:
    """Return what an iteration's LoRA learns from: sources, good edits, inherited pictures, its own ``pristine``.

    Captions are linted by their ``table`` and, where ``tokens`` says how the text encoder counts, for length.
    Raises Refused for a caption this character may not be taught by.
    """
    inherited = inherit(project, guards)
    extra = [("enriched", enriched, enriched.labelled("good")), *inherited.pictures]
    if pristine is not None:
        extra.append(("pristine", pristine, pristine.images))
    samples = mixture(project.character, source, extra, settings, guards.real_share)
    learnt = [r for r in source.images if not r.held_out] + [r for _, _, records in extra for r in records]
    depth = max((record.depth for record in learnt), default=0)
    findings = caption_lint.lint([Captioned.of(record) for record in learnt], project.character, table, tokens)
    criteria = _criteria(project, source, samples, inherited, depth, guards)
    return TrainingSet(samples, depth, [*criteria, lint_criterion(findings)], findings)


def drawn_depth(project: Project) -> int:
    """Return the depth of what this iteration's LoRA draws: one more than the deepest picture it learned from.

    Raises FileNotFoundError before step 1.4 has finished.
    """
    return 1 + record.needed(project, results.TrainCharacter).depth


def _criteria(
    project: Project, source: Dataset, samples: list[Sample], inherited: Inherited, depth: int, guards: Guards
) -> list[Criterion]:
    table = mixture_table(samples)
    share = float(table["share"].get("source", 0.0))
    names = ", ".join(f"{len(records)} of {name}" for name, _, records in inherited.pictures) or "none"
    found = "; ".join([f"{names} learnt from", *inherited.left_out])
    rules = [
        "of the iteration before only" if guards.previous_only else "of all earlier iterations",
        *([f"at most {guards.deepest} generations deep"] if guards.deepest else []),
        *(["only if they passed step 1.8"] if guards.only_shipped else []),
    ]
    real = f"at least {guards.real_share:.0%} of what is drawn" if guards.real_share else "in any share (guard off)"
    made = [
        Criterion(f"guard: real pictures {real}", share >= guards.real_share - 5e-4, f"{share:.0%}"),
        Criterion(
            f"guard: pristine pictures {', '.join(rules)}",
            not guards.deepest or depth <= guards.deepest,  # the iteration's own pictures are not filtered by depth
            f"{found}; the deepest picture is {depth} from a real one",
        ),
    ]
    before = project.before()
    if before and (before.data("source") / "metadata.json").is_file():
        now = {r.sha256 for r in source.images if r.held_out}
        then = {r.sha256 for r in Dataset.open(before.data("source")).images if not r.held_out}
        made.append(
            Criterion("guard: what is held out was never trained on before", not now & then, f"{len(now & then)} were")
        )
    return made
