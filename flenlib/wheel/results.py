"""What each step of the wheel came to, as types: the fields later steps, reports and people read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flenlib.project import Project
from flenlib.steps import StepResult, Table, record


class CheckMachine(StepResult):
    """Step 00: what this machine is."""

    notebook = "00_check_machine"
    machine: Mapping[str, Any]


class CurateSource(StepResult):
    """Step 1.1: pictures in the folder, and those that can be used."""

    notebook = "11_curate_source"
    pictures: int
    usable: int


class Enrich(StepResult):
    """Step 1.2: edits drawn, and the face distance up to which each kind of edit keeps the identity."""

    notebook = "12_enrich"
    edits: int
    thresholds: dict[str, float]


class ReviewEnriched(StepResult):
    """Step 1.3: how many edits have each label, and who made the labels."""

    notebook = "13_review_enriched"
    labels: dict[str, int]
    reviewer: str


class TrainCharacter(StepResult):
    """Step 1.4: the LoRA, its mean loss at both ends, and the depth of the deepest picture it learned from."""

    notebook = "14_train_character"
    lora: Path
    loss: tuple[float, float]
    depth: int


class GenerateSynthetic(StepResult):
    """Step 1.5: pictures drawn."""

    notebook = "15_generate_synthetic"
    pictures: int


class FilterIdentity(StepResult):
    """Step 1.6: the threshold, the median distance between real pictures (None: too few show a face), the verdicts."""

    notebook = "16_filter_identity"
    threshold: float | None
    ceiling: float | None
    verdicts: dict[str, int]


class ReviewSynthetic(StepResult):
    """Step 1.7: how many pictures have each label, and how many are pristine."""

    notebook = "17_review_synthetic"
    labels: dict[str, int]
    pristine: int


class RetrainAndCompare(StepResult):
    """Step 1.8: base model and LoRAs on the model card, and the name of the LoRA to ship."""

    notebook = "18_retrain_and_compare"
    table: Table
    ship: str


class ModelCard(StepResult):
    """Step 31: which LoRA was drawn, and its share of first tries recognised."""

    notebook = "31_model_card"
    version: str


class CurateCorrections(StepResult):
    """Step 2.1: triplets by who made them."""

    notebook = "21_curate_corrections"
    by: dict[str, int]


class TrainEditor(StepResult):
    """Step 2.2: the editor's LoRA, the checkpoint it is, and the scores of all checkpoints."""

    notebook = "22_train_editor"
    lora: Path
    checkpoint: int
    scores: Table


class CompareEditors(StepResult):
    """Step 2.3: editors side by side, and the one the next iteration uses."""

    notebook = "23_compare_editors"
    adopted: str
    table: Table


def refined(iteration: str) -> str:
    """Return the name of the LoRA step 1.8 trains: the iteration's data and its own pristine pictures."""
    return f"{iteration}_refined"


def lora_to_use(project: Project) -> str:
    """Return the name of the LoRA to use: the one step 1.8 says to ship; before step 1.8, step 1.4's."""
    compared = record.result(project, RetrainAndCompare)
    return compared.ship if compared else project.iteration
