"""Where a model goes and at which precision: device, dtype, quantisation, offload. What fits is said in ``plan``."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import torch
from torch import nn

from flenlib.dataset.files import read_json
from flenlib.models.quantise import quantise
from flenlib.words import OFFLOADS, PRECISIONS

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from flenlib.models.families.base import Family

ENCODING_GIB = 2.0
"""What encoding a text takes beside the encoders' weights, at most: assumed."""
PACKAGES = ("torch", "diffusers", "transformers", "peft", "accelerate", "bitsandbytes", "face_recognition", "papermill")


def pick_device(device: str = "auto") -> torch.device:
    """Return the device of ``auto``, ``cpu``, ``cuda`` or ``cuda:1``. Raises ValueError for one that is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device is {device!r}; it must be auto, cpu, cuda or cuda:N") from None
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device is {device!r} and this machine has {torch.cuda.device_count()} GPUs; use auto or cpu")
    return found


def pick_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the dtype of activations and unquantised weights. Raises ValueError for an unknown precision."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}; it must be one of {', '.join(PRECISIONS)}")
    if precision == "fp32" or (precision != "bf16" and device.type == "cpu"):
        return torch.float32
    return torch.bfloat16


def offloads(precision: str) -> tuple[str, ...]:
    """Return how a model at a precision can be offloaded: quantised weights cannot be streamed layer by layer.

    diffusers' group offloading moves a parameter's numbers and not the scales that bitsandbytes keeps beside them.
    """
    return OFFLOADS if precision in ("fp32", "bf16") else ("none", "model")


def check_offload(offload: str, precision: str) -> None:
    """Raise ValueError for an unknown offload, and for one that cannot be used at a precision."""
    if offload not in OFFLOADS:
        raise ValueError(f"offload is {offload!r}; it must be one of {', '.join(OFFLOADS)}")
    if offload not in offloads(precision):
        raise ValueError(f"offload {offload} streams bf16 or fp32 weights and the precision is {precision}; use model")


def make_current(device: torch.device) -> None:
    """Make a GPU the one that libraries use where they do not ask; without it that is the first, in every process."""
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)


def place(
    pipeline: DiffusionPipeline,
    parts: Sequence[str],
    family: type[Family],
    precision: str,
    offload: str,
    device: torch.device,
    alone: bool = False,
) -> None:
    """Quantise newly loaded ``parts`` of a pipeline, put them on their device and set up offload.

    Parts come from the disk into RAM, where they need no room of their own, and to the GPU layer by layer.
    ``model`` keeps on the GPU only the part at work; ``group`` streams layer by layer. On a CPU there is nothing to
    offload to, and both are ignored. Text encoders that are ``alone`` on the device when they work, and fit it, are
    not quantised. Also called, without parts, after some were taken away.
    """
    if precision in ("int8", "nf4"):
        whole = set(family.encoders) if alone and encoders_fit(pipeline, family, device) else set()
        for name in family.quantised.keys() & set(parts) - whole:
            quantise(getattr(pipeline, name), precision, device, family.spared(name, precision))
    if precision == "nf4" and "transformer" in parts:
        quantise(pipeline.transformer, "int8", device, only=family.eight_bits)
    if device.type == "cpu":
        return
    if offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    elif offload == "group":
        for name in parts:
            stream(getattr(pipeline, name), device)
    else:
        pipeline.to(device)


def encoders_fit(pipeline: DiffusionPipeline, family: type[Family], device: torch.device) -> bool:
    """Say whether a pipeline's text encoders, as they were loaded, and their work fit a device that is else empty."""
    encoders = [getattr(pipeline, name) for name in family.encoders]
    size = sum(weight.nbytes for encoder in encoders if encoder is not None for weight in encoder.parameters())
    return size / 2**30 + ENCODING_GIB <= (gpu_gib(str(device)) or memory_gib())


def stream(model: nn.Module, device: torch.device, **options: Any) -> None:
    """Keep a model in RAM and bring each layer to the GPU for as long as it works (diffusers' group offloading).

    Norm weights stay on the GPU. They are small, and autograd keeps a reference to them rather than a copy, which
    would lie in RAM by the time a backward pass reads it; of a Linear it keeps what was on the GPU. So a LoRA can be
    trained through it, with gradient checkpointing: without it all layers are kept until the backward pass.
    ``options`` go to ``apply_group_offloading`` in place of its prefetching stream.
    """
    from diffusers.hooks import apply_group_offloading

    norms = [module for module in model.modules() if "Norm" in type(module).__name__ and module._parameters]
    weights = [dict(module._parameters) for module in norms]
    for module in norms:
        for name in module._parameters:
            module._parameters[name] = None
    options = options or {"use_stream": True, "record_stream": True}
    apply_group_offloading(model, device, offload_type="leaf_level", **options)
    for module, parameters in zip(norms, weights, strict=True):
        for name, parameter in parameters.items():
            module._parameters[name] = None if parameter is None else nn.Parameter(parameter.data.to(device), False)


def memory_gib() -> float:
    """Return the memory of this machine, or of the container it is, in GiB."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and limit.read_text().strip().isdigit():
        total = min(total, int(limit.read_text()))
    return total / 2**30


def gpu_gib(device: str = "auto") -> float | None:
    """Return the GiB of memory of the GPU that ``auto``, ``cuda`` or ``cuda:1`` names; None for a cpu or no GPU."""
    index = int(device.partition(":")[2] or 0)
    if device == "cpu" or index >= torch.cuda.device_count():
        return None
    return torch.cuda.get_device_properties(index).total_memory / 2**30


class Machine(TypedDict):
    """What a machine is: versions by package, and its GPUs by name and memory."""

    python: str
    cpu: str
    cores: int
    memory_gib: float
    gpus: list[dict[str, str | float]]
    packages: dict[str, str]


def machine_report() -> Machine:
    """Return what this machine is."""
    gpus = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    found: Machine = {
        "python": platform.python_version(),
        "cpu": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(memory_gib(), 1),
        "gpus": [{"name": gpu.name, "memory_gib": round(gpu.total_memory / 2**30, 1)} for gpu in gpus],
        "packages": {name: _version(name) for name in PACKAGES},
    }
    return found


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def pipeline_facts(source: str) -> dict[str, Any]:
    """Return the ``flenlib.json`` of a pipeline folder (resolution, areas, text length); empty for published models."""
    path = Path(source) / "flenlib.json"
    return read_json(path, "save the pipeline again") if path.is_file() else {}
