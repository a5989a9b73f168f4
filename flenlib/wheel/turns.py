"""Several turns of wheel 1 under three policies side by side: does a loop that learns from itself drift?

    python -m flenlib.wheel.turns 4 params/mini/turns.yaml

Sources and edits are made once and shared; what differs from turn to turn is what the loop feeds itself. Every turn
trains from the base model, draws, filters, selects, and is measured on the model card against sources no turn trains
on. A killed run goes on where it stopped. Writes ``outputs/<character>/turns/``: ``turns.csv``, ``turns.png``, all
pictures.
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
from flenlib.dataset.records import Dataset
from flenlib.measure.plots import COLOURS, Plot
from flenlib.measure.statistics import cluster_bootstrap
from flenlib.models import registry
from flenlib.params import Guards, Iteration
from flenlib.project import Project, open_iteration
from flenlib.record import write_json
from flenlib.train.cache import Sample
from flenlib.wheel import card as cards
from flenlib.wheel import compare, curate, enrich, filter, generate, labels, select
from flenlib.wheel.character import mixture, mixture_table, train_character
from flenlib.wheel.identity import KEPT, verdict

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


def policies(guards: Guards) -> list[Policy]:
    """Return the three policies that are compared; ``guards`` are those of the first."""
    off = Guards(**OFF)
    return [
        Policy("accumulate with guards", guards),
        Policy("accumulate without guards", off),
        Policy("replace", off, replaces=True),
    ]


def start(house: Project, told: Iteration) -> tuple[Dataset, Dataset]:
    """Return the sources and reviewed edits all policies share, making them once."""
    first = Project(house.root / "outputs" / house.character.name / "turns" / "start", house.character, "v1")
    source = curate.curate(first, told.curate).dataset
    editor = registry.load_family(told.models.editor, family="qwen_edit", **_where(told))
    enriched = enrich.enrich(first, source, editor, told.enrich, registry.model_facts(editor)).dataset
    registry.free(editor)
    settings = told.review_enriched
    journal = labels.collect(enriched, settings, labels.identity_policy(settings))
    labels.apply(enriched, journal, settings, first.outputs)
    return source, enriched


def run(house: Project, told: Iteration, turns: int) -> pd.DataFrame:
    """Run every policy for a number of turns and return one row a policy and turn (see `measured`)."""
    source, enriched = start(house, told)
    rows = []
    for policy in policies(told.guards):
        root = house.root / "outputs" / house.character.name / "turns" / policy.folder
        for number in range(1, turns + 1):
            turn = Project(root, house.character, f"v{number}")
            rows.append(_turn(turn, told, policy, source, enriched))
            print(f"{policy.name}, turn {number}: {_words(rows[-1])}", flush=True)
    return pd.DataFrame(rows)


def samples(house: Project, told: Iteration, policy: Policy, source: Dataset, enriched: Dataset) -> list[Sample]:
    """Return what a turn trains on: sources, good edits and what earlier turns selected, as the policy has it.

    What a turn selected was drawn by the LoRA in use, so also a turn whose own LoRA was refused feeds the next.
    """
    guards, earlier, before = policy.guards, [], house.before()
    while before is not None:
        dataset = Dataset.open(before.data("pristine"))
        fit = [r for r in dataset.images if not guards.deepest or r.depth <= guards.deepest]
        earlier.append((f"pristine {before.iteration}", dataset, fit))
        before = None if guards.previous_only or policy.replaces else before.before()
    if policy.replaces and any(records for _, _, records in earlier):
        return [
            replace(s, repeats=1) for s in mixture(source, earlier, told.train, 0.0) if s.name.startswith("pristine")
        ]
    extra = [("enriched", enriched, enriched.labelled("good")), *reversed(earlier)]
    return mixture(source, extra, told.train, guards.real_share)


def _turn(house: Project, told: Iteration, policy: Policy, source: Dataset, enriched: Dataset) -> dict[str, Any]:
    """Run one turn, or return its result when it is done with the same settings and the same turns before it."""
    before = house.before()
    past = _result(before)["key"] if before else [r.sha256 for r in (*source.images, *enriched.images)]
    parts = [told.model_dump(), policy.name, policy.guards.model_dump(), past]
    key = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
    done = _result(house) if _file(house).is_file() else None
    if done and done["key"] == key:
        return done
    learned = samples(house, told, policy, source, enriched)
    generator = registry.load_family(told.models.generator, family="flux", transformer=False, **_where(told))
    result = train_character(house, generator, learned, told.train, house.iteration)
    registry.free(generator)
    paths = cards.draw_all(house, told.models, told.card, {house.iteration: result.lora})
    tables = cards.measure_all(house, told.card, source, paths)
    shipped, used = _ship(house, policy, tables, source, told), result.lora
    if not shipped:
        used = Path(_result(before)["lora"])
    fed = any(s.name.startswith("pristine") for s in learned)
    depth = (_result(before)["depth"] + shipped if fed else 2) if before else 2
    synthetic = _draw(house, told, policy, source, used, depth)
    row = measured(house, tables[house.iteration], source, learned, synthetic)
    row = {"policy": policy.name, "turn": int(house.iteration[1:]), **row, "shipped": shipped, "lora": str(used)}
    write_json(_file(house), row | {"key": key})
    return _result(house)


def measured(
    house: Project, table: pd.DataFrame, source: Dataset, learned: Sequence[Sample], synthetic: Dataset
) -> dict[str, Any]:
    """Return what a turn came to: on the model card, in its training mixture, and of what it drew.

    ``identity`` is the mean face distance to held-out sources with its 95 % interval over cells; ``accepted`` is the
    share of pictures drawn that the identity filter kept.
    """
    line = cards.summary({house.iteration: table}, cards.threshold(source)).iloc[0]
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


def first_and_last(house: Project, told: Iteration, turns: int, source: Dataset) -> list[str]:
    """Return for each policy a sentence: is the last turn's LoRA better or worse than the first's, paired by cell."""
    sentences = []
    for policy in policies(told.guards):
        root = house.root / "outputs" / house.character.name / "turns" / policy.folder
        paths, ends = {}, (1, turns)
        for number in ends:
            turn = Project(root, house.character, f"v{number}")
            paths[f"turn {number}"] = [
                turn.outputs / f"card_v{number}" / j.filename for j in cards.jobs(turn, told.card, {})
            ]
        tables = cards.measure_all(house, told.card, source, paths)
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


def _draw(house: Project, told: Iteration, policy: Policy, source: Dataset, lora: Path, depth: int) -> Dataset:
    """Draw with a turn's LoRA, filter, select by the stated policy, and return the labelled synthetic dataset."""
    stack = [*told.models.generator_loras, f"{lora}:{told.generate.lora_weight}"]
    generator = registry.load_family(told.models.generator, family="flux", loras=stack, **_where(told))
    number = int(house.iteration[1:])
    settings = told.generate.model_copy(update={"seed": told.generate.seed + number})
    generate.generate(house, generator, settings, registry.model_facts(generator), depth=depth)
    registry.free(generator)
    synthetic = filter.filter_identity(house, source, told.filter, policy.guards).dataset
    strict = select.strict_policy(synthetic, [r for r in source.images if not r.held_out], told.review_synthetic)
    journal = labels.collect(synthetic, told.review_synthetic, strict)
    labels.apply(synthetic, journal, told.review_synthetic, house.outputs)
    select.write_pristine(house, synthetic)
    return synthetic


