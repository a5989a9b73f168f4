"""Step 2.3: the editor in use, community LoRAs and our own draw the same edits; one is adopted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from flenlib.content import allow
from flenlib.dataset import triplets
from flenlib.dataset.prompts import edit_prompt, edits_offered, enrichment_plan
from flenlib.dataset.records import NOT_MEASURED, Dataset
from flenlib.dataset.triplets import Triplet
from flenlib.draw import routes
from flenlib.draw.editor import Editor, open_editor
from flenlib.draw.pictures import Job, make, seed_of
from flenlib.draw.routes import Routes
from flenlib.measure.identity import references
from flenlib.measure.measures import EDIT_DONE, FACE_DISTANCE, UNCHANGED, Measure
from flenlib.measure.statistics import Interval, verdict
from flenlib.models import community, lora
from flenlib.models.community import ALWAYS, Use
from flenlib.params import CompareEditors, Iteration, Models
from flenlib.project import Project
from flenlib.steps import Criterion, Facts, Hand
from flenlib.wheel import results
from flenlib.wheel.editor import scores
from flenlib.wheel.editor.scores import ACCEPTED, BASE, CURRENT, in_use, intervals
from flenlib.wheel.enrich import after


@dataclass(frozen=True)
class Choice:
    """Which editor is adopted, and the sentence that says why."""

    name: str
    sentence: str


def candidates(project: Project, models: Models, settings: CompareEditors) -> dict[str, Routes]:
    """Return the editors to compare by name: base, the one step 1.2 used (current), and what the strategies say.

    ``use``: each community LoRA by itself; ``combine``: all of them; ``train``: our own; ``hybrid``: ours with them.
    A LoRA for speed that step 1.2 used (Lightning) is on every editor, the base too: all draw in its steps.
    Raises FileNotFoundError when our own is asked for and not trained, ValueError for a strategy that needs LoRAs and
    has none, and for two editors of one name.
    """
    published = [community.parse(text, models.editor) for text in settings.community]
    now = routes.open_routes(project, models)
    fast = [use for use in now.uses if ALWAYS in use.kinds]
    found = [(BASE, Routes(fast)), *([(CURRENT, now)] if len(now.uses) > len(fast) else [])]
    own = (
        community.parse(f"{project.editor_lora}:{settings.weight}")
        if {"train", "hybrid"} & {*settings.strategies}
        else None
    )
    for strategy in settings.strategies:
        if strategy != "train" and not published:
            raise ValueError(f"compare_editors.strategies has {strategy!r}: name LoRAs in compare_editors.community")
        if strategy == "use":
            found += [(_name(use), Routes([use, *fast], settings.mode)) for use in published]
        elif strategy == "combine":
            found.append(("combined", Routes([*published, *fast], settings.mode)))
        elif strategy == "train":
            found.append(("ours", Routes([own, *fast])))
        else:
            found.append(("hybrid", Routes([*published, own, *fast], settings.mode)))
    names = [name for name, _ in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"two of the editors to compare are called {twice[0]!r}; take one out of compare_editors, or give its file "
            "another name"
        )
    return dict(found)


def plan(
    project: Project, source: Dataset, pairs: Sequence[Triplet], settings: CompareEditors, editor: Editor
) -> list[Job]:
    """Return the edits every editor draws: of all sources, held-out ones too, none that is among the triplets.

    Triplets that were learnt and those a checkpoint was chosen by are compared by the source's pixels and the
    instruction. A source has fewer than ``edits_per_source`` when no more are left. Raises ValueError when more are
    asked for than the kinds offer, Refused for an instruction that may not be drawn of this character.
    """
    folder, kinds = project.data("corrections"), tuple(settings.kinds)
    known, jobs = set(triplets.keys(folder, pairs)), []
    for record in source.images:
        count = max(edits_offered(kinds), settings.edits_per_source)
        every = enrichment_plan(count, seed_of(settings.seed, record.filename), kinds)
        where = triplets.relative(source.path(record), folder)
        keys = triplets.keys(folder, [Triplet(where, edit_prompt(*edit), "") for edit in every])
        fresh = [edit for edit, key in zip(every, keys, strict=True) if key not in known]
        for kind, value in fresh[: settings.edits_per_source]:
            name = f"{Path(record.filename).stem}__{kind}_{value.replace(' ', '-')}.png"
            seed, options = seed_of(settings.seed, name), editor.recipe(settings) | {"passes": []}
            shown, picture = after(record, kind, value), source.path(record)
            asked = allow(project.character, edit_prompt(kind, value), "instruction")
            jobs.append(Job(name, asked, seed, options, record, shown, picture))
    return jobs


def draw(
    project: Project, editor: Editor, found: Mapping[str, Routes], jobs: Sequence[Job], settings: CompareEditors
) -> dict[str, list[Path]]:
    """Draw every job with every editor into ``outputs/.../editors/<name>/``; finished pictures stay.

    A LoRA that another one's page asks for, and that is not there, is printed. Raises ValueError for a LoRA distilled
    to other steps, and Refused for words of a LoRA's that may not be asked, both before a model is loaded.
    """
    drawn: dict[str, list[Path]] = {}
    planned = {name: [_through(project, way, job) for job in jobs] for name, way in found.items()}
    for name, way in found.items():
        for said in community.check_sampling(way.uses, settings.steps, settings.guidance):
            print(f"{name}: {said}")
    for name, way in found.items():
        if editor.model.loaded and editor.family.loras:
            lora.unstack(editor.family)
        other, folder = editor.using(way), project.outputs / "editors" / name
        todo = tqdm(planned[name], desc=f"editing: {name}", unit="edit")
        drawn[name] = [make(project, folder, job, other) for job in todo]
    editor.free()
    return drawn


def plan_sentence(found: Mapping[str, Routes], jobs: Sequence[Job]) -> str:
    """Return which editors draw how many edits of how many sources."""
    sources = len({job.parent.filename for job in jobs})
    return f"{', '.join(found)} draw {len(jobs)} edits of {sources} sources each, none among the triplets"


def _through(project: Project, way: Routes, job: Job) -> Job:
    """Return a job as it is drawn by the LoRAs of an editor."""
    edit, angle = (job.attributes["edit"], job.attributes["edit_value"]), job.attributes.get("angle", "")
    route = way.recipe(project.character, *edit, angle=angle)
    return replace(job, prompt=route[0]["prompt"], settings={**job.settings, "passes": route})


def choose(tables: Mapping[str, pd.DataFrame], settings: CompareEditors) -> Choice:
    """Return the editor to adopt and why.

    ``auto``: the one with the highest acceptance rate, if that is higher than the rate of the editor in use and its
    identity is not shown to be worse; otherwise the editor in use stays. The sentence says whether the difference is
    beyond chance. Raises ValueError when the settings name an editor that was not compared.
    """
    shares = {name: float(table[ACCEPTED.name].mean()) for name, table in tables.items()}
    now = in_use(tables)
    if settings.adopt == "auto":
        fit = [name for name in tables if name != now and shares[name] > shares[now] and not _worse(tables, name)]
        best = max(fit, key=lambda name: shares[name], default=now)
        if best == now:
            rate = f"no other had a higher acceptance rate (its own is {shares[now]:.0%})"
            return Choice(now, f"keeping the {now} editor: {rate}")
    elif settings.adopt in tables:
        best = settings.adopt
    else:
        raise ValueError(f"compare_editors.adopt is {settings.adopt!r}; compared were {', '.join(tables)}")
    why = "" if settings.adopt == "auto" else ", because the settings say so"
    if best == now:
        return Choice(now, f"the {now} editor stays{why}")
    shown = verdict(intervals(tables, best)[ACCEPTED], ACCEPTED.better, (now, best))
    counts = f"{shares[best]:.0%} of its edits would be accepted, {shares[now]:.0%} of the {now} editor's"
    return Choice(best, f"{best} is adopted{why}: {counts}; {shown}")


def adopt(project: Project, choice: Choice, found: Mapping[str, Routes]) -> Path:
    """Write the choice where step 1.2 of the next iteration reads it (``models.editor_loras: [adopted]``)."""
    way = found[choice.name]
    return routes.adopt(project, choice.name, way.uses, way.mode, choice.sentence)


def difference(tables: Mapping[str, pd.DataFrame], choice: Choice) -> tuple[dict[Measure, Interval], str]:
    """Return the paired differences to look at, with a title: of what is adopted, else of the best that is not."""
    now = in_use(tables)
    others = [name for name in tables if name != now]
    if not others:
        return {}, f"nothing but the {now} editor was compared"
    name = choice.name if choice.name != now else max(others, key=lambda each: tables[each][ACCEPTED.name].mean())
    return intervals(tables, name), f"{name} minus {now}{'' if name == choice.name else ', not adopted'}"


def criteria(tables: Mapping[str, pd.DataFrame], choice: Choice) -> list[Criterion]:
    """Return step 2.3's success criteria of the adopted editor against the one in use before."""
    adopted, now = tables[choice.name], in_use(tables)
    share, before = float(adopted[ACCEPTED.name].mean()), float(tables[now][ACCEPTED.name].mean())
    done = adopted[EDIT_DONE.name].dropna()
    copies = [int(tables[name][UNCHANGED.name].sum()) for name in (choice.name, now)]
    found = f"{done.mean():.0%} of {len(done)}" if len(done) else "not measured: of a photograph only a person can say"
    return [
        Criterion(
            f"more edits would be accepted than of the {now} editor",
            share > before,
            f"{share:.0%} against {before:.0%}",
        ),
        Criterion("identity is not shown to be worse", *_identity(tables, choice.name)),
        Criterion("edits done in 70 %", bool(len(done)) and float(done.mean()) >= 0.7, found),
        Criterion(
            f"no more sources handed back unedited than by the {now} editor",
            copies[0] <= copies[1],
            f"{copies[0]} against {copies[1]} of {len(adopted)}",
        ),
    ]


