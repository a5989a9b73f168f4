"""What one iteration is told: a validated section of settings for each step, from YAML or a notebook's cell.

A section is a dict in the YAML file and in the notebook that uses it; `check` fills in what is left out, turns text
such as ``1e-4`` into numbers, and answers an unknown key with the nearest known one.
"""

from flenlib.params.reading import SECTIONS, check, load
from flenlib.params.sections import (
    TARGET_PRESETS,
    Card,
    Character,
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
    Section,
    Train,
    TrainEditor,
    TrainRun,
)

__all__ = [
    "SECTIONS",
    "TARGET_PRESETS",
    "Card",
    "Character",
    "CompareEditors",
    "Corrections",
    "Curate",
    "Enrich",
    "Filter",
    "FlowSettings",
    "Generate",
    "Guards",
    "Iteration",
    "Models",
    "Phase",
    "Review",
    "Section",
    "Train",
    "TrainEditor",
    "TrainRun",
    "check",
    "load",
]
