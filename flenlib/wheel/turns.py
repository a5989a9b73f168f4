"""Several turns of wheel 1 under three policies side by side: does a loop that learns from itself drift?

    python -m flenlib.wheel.turns 4 params/mini/turns.yaml

Sources and edits are made once and shared; what differs from turn to turn is what the loop feeds itself. Every turn
trains from the base model, draws, filters, selects, and is measured on the model card against sources no turn trains
on. What is handed on is decided by wheel 1's own rule (`flenlib.wheel.guards.inherit`): with guards a turn's pictures
feed the next only if a LoRA that learned from them too is fit to ship, as in step 1.8. A killed run goes on where it
stopped. Writes ``outputs/<character>/turns/``: ``turns.csv``, ``turns.png``, all pictures.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from flenlib import params
from flenlib.dataset.images import sha256
from flenlib.dataset.records import Dataset
from flenlib.draw.editor import open_editor
from flenlib.draw.generator import open_generator
from flenlib.judge import card as cards
from flenlib.judge import compare
from flenlib.measure.identity import KEPT, verdict
from flenlib.measure.plots import COLOURS, Plot
from flenlib.measure.statistics import cluster_bootstrap
from flenlib.models import registry
from flenlib.params import Guards, Iteration
from flenlib.project import Project, open_iteration
from flenlib.steps.record import run_file, write_json
from flenlib.train.cache import Sample
from flenlib.wheel import curate, enrich, filter, generate, guards, labels, select
from flenlib.wheel.guards import TrainingSet
from flenlib.wheel.train import mixture_table, train_character

OFF = {"real_share": 0.0, "previous_only": False, "deepest": 0, "only_shipped": False, "nearest": 0.0, "diversity": 0.0}


@dataclass(frozen=True)
class Policy:
    """How a loop feeds itself: its guards, and whether its own pictures replace all others from the second turn on."""

    name: str
    guards: Guards
    replaces: bool = False

    @property
    def folder(self) -> str:
        """The name of its folder."""
        return self.name.replace(" ", "_")


def policies(iteration: Guards) -> list[Policy]:
    """Return the three policies that are compared; those ``told`` are the guards of the first."""
    return [
        Policy("accumulate with guards", iteration),
        Policy("accumulate without guards", Guards(**OFF)),
        Policy("replace", Guards(**OFF | {"previous_only": True}), replaces=True),
    ]


def start(project: Project, iteration: Iteration) -> tuple[Dataset, Dataset]:
    """Return the sources and reviewed edits all policies share, making them once."""
    first = Project(project.root / "outputs" / project.character.name / "turns" / "start", project.character, "v1")
    source = curate.curate(first, iteration.curate).dataset
    editor = open_editor(iteration.models)
    settings = iteration.review_enriched
    enriched = enrich.enrich(first, source, editor, iteration.enrich, settings).dataset
    editor.free()
    journal = labels.collect(enriched, settings, labels.identity_policy(settings))
    labels.apply(enriched, journal, settings, first.outputs)
    return source, enriched


def run(project: Project, iteration: Iteration, turns: int) -> pd.DataFrame:
    """Run every policy for a number of turns and return one row a policy and turn (see `measured`)."""
    source, enriched = start(project, iteration)
    rows = []
    for policy in policies(iteration.guards):
        for number in range(1, turns + 1):
            turn = _turn_of(project, policy, number)
            rows.append(_run(turn, iteration, policy, source, enriched, last=number == turns))
            print(f"{policy.name}, turn {number}: {_words(rows[-1])}", flush=True)
    return pd.DataFrame(rows)


def learned(
    turn: Project,
    iteration: Iteration,
    policy: Policy,
    source: Dataset,
    enriched: Dataset,
    pristine: Dataset | None = None,
) -> TrainingSet:
    """Return what a turn trains on: sources, good edits and what earlier turns handed on, as the policy has it.

    With ``pristine``, the turn's own selected pictures too: what step 1.8 trains its refined LoRA on.
    """
    found = guards.training_set(turn, source, enriched, iteration.train, policy.guards, pristine)
    own = [replace(s, repeats=1) for s in found.samples if s.name.startswith("pristine")]
    return replace(found, samples=own) if policy.replaces and own else found


def _run(
    turn: Project, iteration: Iteration, policy: Policy, source: Dataset, enriched: Dataset, last: bool
) -> dict[str, Any]:
    """Run one turn, or return its row when it is done with the same settings and the same turns before it.

    Its own LoRA is the one measured and the one that draws. What the last turn drew feeds nothing, so it is not tested.
    """
    before = turn.before()
    past = _result(before)["key"] if before else [r.sha256 for r in (*source.images, *enriched.images)]
    parts = [iteration.model_dump(), _weights(iteration), policy.name, policy.guards.model_dump(), past, last]
    key = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
    done = _result(turn) if _file(turn).is_file() else None
    if done and done["key"] == key:
        return done
    found = learned(turn, iteration, policy, source, enriched)
    lora, table = _trained(turn, iteration, source, found.samples)
    synthetic = _draw(turn, iteration, policy, source, lora, found.depth + 1)
    tested = policy.guards.only_shipped and not last
    handed_on = _tested(turn, iteration, policy, source, enriched, table) if tested else None if last else True
    row = {"policy": policy.name, "turn": int(turn.iteration[1:]), "drawn by": _name(found.samples)}
    row |= measured(turn, table, source, found.samples, synthetic)
    write_json(_file(turn), row | {"handed on": handed_on, "lora": str(lora), "key": key})
    return _result(turn)


def measured(
    project: Project, table: pd.DataFrame, source: Dataset, learned: Sequence[Sample], synthetic: Dataset
) -> dict[str, Any]:
    """Return what a turn came to: on the model card, in its training mixture, and of what it drew.

    ``identity`` is the mean face distance to held-out sources with its 95 % interval over cells; ``accepted`` is the
    share of pictures drawn that the identity filter kept.
    """
    line = cards.summary({project.iteration: table}, cards.threshold(source)).iloc[0]
    seen = table.dropna(subset=["held_out_distance"])
    identity = cluster_bootstrap([0.0] * len(seen), list(seen["held_out_distance"]), list(seen["cell"]))
    shares = mixture_table(learned)["share"]
    kept = sum(verdict(r) == KEPT for r in synthetic.images)
    return {
        "identity": identity.mean_difference,
        "low": identity.low,
        "high": identity.high,
        "recognised": float(line["recognised"]),
        "faces found": float(line["faces found"]),
        "diversity": float(line["diversity"]),
        "real pictures": float(shares.get("source", 0.0)),
        "accepted": kept / len(synthetic.images),
        "selected": len(synthetic.labelled("good")),
        "depth": max(r.depth for r in synthetic.images),
    }


def first_and_last(project: Project, iteration: Iteration, turns: int, source: Dataset) -> list[str]:
    """Return for each policy a sentence: is the last turn's LoRA better or worse than the first's, paired by cell."""
    sentences = []
    for policy in policies(iteration.guards):
        paths, ends = {}, (1, turns)
        for number in ends:
            drawn = Path(_result(_turn_of(project, policy, number))["lora"]).parents[1] / "card_v1"
            paths[f"turn {number}"] = [drawn / job.filename for job in cards.jobs(project, iteration.card)]
        tables = cards.measure_all(project, iteration.card, source, paths)
        found = compare.compare(tables, *(f"turn {number}" for number in ends))
        sentences.append(f"{policy.name}: {found.sentence}; diversity {found.diversity_ratio:.0%} of the first turn's")
    return sentences


def plot(frame: pd.DataFrame) -> Plot:
    """Return five panels over the turns, one line a policy: identity, faces, diversity, real pictures, acceptance."""
    figure = Plot(figsize=(16, 3.2), layout="constrained")
    names = ("identity", "faces found", "diversity", "real pictures", "accepted")
    titles = ("face distance to held-out (lower is nearer)", "share of cards with a face", "diversity (Delta E)",
              "share of real pictures in training", "share kept by the identity filter")  # fmt: skip
    for ax, name, title in zip(figure.subplots(1, len(names)), names, titles, strict=True):
        for number, (policy, rows) in enumerate(frame.groupby("policy", sort=False)):
            rows = rows.sort_values("turn")
            ax.plot(rows["turn"], rows[name], "o-", color=COLOURS[number], label=policy)
            if name == "identity":
                ax.fill_between(rows["turn"], rows["low"], rows["high"], color=COLOURS[number], alpha=0.12)
        ax.set(title=title, xlabel="turn", xticks=sorted(frame["turn"].unique()))
        ax.title.set_fontsize("small")
    figure.axes[0].legend(fontsize="x-small")
    return figure


def _draw(project: Project, iteration: Iteration, policy: Policy, source: Dataset, lora: Path, depth: int) -> Dataset:
    """Draw with a turn's LoRA, filter, select by the stated policy, and return the labelled synthetic dataset."""
    generator = open_generator(iteration.models, [f"{lora}:{iteration.generate.lora_weight}"])
    number = int(project.iteration[1:])
    settings = iteration.generate.model_copy(update={"seed": iteration.generate.seed + number})
    generate.generate(project, generator, settings, depth=depth)
    generator.free()
    synthetic = filter.filter_identity(project, source, iteration.filter, policy.guards).dataset
    strict = select.strict_policy(synthetic, [r for r in source.images if not r.held_out], iteration.review_synthetic)
    journal = labels.collect(synthetic, iteration.review_synthetic, strict)
    labels.apply(synthetic, journal, iteration.review_synthetic, project.outputs)
    select.write_pristine(project, synthetic)
    return synthetic


