"""The settings of an iteration: a validated section for each step, from YAML or a notebook's cell.

A section is a dict in the YAML file and in the notebook that uses it; `check` turns text such as ``1e-4`` into numbers
and answers an unknown key with the nearest known one. What a file leaves out comes from its models:
``flenlib.models.settings``.
"""

from flenlib.params.captions import Captions
from flenlib.params.character import Character, Consent, SecondOpinion, Section
from flenlib.params.reading import EXTENDS, Layer, build, check, merge, origin, read, sections
from flenlib.params.sections import (
    Card,
    CompareEditors,
    Corrections,
    Curate,
    Enrich,
    Filter,
    FlowSettings,
    Generate,
    Guards,
    Iteration,
    Models,
    Phase,
    Review,
    ReviewEnriched,
    ReviewSynthetic,
    Train,
    TrainEditor,
    TrainRun,
)

__all__ = [
    "EXTENDS",
    "Captions",
    "Card",
    "Character",
    "CompareEditors",
    "Consent",
    "Corrections",
    "Curate",
    "Enrich",
    "Filter",
    "FlowSettings",
    "Generate",
    "Guards",
    "Iteration",
    "Layer",
    "Models",
    "Phase",
    "Review",
    "ReviewEnriched",
    "ReviewSynthetic",
    "SecondOpinion",
    "Section",
    "Train",
    "TrainEditor",
    "TrainRun",
    "build",
    "check",
    "merge",
    "origin",
    "read",
    "sections",
]
