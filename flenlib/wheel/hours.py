"""Hours, memory and money of an iteration before it starts: predicted, and measured where this machine has done it.

A picture's seconds are measured by when its neighbours were made, a training's by its log, and only where a step's
record says that this machine did it with the same models and settings.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from flenlib.dataset.images import read_provenance
from flenlib.measure.plots import Plot, bars
from flenlib.models import placement, registry
from flenlib.params import Iteration, TrainRun
from flenlib.predict import drawing, plan
from flenlib.predict.gpus import GPU, GPUS, pick_gpu
from flenlib.predict.prices import Prices, load
from flenlib.project import Project
from flenlib.steps import StepResult, record
from flenlib.train import checkpoints
from flenlib.wheel import results, work
from flenlib.wheel.machine import EXAMPLE_GPU
from flenlib.wheel.work import PERSON, By, Draw, Learn, Work

PREDICTED, MEASURED, ASSUMED, UNKNOWN = "predicted", "measured", "assumed", "not known before a run"
BREAK = 30.0
"""Seconds more than ten pictures' worth between two pictures are a break, in which nothing was drawn."""
SEEDS_GPU = "L40S 48 GB"
"""The GPU the process documents give hours for."""


@dataclass(frozen=True)
class Row:
    """One piece of work on one GPU: seconds each (None: not known), GiB at its worst moment, how this is known."""

    work: Work
    count: int
    seconds: float | None
    gib: float | None
    known: str

    @property
    def hours(self) -> float:
        """Hours of all of it; 0 where nothing is known."""
        return self.count * (self.seconds or 0.0) / 3600

    @property
    def by_person(self) -> bool:
        """Whether a person does it, and no machine has to be paid meanwhile."""
        return isinstance(self.work.how, By) and self.work.how.who == PERSON


def rows(works: Sequence[Work], gpu: GPU, measured: dict[Work, Row] | None = None) -> list[Row]:
    """Return what each piece of work takes on a GPU: predicted, or measured where that is given."""
    known = measured or {}
    made = [known.get(each) or _predicted(each, gpu) for each in works]
    return [replace(r, gib=_predicted(r.work, gpu).gib) if r.gib is None and r.work in known else r for r in made]


def _predicted(each: Work, gpu: GPU) -> Row:
    if isinstance(each.how, By):
        return Row(each, each.count, each.how.seconds, None, ASSUMED)
    seconds, gib = predicted(each.how, gpu)
    return Row(each, each.count, seconds, gib, PREDICTED if seconds is not None else UNKNOWN)


def predicted(how: Draw | Learn, gpu: GPU) -> tuple[float | None, float | None]:
    """Return the seconds and the GiB of a picture or a micro-step on a GPU; nothing is predicted of a small model."""
    model = registry.resolve(how.model)
    if model.small:
        return None, None
    where: dict[str, Any] = {"precision": how.precision, "offload": how.offload}
    if isinstance(how, Draw):
        sampled: dict[str, Any] = {
            "side": how.side,
            "steps": how.steps,
            "guidance": how.guidance,
            "references": how.references,
        }
        if how.while_training:
            return drawing.seconds(model.family, **where | {"offload": "none"}, **sampled, gpu=gpu), None
        memory = plan.sampling(
            model.family, **where, resolution=how.side, references=how.references, gpu=gpu, nearest=False
        ).peak_gib
        return drawing.seconds(model.family, **where, **sampled, gpu=gpu), memory
    fields = ("batch_size", "rank", "targets", "gradient_checkpointing", "references", "optimizer", "adapter", "ema")
    asked: dict[str, Any] = {name: getattr(how, name) for name in fields}
    each = [
        plan.plan(model.family, **where, **asked, resolution=size, gpu=gpu, nearest=False) for size in how.resolution
    ]
    times = [found.seconds_per_step for found in each]
    return (None if None in times else statistics.mean(times)), max(found.peak_gib for found in each)


def measured(project: Project, works: Sequence[Work], prices: Prices) -> dict[Work, Row]:
    """Return what this machine took for pieces of work, or for the same in another step or an earlier iteration."""
    found: dict[Work, Row] = {}
    each: Project | None = project
    while each is not None:
        done = list(_done(each, prices))
        for mine in (one for one in works if one not in found):
            same = [then for then in done if then.work.how == mine.how]
            itself = [then for then in same if then.work.made == mine.made]
            if itself:
                found[mine] = replace(itself[0], work=mine)
            elif same:
                where = same[0].work.step if each is project else each.iteration
                found[mine] = replace(same[0], work=mine, count=mine.count, known=f"{MEASURED} in {where}")
        each = each.before()
    return found