def _trained(
    turn: Project, iteration: Iteration, source: Dataset, learnt: Sequence[Sample]
) -> tuple[Path, pd.DataFrame]:
    """Return the LoRA of a mixture and its model card, measured; the same pictures are learnt from once.

    Turns share it: without guards the first turns are one, and a refined LoRA may be the next turn's own.
    """
    parts = [[sha256(s.image), s.caption, s.repeats] for s in learnt]
    parts += [iteration.train.model_dump(), iteration.models.model_dump(), _weights(iteration)]
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
    own = Project(turn.root.parent / "loras" / key, turn.character, "v1")
    lora = own.lora("v1")
    if not lora.is_file():
        generator = open_generator(iteration.models, transformer=False)
        train_character(own, generator, learnt, iteration.train, "v1")
        generator.free()
    paths = cards.draw_all(own, iteration.models, iteration.card, {"v1": lora})
    return lora, cards.measure_all(own, iteration.card, source, paths)["v1"]


def _tested(
    turn: Project, iteration: Iteration, policy: Policy, source: Dataset, enriched: Dataset, table: pd.DataFrame
) -> bool:
    """Do step 1.8 with a turn's own pictures and note, where wheel 1 reads it, whether the refined LoRA ships."""
    refined = guards.refined(turn.iteration)
    more = learned(turn, iteration, policy, source, enriched, Dataset.open(turn.data("pristine")))
    tables = {turn.iteration: table, refined: _trained(turn, iteration, source, more.samples)[1]}
    found = compare.compare(tables, turn.iteration, refined, least_diversity=policy.guards.diversity)
    results = {"ship": refined if found.ship else turn.iteration, "sentence": found.sentence}
    write_json(run_file(turn, guards.COMPARED), {"results": results})
    return guards.shipped(turn)


