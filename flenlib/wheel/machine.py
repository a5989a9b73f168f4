"""Notebook 00: what this machine is, what it can run at which precision, and whether what is asked for fits."""

from __future__ import annotations

from typing import Any

import pandas as pd

from flenlib.models import placement, registry
from flenlib.params import Models
from flenlib.record import Criterion


def machine_table(report: dict[str, Any]) -> pd.DataFrame:
    """Return the machine as a table of one column."""
    gpus = ", ".join(f"{gpu['name']} ({gpu['memory_gib']:.0f} GiB)" for gpu in report["gpus"])
    rows = {
        "processor": f"{report['cpu']}, {report['cores']} cores",
        "memory": f"{report['memory_gib']:.0f} GiB",
        "GPU": gpus or "none: the mini studio runs on the processor, the published models need a GPU",
        "python": report["python"],
        **report["packages"],
    }
    return pd.DataFrame({"this machine": rows})


def sentence(report: dict[str, Any]) -> str:
    """Return the machine in one line."""
    gpus = ", ".join(f"{gpu['name']} with {gpu['memory_gib']:.0f} GiB" for gpu in report["gpus"]) or "no GPU"
    return f"{report['cores']} cores, {report['memory_gib']:.0f} GiB of memory, {gpus}"


def fit_table(report: dict[str, Any]) -> pd.DataFrame:
    """Return the GiB of card memory each published model needs to sample, and what fits."""
    have = max((gpu["memory_gib"] for gpu in report["gpus"]), default=0.0)
    rows = []
    for family in placement.PARAMETERS:
        for precision in ("bf16", "int8", "nf4"):
            for offload in placement.OFFLOADS:
                need = placement.needed_gib(family, precision, offload)
                rows.append({"family": family, "precision": precision, "offload": offload, "needs GiB": round(need, 1),
                             "fits this GPU": "yes" if need <= have else "no"})  # fmt: skip
    return pd.DataFrame(rows).set_index(["family", "precision", "offload"])


def models_table(asked: Models) -> pd.DataFrame:
    """Return the two models an iteration asks for. Raises what `registry.resolve` raises for an unknown one."""
    found = [registry.resolve(asked.generator, "flux"), registry.resolve(asked.editor, "qwen_edit")]
    columns = ["name", "family", "licence", "size_gib", "gated", "resolution"]
    return pd.DataFrame([{column: getattr(model, column) for column in columns} for model in found]).set_index("name")


def criteria(asked: Models) -> list[Criterion]:
    """Return, for each model asked for, whether it fits this machine; when not, the sentence says what would."""
    found = []
    device = placement.pick_device(asked.device)
    for name, family in ((asked.generator, "flux"), (asked.editor, "qwen_edit")):
        model = registry.resolve(name, family)
        text, fits = f"{model.size_gib:.2f} GiB of weights", True
        if model.name in registry.KNOWN and not model.name.startswith("mini-"):
            try:
                placement.check_fits(model.name, family, asked.precision, asked.offload, device)
            except RuntimeError as error:
                text, fits = str(error), False
        found.append(
            Criterion(f"{model.name} fits this machine at {asked.precision}, offload {asked.offload}", fits, text)
        )
    return found
