"""The wheel over its iterations: LoRAs, editors, and whether review sends back less than in the iteration before.

Edits drawn in two iterations are compared by source and instruction; those the editor learnt from are counted apart.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from flenlib.dataset import triplets
from flenlib.dataset.images import sha256
from flenlib.dataset.prompts import edit_prompt
from flenlib.dataset.records import Dataset
from flenlib.dataset.triplets import Triplet
from flenlib.measure.statistics import Interval, cluster_bootstrap, verdict, wilson
from flenlib.project import Project
from flenlib.steps import record
from flenlib.wheel import results

Key = tuple[str, str]
"""What makes an edit the same in two iterations: its source's pixels, and its instruction."""

LEARNT, FRESH, ALL = "among its triplets", "not among them", "all"


def beside(project: Project) -> list[str | pd.DataFrame]:
    """Return what a report says beside the steps: LoRAs and editors compared, and the iterations side by side."""
    return [*_loras(project), *_editors(project), *_iterations(project)]


def _loras(project: Project) -> list[str | pd.DataFrame]:
    compared, now = record.result(project, results.RetrainAndCompare), project.iteration
    if compared is None:
        return []
    names = f"{now} is step 1.4's LoRA; {now}_refined is step 1.8's: the same and {now}'s own pristine pictures."
    title = "On the model card (same prompts and seeds; distances: lower is nearer):"
    return [title, compared.table, f"{names}\n{compared.sentence}"]


def _editors(project: Project) -> list[str | pd.DataFrame]:
    compared = record.result(project, results.CompareEditors)
    return ["Editors on the same sources, prompts and seeds:", compared.table, compared.sentence] if compared else []


def _iterations(project: Project) -> list[str | pd.DataFrame]:
    if project.before() is None:
        return []
    parts: list[str | pd.DataFrame] = ["The iterations side by side:", iterations_table(project)]
    found = table(project)
    if len(found):
        parts += ["Sent back or rejected, of the edits drawn in both (differences paired, by source, 95 %):", found]
    return [*parts, sentence(project)]


def iterations_table(project: Project) -> pd.DataFrame:
    """Return a row for each iteration up to this one: the editor it used, and what review made of the edits.

    The share accepted has its 95 % Wilson interval.
    """
    rows, each = [], project
    while each is not None:
        enriched, reviewed = record.result(each, results.Enrich), record.result(each, results.ReviewEnriched)
        labels = reviewed.labels if reviewed else {}
        loras = [Path(use["file"]).name for use in enriched.models["loras"]] if enriched else []
        count, good = sum(labels.values()), labels.get("good", 0)
        low, high = wilson(good, count)
        shares = {"accepted": good / count, "low": low, "high": high} if count else {}
        rows.append({"iteration": each.iteration, "editor": " + ".join(loras) or "base", "edits": count} | labels)
        rows[-1] |= {name: round(share, 3) for name, share in shares.items()}
        each = each.before()
    return pd.DataFrame(rows[::-1]).set_index("iteration")


def sent_back(project: Project) -> dict[Key, float]:
    """Return, for each reviewed edit of an iteration, 1 when it was sent back or rejected and 0 when it is good."""
    if not all((project.data(stage) / "metadata.json").is_file() for stage in ("source", "enriched")):
        return {}
    source, enriched = (Dataset.open(project.data(stage)) for stage in ("source", "enriched"))
    paths = {r.sha256: source.path(r) for r in source.images if source.path(r).is_file()}
    reviewed = [r for r in enriched.images if r.label and r.parent in paths]
    asked = [
        Triplet(
            triplets.relative(paths[r.parent], enriched.folder),
            edit_prompt(r.attributes["edit"], r.attributes["edit_value"]),
            "",
        )
        for r in reviewed
    ]
    keys = triplets.keys(enriched.folder, asked)
    return {key: float(r.label["label"] != "good") for key, r in zip(keys, reviewed, strict=True)}


def learnt(project: Project) -> set[Key]:
    """Return the edits among the triplets of the character's own LoRAs that drew an iteration's edits.

    Held-out triplets count too: by them a checkpoint was chosen.
    """
    drawn = record.result(project, results.Enrich)
    used = {use["sha256"] for use in drawn.models["loras"]} if drawn else set()
    found, before = set(), project.before()
    while before is not None:
        folder = before.data("corrections")
        if before.editor_lora.is_file() and sha256(before.editor_lora) in used and (folder / triplets.FILE).is_file():
            found |= set(triplets.keys(folder, triplets.read(folder, project.places)))
        before = before.before()
    return found


def differences(project: Project) -> dict[str, tuple[int, float, float, Interval]]:
    """Return, for the edits both this iteration and the one before drew: how many, the two shares sent back, and the
    paired difference (this one's minus the other's) resampled by source, for those learnt from, the others, and all.
    """
    before = project.before()
    then, now = sent_back(before) if before else {}, sent_back(project)
    both, known = sorted(then.keys() & now.keys()), learnt(project)
    groups = {LEARNT: [k for k in both if k in known], FRESH: [k for k in both if k not in known], ALL: both}
    found = {}
    for name, keys in groups.items():
        if keys:
            a, b = [then[key] for key in keys], [now[key] for key in keys]
            interval = cluster_bootstrap(a, b, [source for source, _ in keys])
            found[name] = (len(keys), sum(a) / len(a), sum(b) / len(b), interval)
    return found


def table(project: Project) -> pd.DataFrame:
    """Return `differences` as a small table, one row a group of edits; empty where no edit was drawn in both."""
    before = project.before()
    rows = [
        {"edits": name, "n": n, f"sent back {before.iteration}": then, f"sent back {project.iteration}": now,
         "difference": i.mean_difference, "low": i.low, "high": i.high, "sources": i.n}
        for name, (n, then, now, i) in differences(project).items()
    ]  # fmt: skip
    return pd.DataFrame(rows).set_index("edits").round(3) if rows else pd.DataFrame()


def sentence(project: Project) -> str:
    """Return what the table says of this iteration's editor, from the edits that were not among its triplets."""
    before, found = project.before(), differences(project)
    if not found:
        return f"{before.iteration} and {project.iteration} drew no edit in common, so their counts do not compare"
    names = (before.iteration, project.iteration)
    if FRESH not in found:
        return f"every edit both drew was among the triplets of {project.iteration}'s editor: nothing is shown"
    shown = verdict(found[FRESH][3], "lower", names)
    if LEARNT not in found:
        return f"share sent back: {shown}"
    return (
        f"{found[LEARNT][0]} of the {found[ALL][0]} edits both drew were among the triplets of {project.iteration}'s "
        f"editor, which is no test of it; of the others, share sent back: {shown}"
    )
