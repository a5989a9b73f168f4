"""Several turns of wheel 1 under three policies side by side: does a loop that learns from itself drift?

    python experiments/turns.py 4 params/mini/turns.yaml

Sources and edits are made once and shared. Every turn is an iteration of its own (`v1`, `v2`, ...) under
``outputs/<character>/turns/<policy>/``: it trains from the base model, draws, filters, selects, and is measured on the
model card against sources no turn trains on. What differs is what the loop feeds itself. With guards a turn's pictures
feed the next only if step 1.8's refined LoRA may be shipped. A killed run goes on where it stopped. Writes
``turns.csv`` and ``turns.png`` into ``outputs/<character>/turns/``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from flenlib.dataset.files import link_or_copy
from flenlib.dataset.records import Dataset
from flenlib.flow.run import call
from flenlib.flow.wheel import WHEEL
from flenlib.judge import card, compare
from flenlib.measure.identity import KEPT, verdict
from flenlib.measure.measures import DIVERSITY, FACE_FOUND, HELD_OUT_FACE_DISTANCE, RECOGNISED
from flenlib.measure.plots import COLOURS, Plot
from flenlib.measure.statistics import cluster_bootstrap
from flenlib.models.settings import load_iteration
from flenlib.params import Guards, Iteration
from flenlib.project import Project, open_iteration
from flenlib.train.cache import Sample
from flenlib.wheel import guards, retrain
from flenlib.wheel.guards import TrainingSet
from flenlib.wheel.mixture import mixture_table

OFF = {"real_share": 0.0, "previous_only": False, "deepest": 0, "only_shipped": False, "nearest": 0.0, "diversity": 0.0}


@dataclass(frozen=True)
class Policy:
    """How a loop feeds itself: its guards, and whether its own pictures replace all others from the second turn on."""

    name: str
    guards: Guards
    replaces: bool = False

    def project(self, start: Project, number: int) -> Project:
        """Return the project of one turn: an iteration in this policy's own folder."""
        folder = _folder(start) / self.name.replace(" ", "_")
        return Project(folder, start.character, f"v{number}")


def policies(first: Guards) -> list[Policy]:
    """Return the three policies that are compared; ``first`` are the guards of the first."""
    return [
        Policy("accumulate with guards", first),
        Policy("accumulate without guards", Guards(**OFF)),
        Policy("replace", Guards(**OFF | {"previous_only": True}), replaces=True),
    ]


def run(project: Project, settings: Iteration, turns: int) -> pd.DataFrame:
    """Run every policy for a number of turns and return one row a policy and turn (see `measured`)."""
    start = Project(_folder(project) / "start", project.character, "v1")
    for number in (11, 12, 13):
        call(start, WHEEL.find(number), settings)
    rows = []
    for policy in policies(settings.guards):
        for number in range(1, turns + 1):
            row = turn(policy.project(project, number), start, settings, policy, last=number == turns)
            rows.append({"policy": policy.name, "turn": number} | row)
            print(f"{policy.name}, turn {number}: {_words(rows[-1])}", flush=True)
    return pd.DataFrame(rows)


def turn(project: Project, start: Project, settings: Iteration, policy: Policy, last: bool) -> dict[str, Any]:
    """Do steps 1.4 to 1.7 of one turn, and 1.8 where its outcome decides what is handed on; return its row."""
    for stage in ("source", "enriched"):
        share(start.data(stage), project.data(stage))
    changed = {"seed": settings.generate.seed + int(project.iteration[1:])}
    settings = settings.model_copy(
        update={"guards": policy.guards, "generate": settings.generate.model_copy(update=changed)}
    )
    found = learned(project, settings, policy)
    call(project, WHEEL.find(14), settings, learned=found)
    for number in (15, 16, 17):
        call(project, WHEEL.find(number), settings)
    handed_on = None if last else True
    if policy.guards.only_shipped and not last:
        call(project, WHEEL.find(18), settings, learned=learned(project, settings, policy, own=True))
        handed_on = guards.shipped(project)
    return measured(project, settings, found.samples) | {"handed on": handed_on}


def share(source: Path, target: Path) -> None:
    """Link a dataset's pictures and its records into another folder, unless these are there already."""
    known, records = target / "metadata.json", source / "metadata.json"
    if known.is_file() and known.read_bytes() == records.read_bytes():
        return
    for record in Dataset.open(source).images:
        link_or_copy(source / record.filename, target / record.filename)
    link_or_copy(records, known)


def learned(project: Project, settings: Iteration, policy: Policy, own: bool = False) -> TrainingSet:
    """Return what a turn trains on: sources, good edits and what earlier turns handed on, as the policy has it.

    With ``own`` also the turn's own selected pictures: what step 1.8 trains its refined LoRA on.
    """
    source, enriched = Dataset.open(project.data("source")), Dataset.open(project.data("enriched"))
    if own:
        found = retrain.training_set(project, source, settings.retrain, policy.guards)
    else:
        found = guards.training_set(project, source, enriched, settings.train, policy.guards)
    drawn = [replace(s, repeats=1) for s in found.samples if s.name.startswith("pristine")]
    return replace(found, samples=drawn) if policy.replaces and drawn else found


