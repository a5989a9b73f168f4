"""Notebook 00: what this machine is, what it can run at which precision, whether the models asked for can be loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from flenlib.models import placement, registry
from flenlib.models.families.base import Family
from flenlib.params import Iteration, Models
from flenlib.predict import plan
from flenlib.predict.gpus import GPU, pick_gpu
from flenlib.project import Project
from flenlib.steps import Criterion
from flenlib.wheel import results
from flenlib.words import PLANNED, ROLES

EXAMPLE_GPU = "RTX 4090 24 GB"
"""The GPU that predictions are made for on a machine without one."""


def machine_table(report: placement.Machine) -> pd.DataFrame:
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


def sentence(report: placement.Machine) -> str:
    """Return the machine in one line."""
    gpus = ", ".join(f"{gpu['name']} with {gpu['memory_gib']:.0f} GiB" for gpu in report["gpus"]) or "no GPU"
    return f"{report['cores']} cores, {report['memory_gib']:.0f} GiB of memory, {gpus}"


def fit_table() -> pd.DataFrame:
    """Return the GiB of GPU memory and of RAM each published model is predicted to need to sample, and whether it fits.

    The GPU is this machine's, or a named one where there is none: the last column's heading says which.
    """
    gpu, heading = _gpu_in_question()
    rows = []
    for name, family in registry.FAMILIES.items():
        for precision in PLANNED:
            for offload in placement.offloads(precision):
                found = plan.sampling(family, precision=precision, offload=offload, gpu=gpu)
                rows.append({"family": name, "precision": precision, "offload": offload,
                             "needs GiB": round(found.peak_gib, 1), "GiB of RAM": round(found.ram_gib, 1),
                             heading: "yes" if found.fits else "no"})  # fmt: skip
    return pd.DataFrame(rows).set_index(["family", "precision", "offload"])


def _gpu_in_question() -> tuple[GPU, str]:
    """Return the GPU predictions are made for, and the heading of the column that says whether a model fits it."""
    gpu = pick_gpu()
    if gpu.cpu:
        return pick_gpu(EXAMPLE_GPU), f"fits an {EXAMPLE_GPU} (no GPU here)"
    return gpu, f"fits {gpu.name}"


def train_table() -> pd.DataFrame:
    """Return the GiB a LoRA of each published model is predicted to need at 1024 x 1024, and seconds a step by GPU."""
    return pd.concat({name: plan.table(family) for name, family in registry.FAMILIES.items()}, names=["family"])


def train_sentences() -> str:
    """Return what training each published model takes on this machine's GPU, or a named one, and what would fit."""
    gpu, _ = _gpu_in_question()
    alone = ["no GPU here, so only the mini studio trains"] if pick_gpu().cpu else []
    return "\n".join([*alone, *(_train_sentence(family, gpu) for family in registry.FAMILIES.values())])


def _train_sentence(family: type[Family], gpu: GPU) -> str:
    """Return what a training takes as the family is used on a GPU of this size when the settings leave it open."""
    precision, offload = family.for_memory(gpu.gib)
    return plan.plan(family, precision=precision, offload=offload, gpu=gpu).sentence


def models_table(asked: Models) -> pd.DataFrame:
    """Return the two models an iteration asks for, and the duties their licences carry.

    Raises what `registry.resolve` raises for an unknown one.
    """
    found = [registry.resolve(name, role) for role, name in _roles(asked)]
    columns = ["name", "licence", "size_gib", "gated", "resolution"]
    rows = [
        {"family": model.family.name} | {column: getattr(model, column) for column in columns} | duties(model)
        for model in found
    ]
    return pd.DataFrame(rows).set_index("name")


def duties(model: registry.Model) -> dict[str, str]:
    """Return what a model's licence allows and asks for, in words."""
    commercial = {True: "yes", False: "no", None: "not known"}[model.commercial]
    asked = {"content filter or review": model.needs_filter, "say that pictures are made": model.needs_disclosure}
    return {"commercial use": commercial, "asks for": ", ".join(name for name, true in asked.items() if true)}


def criteria(asked: Models) -> list[Criterion]:
    """Return, for each model asked for, whether it fits this machine, and of one on the hub, whether it may be loaded.

    When not, the sentence says what would, or what to do: a gated model is found here and not after hours of edits.
    """
    return [criterion for role, name in _roles(asked) for criterion in _model_criteria(asked, role, name)]


def _roles(asked: Models) -> list[tuple[str, str]]:
    return [(role, getattr(asked, role)) for role in ROLES]


def _model_criteria(asked: Models, role: str, name: str) -> list[Criterion]:
    try:
        model = registry.resolve(name, role)
    except RuntimeError as error:  # a hub id whose index cannot be had
        return [Criterion(f"{name} may be loaded from the hub", False, str(error))]
    text, fits = f"{model.size_gib:.2f} GiB of weights", True
    if model.name in registry.KNOWN and not model.small:
        gpu = pick_gpu(device=placement.pick_device(asked.device))
        how: dict[str, Any] = {"precision": asked.precision, "offload": asked.offload}
        found = plan.sampling(model.family, **how, gpu=gpu)
        text, fits = found.sentence, found.fits
        if gpu.cpu and not fits:
            text = f"no GPU here; {plan.sampling(model.family, **how, gpu=EXAMPLE_GPU).sentence}"
    fit = Criterion(f"{model.name} fits this machine at {asked.precision}, offload {asked.offload}", fits, text)
    return [fit] if Path(model.source).is_dir() else [fit, _on_hub(model)]


def _on_hub(model: registry.Model) -> Criterion:
    """Return whether a model's index can be fetched, which takes the same rights and network as its weights."""
    name = f"{model.name} may be loaded from the hub"
    try:
        registry.fetch(model.source, "model_index.json", name=model.name, revision=model.revision)
    except RuntimeError as error:
        return Criterion(name, False, str(error))
    return Criterion(name, True, f"{model.page}, licence {model.licence}")


def result(report: placement.Machine, asked: Models) -> results.CheckMachine:
    """Return what step 00 came to."""
    return results.CheckMachine(sentence=sentence(report), machine=report, criteria=criteria(asked))


def run(project: Project, settings: Iteration) -> results.CheckMachine:
    """Do step 00: look at this machine, and whether it can run the models asked for."""
    return result(placement.machine_report(), settings.models)