def _identity(tables: Mapping[str, pd.DataFrame], name: str) -> tuple[bool, str]:
    """Return whether an editor's identity is not shown to be worse than the one in use's, and how that was found."""
    if name == in_use(tables):
        return True, f"{name} is in use"
    measured = bool(tables[name][FACE_DISTANCE.name].notna().any())
    return measured and not _worse(tables, name), name if measured else NOT_MEASURED


def _worse(tables: Mapping[str, pd.DataFrame], name: str) -> bool:
    return intervals(tables, name)[FACE_DISTANCE].shows_worse(FACE_DISTANCE.better)


def _name(use: Use) -> str:
    """Return what a LoRA is called in the tables and in the folder of its pictures: with its weight."""
    stem = use.name or Path(use.path).name.removesuffix(".safetensors").replace(" ", "-")
    return f"{stem}-{use.weight:g}"


def result(choice: Choice, tables: Mapping[str, pd.DataFrame], models: Facts) -> results.CompareEditors:
    """Return what step 2.3 came to; ``models`` are the facts of the base editor."""
    return results.CompareEditors(
        sentence=choice.sentence,
        criteria=criteria(tables, choice),
        models=models,
        adopted=choice.name,
        table=scores.summary(tables),
    )


def run(project: Project, settings: Iteration, hand: Hand | None = None) -> results.CompareEditors:
    """Do step 2.3: draw the same edits with every editor, measure, and adopt one for the next iteration."""
    wanted = settings.compare_editors
    source, pairs = Dataset.open(project.data("source")), triplets.read(project.data("corrections"), project.places)
    found = candidates(project, settings.models, wanted)
    editor = open_editor(settings.models)
    jobs = plan(project, source, pairs, wanted, editor)
    drawn = draw(project, editor, found, jobs, wanted)
    reference = references(source).training
    tables = {
        name: scores.measure(source, jobs, paths, reference, wanted.slack, settings.review_enriched, hand)
        for name, paths in drawn.items()
    }
    choice = choose(tables, wanted)
    adopt(project, choice, found)
    return result(choice, tables, editor.facts)