def _ship(house: Project, policy: Policy, tables: dict[str, pd.DataFrame], source: Dataset, told: Iteration) -> bool:
    """Say whether a turn's LoRA is used: always without guards; else if it is no worse than the one in use before."""
    before = house.before()
    if before is None or not policy.guards.only_shipped:
        return True
    used = Path(_result(before)["lora"]).parent.parent
    old = [used / f"card_{used.name}" / job.filename for job in cards.jobs(house, told.card, {})]
    both = cards.measure_all(house, told.card, source, {"before": old}) | {"now": tables[house.iteration]}
    return compare.compare(both, "before", "now", least_diversity=policy.guards.diversity).ship


def _where(told: Iteration) -> dict[str, str]:
    return {"precision": told.models.precision, "offload": told.models.offload, "device": told.models.device}


def _file(house: Project) -> Path:
    return house.outputs / "turn.json"


def _result(house: Project) -> dict[str, Any]:
    return json.loads(_file(house).read_text(encoding="utf-8"))


def _words(row: dict[str, Any]) -> str:
    return (
        f"face distance {row['identity']:.3f}, faces {row['faces found']:.0%}, diversity {row['diversity']:.1f}, real "
        f"{row['real pictures']:.0%}, accepted {row['accepted']:.0%}{'' if row['shipped'] else ', LoRA refused'}"
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flenlib.wheel.turns", description=__doc__.split("\n")[0])
    parser.add_argument("turns", type=int, help="how many, at least 2")
    parser.add_argument("params", help="a params file such as params/mini/turns.yaml")
    told_to = parser.parse_args(arguments)
    try:
        if told_to.turns < 2:
            raise ValueError(f"turns is {told_to.turns}; at least 2 are needed to see anything change")
        told = params.load(told_to.params)
        house = open_iteration(told.character, "v1")
        frame = run(house, told, told_to.turns)
        folder = house.root / "outputs" / house.character.name / "turns"
        frame.drop(columns=["key", "lora"]).to_csv(folder / "turns.csv", index=False)
        plot(frame).savefig(folder / "turns.png", dpi=90)
        print(frame.drop(columns=["key", "lora", "low", "high"]).round(3).to_string(index=False))
        source = Dataset.open(folder / "start" / "data" / house.character.name / "source" / "v1")
        print("\n".join(first_and_last(house, told, told_to.turns, source)))
        print(f"plot: {folder / 'turns.png'}")
    except (ValueError, FileNotFoundError, PermissionError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