def _name(learnt: Sequence[Sample]) -> str:
    """Return what a LoRA is called in the table: by what it learned from."""
    return "LoRA of " + " + ".join(dict.fromkeys(s.name.split("/")[0] for s in learnt))


def _turn_of(project: Project, policy: Policy, number: int) -> Project:
    root = project.root / "outputs" / project.character.name / "turns" / policy.folder
    return Project(root, project.character, f"v{number}")


def _weights(iteration: Iteration) -> str:
    return registry.weights_hash(registry.resolve(iteration.models.generator).source)


def _file(project: Project) -> Path:
    return project.outputs / "turn.json"


def _result(project: Project) -> dict[str, Any]:
    return json.loads(_file(project).read_text(encoding="utf-8"))


def _words(row: dict[str, Any]) -> str:
    return (
        f"face distance {row['identity']:.3f}, faces {row['faces found']:.0%}, diversity {row['diversity']:.1f}, real "
        f"{row['real pictures']:.0%}, accepted {row['accepted']:.0%}, drawn by the {row['drawn by']}"
        f"{', not handed on' if row['handed on'] is False else ''}"
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flenlib.wheel.turns", description=__doc__.split("\n")[0])
    parser.add_argument("turns", type=int, help="how many, at least 2")
    parser.add_argument("params", help="a params file such as params/mini/turns.yaml")
    options = parser.parse_args(arguments)
    try:
        if options.turns < 2:
            raise ValueError(f"turns is {options.turns}; at least 2 are needed to see anything change")
        iteration = params.load(options.params)
        project = open_iteration(iteration.character, "v1")
        frame = run(project, iteration, options.turns)
        folder = project.root / "outputs" / project.character.name / "turns"
        frame.drop(columns=["key", "lora"]).to_csv(folder / "turns.csv", index=False)
        plot(frame).savefig(folder / "turns.png", dpi=90)
        print(frame.drop(columns=["key", "lora", "low", "high"]).round(3).to_string(index=False))
        source = Dataset.open(folder / "start" / "data" / project.character.name / "source" / "v1")
        print("\n".join(first_and_last(project, iteration, options.turns, source)))
        print(f"plot: {folder / 'turns.png'}")
    except (ValueError, FileNotFoundError, PermissionError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
