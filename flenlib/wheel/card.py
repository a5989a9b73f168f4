"""Step 31: the model card of the LoRA to use."""

from __future__ import annotations

import pandas as pd

from flenlib.dataset.records import Dataset
from flenlib.judge import card
from flenlib.params import Iteration
from flenlib.project import Project
from flenlib.wheel import results


def result(version: str, table: pd.DataFrame) -> results.ModelCard:
    """Return what step 31 came to: ``table`` has a row a picture."""
    criteria = card.success(table)
    return results.ModelCard(
        sentence=f"{version}: {criteria[1].found} first tries recognised", criteria=criteria, version=version
    )


def run(project: Project, settings: Iteration) -> results.ModelCard:
    """Do step 31: draw and measure the model card of the LoRA step 1.8 says to ship."""
    source, version = Dataset.open(project.data("source")), results.lora_to_use(project)
    paths = card.draw_all(project, settings.models, settings.card, {version: project.lora(version)})
    table = card.measure_all(project, settings.card, source, paths)[version]
    return result(version, table)