def _done(project: Project, prices: Prices) -> Iterator[Row]:
    """Yield the pieces of work this machine did in an iteration: count, seconds by what they left, the step's GiB."""
    for step in (kind.notebook for kind in DONE_BY):
        written = record.read(project, step)
        if written is None or not _same_machine(written.machine):
            continue
        try:
            then = Iteration.model_validate(
                {"character": written.character, "iteration": project.iteration, **written.parameters}
            )
        except ValidationError:  # of a version of the kit with other settings
            continue
        for each in work.of_iteration(then, project, prices.person):
            if each.step == step and each.made and not isinstance(each.how, By) and (took := _took(each)):
                count, seconds = took
                yield Row(each, count, seconds, written.machine.get("peak_gpu_gib"), MEASURED)


DONE_BY = (
    results.Enrich, results.TrainCharacter, results.GenerateSynthetic, results.RetrainAndCompare,
    results.CurateCorrections, results.TrainEditor, results.CompareEditors,
)  # fmt: skip
"""The steps whose work leaves pictures or a log."""


def _took(each: Work) -> tuple[int, float] | None:
    """Return how often a piece of work was done and its median seconds (pictures: mean without breaks)."""
    if isinstance(each.how, Learn):
        if not each.made.is_file():
            return None
        log = checkpoints.read_log(each.made.parent)
        return (len(log) * each.share, float(log["seconds"].median()) / each.share) if len(log) else None
    pictures = _matching(each.made)
    times = sorted(made for path in pictures if (made := _made_at(path)) is not None)
    gaps = [(b - a).total_seconds() for a, b in itertools.pairwise(times)]
    usual = statistics.median(gaps) if gaps else 0.0
    kept = [gap for gap in gaps if gap <= 10 * usual + BREAK]
    return (len(pictures), statistics.mean(kept)) if len(kept) > 1 else None


def _matching(pattern: Path) -> list[Path]:
    root = next(parent for parent in pattern.parents if "*" not in str(parent))
    return sorted(root.glob(str(pattern.relative_to(root))))


def _made_at(picture: Path) -> datetime | None:
    try:
        return datetime.fromisoformat(read_provenance(picture, whole=True)["made_at"])
    except (KeyError, ValueError):  # drawn by something else, or damaged
        return None


def _same_machine(theirs: dict) -> bool:
    mine = record.machine()
    return all(theirs.get(fact) == mine[fact] for fact in ("device", "cores"))


@dataclass(frozen=True)
class Outlook:
    """What a piece of work will take: a row each on one GPU, and what it would cost on others."""

    rows: list[Row]
    gpu: GPU
    prices: Prices

    @property
    def works(self) -> list[Work]:
        """The pieces of work."""
        return [each.work for each in self.rows]

    @property
    def small(self) -> bool:
        """Whether every model is a small one, of which nothing is predicted."""
        return all(registry.resolve(w.how.model).small for w in self.works if isinstance(w.how, Draw | Learn))

    def table(self) -> pd.DataFrame:
        """Return a row a piece of work: step, what, how many, seconds each, GiB, hours, how that is known."""
        lines = [
            {"step": each.work.step, "what": each.work.what, "how many": each.count,
             "seconds each": _number(each.seconds, 3), "GiB": _number(each.gib, 3),
             "hours": _number(None if each.seconds is None else each.hours, 2), "known": each.known}
            for each in self.rows
        ]  # fmt: skip
        return pd.DataFrame(lines).set_index(["step", "what"])

    def sentence(self) -> str:
        """Return the totals in words, which step dominates, and what does not fit."""
        unknown = sum(each.known == UNKNOWN for each in self.rows)
        if unknown == sum(isinstance(each.work.how, Draw | Learn) for each in self.rows):
            return "how long the models take here is not known: it is measured in the first run"
        where = "this machine" if self.small else self.gpu.name
        said = f"on {where}: {machine_hours(self.rows):.1f} h of the machine"
        first, second = wheels(self.rows)
        said += f" (wheel 1: {first:.1f} h, wheel 2: {second:.1f} h)" if second else ""
        said += f" and {person_hours(self.rows):.1f} h of a person" if person_hours(self.rows) else ""
        longest = max((r for r in self.rows if not r.by_person), key=lambda each: each.hours)
        if longest.hours:
            said += f"; the longest: {longest.work.step}, {longest.work.what}, {longest.hours:.1f} h"
        if unknown:
            said += f"; {unknown} of {len(self.rows)} rows are not known before a run here"
        for each in self.rows:
            if each.gib is not None and each.gib > self.gpu.gib:
                said += f"\n{each.work.step}, {each.work.what}: needs {each.gib:.1f} GiB of the {self.gpu.gib:.0f}"
        return said

    def plot(self) -> Plot:
        """Return the hours of each step as bars, a person's in another colour."""
        steps = list(dict.fromkeys(each.work.step for each in self.rows))
        of_step = [[r for r in self.rows if r.work.step == step] for step in steps]
        return bars(
            {"the machine": [*map(machine_hours, of_step)], "a person": [*map(person_hours, of_step)]}, steps, "hours"
        )

    def cost_table(self) -> pd.DataFrame:
        """Return, for every GPU with a price: its predicted hours for this work, their cost, and that of a picture.

        A GPU that is too small has ``-``. A person's hours cost nothing here, and a rented GPU is given back meanwhile.
        The picture is one of step 1.5, or else the last kind drawn. Small models need no GPU, and cost nothing.
        """
        if self.small:
            return pd.DataFrame({"cost": "none: small models run on the processor"}, index=["this machine"])
        lines = []
        for price in self.prices.gpus:
            found = rows(self.works, GPUS[price.gpu])
            fits = all(each.gib is None or each.gib <= GPUS[price.gpu].gib for each in found)
            known = fits and all(each.seconds is not None for each in found)
            hours = machine_hours(found) if known else None
            lines.append(
                {"GPU": price.gpu, "an hour": self.prices.money(price.hour), "GPU hours": _number(hours, 3),
                 "cost": self.prices.money(None if hours is None else hours * price.hour),
                 "a picture": self._picture(found, price.hour) if known else "-",
                 "price from": price.source, "of": price.date}
            )  # fmt: skip
        return pd.DataFrame(lines).set_index("GPU")

    def seeds_table(self) -> pd.DataFrame:
        """Return the process documents' figures beside those of this iteration."""
        theirs = rows(self.works, GPUS[SEEDS_GPU])
        made = (results.CurateSource, results.Enrich, results.ReviewEnriched)
        price = self.prices.hour(self.gpu.name)
        known = None if price is None or self.small else price
        compared = _of(self.rows, results.RetrainAndCompare)
        return pd.DataFrame(
            [
                ("making the dataset", "2-4 h", _hours(_of(self.rows, *made))),
                (f"training one LoRA on an {SEEDS_GPU}", "4-6 h", _hours(_of(theirs, results.TrainCharacter))),
                ("testing it", "1-2 h", _hours([r for r in compared if isinstance(r.work.how, Draw)])),
                ("the whole, a person's hours among them", "7-12 h", _hours(self.rows)),
                ("cost of a character", "less than $5",
                 self.prices.money(None if known is None else known * machine_hours(self.rows))),
                ("cost of a picture", "reasonable", "-" if known is None else self._picture(self.rows, known)),
            ],
            columns=["what", "process documents", "here"],
        ).set_index("what")  # fmt: skip

    def _picture(self, found: Sequence[Row], price: float) -> str:
        drawn = [each for each in found if isinstance(each.work.how, Draw)]
        one = next(iter(_of(drawn, results.GenerateSynthetic)), drawn[-1] if drawn else None)
        return "-" if one is None or one.seconds is None else self.prices.money(one.seconds * price / 3600)