def measured(project: Project, settings: Iteration, samples: Sequence[Sample]) -> dict[str, Any]:
    """Return what a turn came to: on the model card, in its training mixture, and of what it drew.

    The face distance to held-out sources is a mean, ``low`` to ``high`` its 95 % interval over cells; ``accepted`` is
    the share of pictures drawn that the identity filter kept.
    """
    source, synthetic = Dataset.open(project.data("source")), Dataset.open(project.data("synthetic"))
    table = cards(project, settings, source)
    line = card.summary({project.iteration: table}).iloc[0]
    distances = list(table[HELD_OUT_FACE_DISTANCE.name])
    distance = cluster_bootstrap([0.0] * len(table), distances, list(table["cell"]))
    kept = sum(verdict(r) == KEPT for r in synthetic.images)
    return {
        "drawn by": "LoRA of " + " + ".join(dict.fromkeys(s.name.split("/")[0] for s in samples)),
        HELD_OUT_FACE_DISTANCE.name: distance.mean_difference,
        "low": distance.low,
        "high": distance.high,
        **{m.name: float(line[m.name]) for m in (RECOGNISED, FACE_FOUND, DIVERSITY)},
        "real pictures": float(mixture_table(samples)["share"].get("source", 0.0)),
        "accepted": kept / len(synthetic.images),
        "selected": len(synthetic.labelled("good")),
        "depth": max(r.depth for r in synthetic.images),
    }


def cards(project: Project, settings: Iteration, source: Dataset) -> pd.DataFrame:
    """Return the model card of a turn's own LoRA, drawn where it is not yet, and measured."""
    name = project.iteration
    paths = card.draw_all(project, settings.models, settings.card, {name: project.lora(name)})
    return card.measure_all(project, settings.card, source, paths)[name]


def first_and_last(project: Project, settings: Iteration, turns: int) -> list[str]:
    """Return for each policy a sentence: is the last turn's LoRA better or worse than the first's, paired by cell."""
    sentences = []
    for policy in policies(settings.guards):
        tables = {}
        for number in (1, turns):
            each = policy.project(project, number)
            tables[f"turn {number}"] = cards(each, settings, Dataset.open(each.data("source")))
        found = compare.compare(tables, "turn 1", f"turn {turns}")
        sentences.append(f"{policy.name}: {found.sentence}; diversity {found.diversity_ratio:.0%} of the first turn's")
    return sentences


def plot(frame: pd.DataFrame) -> Plot:
    """Return five panels over the turns, one line a policy: distance, faces, diversity, real pictures, acceptance."""
    figure = Plot(figsize=(16, 3.2), layout="constrained")
    shown = (HELD_OUT_FACE_DISTANCE, FACE_FOUND, DIVERSITY)
    names = (*(m.name for m in shown), "real pictures", "accepted")
    titles = (*(m.label for m in shown), "share of real pictures in training", "share kept by the identity filter")
    for ax, name, title in zip(figure.subplots(1, len(names)), names, titles, strict=True):
        for number, (policy, rows) in enumerate(frame.groupby("policy", sort=False)):
            rows = rows.sort_values("turn")
            ax.plot(rows["turn"], rows[name], "o-", color=COLOURS[number], label=policy)
            if name == HELD_OUT_FACE_DISTANCE.name:
                ax.fill_between(rows["turn"], rows["low"], rows["high"], color=COLOURS[number], alpha=0.12)
        ax.set(title=title, xlabel="turn", xticks=sorted(frame["turn"].unique()))
        ax.title.set_fontsize("small")
    figure.axes[0].legend(fontsize="x-small")
    return figure


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python experiments/turns.py", description=__doc__.split("\n")[0])
    parser.add_argument("turns", type=int, help="how many, at least 2")
    parser.add_argument("params", help="a params file such as params/mini/turns.yaml")
    options = parser.parse_args(arguments)
    try:
        if options.turns < 2:
            raise ValueError(f"turns is {options.turns}; at least 2 are needed to see anything change")
        settings = load_iteration(options.params)
        project = open_iteration(settings.character, "v1")
        frame = run(project, settings, options.turns)
        folder = _folder(project)
        frame.to_csv(folder / "turns.csv", index=False)
        plot(frame).savefig(folder / "turns.png", dpi=90)
        print(frame.drop(columns=["low", "high"]).round(3).to_string(index=False))
        print("\n".join(first_and_last(project, settings, options.turns)))
        print(f"plot: {folder / 'turns.png'}")
    except (ValueError, OSError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _folder(project: Project) -> Path:
    return project.root / "outputs" / project.character.name / "turns"


def _words(row: dict[str, Any]) -> str:
    return (
        f"{HELD_OUT_FACE_DISTANCE.words} {row[HELD_OUT_FACE_DISTANCE.name]:.3f}, faces {row[FACE_FOUND.name]:.0%}, "
        f"diversity {row[DIVERSITY.name]:.1f}, real {row['real pictures']:.0%}, accepted {row['accepted']:.0%}, "
        f"drawn by the {row['drawn by']}"
        f"{', not handed on' if row['handed on'] is False else ''}"
    )


if __name__ == "__main__":
    sys.exit(main())
