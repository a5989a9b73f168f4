"""Step 1.8: the refined LoRA, from the base model again, and whether it is better than step 1.4's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from flenlib.dataset import captions
from flenlib.dataset.caption_lint import Tokens
from flenlib.dataset.records import Dataset
from flenlib.draw.generator import open_generator
from flenlib.judge import card, compare
from flenlib.judge.compare import Comparison
from flenlib.models.tokens import tokens_of
from flenlib.params import Captions, Guards, Iteration, Train
from flenlib.project import Project
from flenlib.steps import check_lint
from flenlib.wheel import guards, results
from flenlib.wheel.guards import TrainingSet
from flenlib.wheel.train import train_character


def training_set(
    project: Project,
    source: Dataset,
    settings: Train,
    guard: Guards,
    table: Captions = captions.TEMPLATE,
    tokens: Tokens | None = None,
) -> TrainingSet:
    """Return what the refined LoRA learns from: what step 1.4 had, and this iteration's own pristine pictures."""
    enriched, pristine = Dataset.open(project.data("enriched")), Dataset.open(project.data("pristine"))
    return guards.training_set(project, source, enriched, settings, guard, pristine, table, tokens)


def loras(project: Project) -> dict[str, Path | None]:
    """Return what is compared, by name: the base model (no file), step 1.4's LoRA, and the refined one."""
    names = (project.iteration, results.refined(project.iteration))
    return {"base": None} | {name: project.lora(name) for name in names}


def result(
    comparison: Comparison, tables: Mapping[str, pd.DataFrame], summary: pd.DataFrame, learned: TrainingSet
) -> results.RetrainAndCompare:
    """Return what step 1.8 came to; ``tables`` are the model cards of all LoRAs, ``summary`` a row for each."""
    gaps = [compare.base_gap(tables, name) for name in comparison.names]
    return results.RetrainAndCompare(
        sentence=f"{comparison.sentence}. LoRA to use: {comparison.to_ship}",
        criteria=(*gaps, *compare.criteria(comparison), *learned.criteria),
        table=summary,
        ship=comparison.to_ship,
    )


def run(project: Project, settings: Iteration, learned: TrainingSet | None = None) -> results.RetrainAndCompare:
    """Do step 1.8: train on step 1.4's pictures and the pristine ones, or on ``learned``, and compare on the card."""
    card.jobs(project, settings.card)  # what may not be drawn is refused before a model is loaded
    source = Dataset.open(project.data("source"))
    if learned is None:
        table, tokens = settings.captions, tokens_of(settings.models.generator)
        learned = training_set(project, source, settings.retrain, settings.guards, table, tokens)
    check_lint(learned.findings, settings.anyway)
    now, then = project.iteration, results.refined(project.iteration)
    generator = open_generator(settings.models, transformer=False)
    train_character(project, generator, learned.samples, settings.retrain, then, source=source)
    paths = card.draw_all(project, settings.models, settings.card, loras(project))
    tables = card.measure_all(project, settings.card, source, paths)
    comparison = compare.compare(tables, now, then, least_diversity=settings.guards.diversity)
    return result(comparison, tables, card.summary(tables), learned)