def look(settings: Iteration, project: Project, gpu: str | None = None) -> Outlook:
    """Return what an iteration will take on a GPU: named, or this machine's, or where it has none the example's.

    Raises ValueError in one sentence for a GPU that is not known or not there, and for what is wrong in the price list.
    """
    prices, where = load(), in_question(gpu, settings.models.device)
    works = work.of_iteration(settings, project, prices.person)
    known = {} if gpu else measured(project, works, prices)
    return Outlook(rows(works, where, known), where, prices)


def look_at_run(run: TrainRun, gpu: str | None = None) -> Outlook:
    """Return what one training outside the notebooks will take, as `look` does; its own log is what was measured."""
    prices, where, works = load(), in_question(gpu, run.device), work.of_run(run)
    known = {each: Row(each, each.count, took[1], None, MEASURED) for each in works if each.made and not gpu
             and (took := _took(each))}  # fmt: skip
    return Outlook(rows(works, where, known), where, prices)


def in_question(gpu: str | None = None, device: str = "auto") -> GPU:
    """Return the GPU of a name, or this machine's, or where it has none the example's. Raises ValueError for others."""
    here = pick_gpu(gpu) if gpu else pick_gpu(device=placement.pick_device(device))
    return pick_gpu(EXAMPLE_GPU) if here.cpu else here


def machine_hours(found: Sequence[Row]) -> float:
    """Return the hours a machine works."""
    return sum(each.hours for each in found if not each.by_person)


def person_hours(found: Sequence[Row]) -> float:
    """Return the hours a person works."""
    return sum(each.hours for each in found if each.by_person)


def wheels(found: Sequence[Row]) -> tuple[float, float]:
    """Return the machine's hours of wheel 1 and of wheel 2, whose notebooks begin with 2."""
    second = [each for each in found if each.work.step.startswith("2")]
    return machine_hours(found) - machine_hours(second), machine_hours(second)


def _of(found: Sequence[Row], *kinds: type[StepResult]) -> list[Row]:
    return [each for each in found if each.work.step in [kind.notebook for kind in kinds]]


def _hours(some: Sequence[Row]) -> str:
    return f"{sum(r.hours for r in some):.1f} h" if some and all(r.seconds is not None for r in some) else "-"


def _number(value: float | None, digits: int) -> str:
    if value is None:
        return "-"
    return f"{value:.{digits}g}" if value < 10 ** (digits - 1) else f"{value:,.0f}"
