"""Where a model goes and at which precision: device, dtype, quantisation, offload, and a refusal of what cannot fit.

The arithmetic is GiB = parameters x bytes, plus a margin for activations; it is a first gate, not a planner.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

PRECISIONS = ("fp32", "bf16", "int8", "nf4")
OFFLOADS = ("none", "model", "group")
BYTES = {"fp32": 4.0, "bf16": 2.0, "int8": 1.03, "nf4": 0.53}
PACKAGES = ("torch", "diffusers", "transformers", "peft", "accelerate", "bitsandbytes", "face_recognition", "papermill")
MARGIN_GIB = 2.5
GROUP_GIB = 2.0
PARAMETERS = {
    "flux": {"transformer": 11.90e9, "text": 4.88e9, "vae": 0.08e9},
    "qwen_edit": {"transformer": 20.43e9, "text": 8.29e9, "vae": 0.13e9},
}
"""Of the published models; the mini ones fit anywhere."""

KEEP = {
    "flux": {
        "transformer": ("x_embedder", "context_embedder", "time_text_embed", "norm_out", "proj_out"),
        "text_encoder_2": ("wo",),
    },
    "qwen_edit": {
        "transformer": ("img_mod", "txt_mod", "norm_out", "img_in", "txt_in", "proj_out", "time_text_embed"),
        "text_encoder": ("lm_head",),
    },
}
"""The parts that are quantised, and in each the layers that never are.

For the Qwen transformer this is the list DiffSynth-Studio uses; transformers itself keeps T5's ``wo`` and a head.
"""


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


def check_offload(offload: str) -> None:
    """Raise ValueError for an unknown offload."""
    if offload not in OFFLOADS:
        raise ValueError(f"offload is {offload!r}; it must be one of {', '.join(OFFLOADS)}")


def loading_options(family: str, precision: str, device: torch.device) -> dict[str, Any]:
    """Return what ``from_pretrained`` needs for a precision: the dtype, and on a GPU the bitsandbytes settings."""
    options: dict[str, Any] = {"dtype": pick_dtype(precision, device)}
    if precision in ("fp32", "bf16") or device.type == "cpu":
        return options
    import diffusers
    import transformers

    settings: dict[str, Any] = {"load_in_8bit": True}
    if precision == "nf4":
        settings = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.bfloat16}
    library = {name: diffusers if name == "transformer" else transformers for name in KEEP[family]}
    mapping = {
        name: library[name].BitsAndBytesConfig(**settings, llm_int8_skip_modules=list(keep))
        for name, keep in KEEP[family].items()
    }
    options["quantization_config"] = diffusers.PipelineQuantizationConfig(quant_mapping=mapping)
    return options


def place(pipeline: Any, parts: Sequence[str], family: str, precision: str, offload: str, device: torch.device) -> None:
    """Put newly loaded ``parts`` of a pipeline on their device and set up offload; on a CPU, quantise them first.

    ``model`` keeps on the card only the part at work; ``group`` streams layer by layer. On a CPU there is nothing to
    offload to, and both are ignored. Also called, without parts, after some were taken away.
    """
    if device.type == "cpu":
        for name in KEEP[family].keys() & set(parts) if precision in ("int8", "nf4") else ():
            quantise_on_cpu(getattr(pipeline, name), precision, KEEP[family][name])
    elif offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    elif offload == "group":
        for name in parts:
            stream(getattr(pipeline, name), device)
    else:
        pipeline.to(device)


def stream(model: nn.Module, device: torch.device, **options: Any) -> None:
    """Keep a model in RAM and bring each layer to the card for as long as it works (diffusers' group offloading).

    Norm weights stay on the card. They are small, and autograd keeps a reference to them rather than a copy, which
    would lie in RAM by the time a backward pass reads it; of a Linear it keeps what was on the card. So a LoRA can be
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


def quantise_on_cpu(model: nn.Module, precision: str, keep: tuple[str, ...]) -> int:
    """Swap the model's Linear layers for bitsandbytes ones, all but those ``kept``; return how many were swapped.

    diffusers' own loader refuses without a GPU.
    """
    import bitsandbytes as bnb

    names = [name for name, module in model.named_modules() if type(module) is nn.Linear and not kept(name, keep)]
    for name in names:
        old = model.get_submodule(name)
        biased = old.bias is not None
        if precision == "nf4":
            new = bnb.nn.Linear4bit(
                old.in_features, old.out_features, biased, compute_dtype=old.weight.dtype, quant_type="nf4"
            )
        else:
            new = bnb.nn.Linear8bitLt(old.in_features, old.out_features, biased, has_fp16_weights=False, threshold=6.0)
        new.load_state_dict(old.state_dict())
        new.requires_grad_(False)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, new.to("cpu"))
    return len(names)


def kept(name: str, keep: Sequence[str]) -> bool:
    """Say whether a layer stays unquantised: it is named by ``keep``, ends so, or is inside a module so named."""
    return any(name == part or name.endswith(f".{part}") or f"{part}." in name for part in keep)


def needed_gib(family: str, precision: str, offload: str = "none") -> float:
    """Return the GiB of card memory (of RAM, on a CPU) the published model of a family needs to sample."""
    weights = _weights_gib(family, precision)
    on_card = {"none": sum(weights), "model": max(weights), "group": GROUP_GIB}[offload]
    return on_card + MARGIN_GIB


def _weights_gib(family: str, precision: str) -> list[float]:
    vae = "fp32" if precision == "fp32" else "bf16"
    counts = PARAMETERS[family].items()
    return [count * BYTES[vae if part == "vae" else precision] / 2**30 for part, count in counts]


def fits(family: str, device: torch.device) -> list[tuple[str, str]]:
    """Return the (precision, offload) with which the published model of a family can sample here, best first.

    What is offloaded has to fit in RAM. A CPU holds the whole model at fp32 before quantising it, so only bf16 counts.
    """
    if device.type == "cpu":
        return [("bf16", "none")] if needed_gib(family, "bf16") <= memory_gib() else []
    card = torch.cuda.mem_get_info(device)[1] / 2**30
    return [
        (precision, offload)
        for precision in ("bf16", "int8", "nf4")
        for offload in OFFLOADS
        if needed_gib(family, precision, offload) <= card
        and (offload == "none" or sum(_weights_gib(family, precision)) <= memory_gib())
    ]


def check_fits(name: str, family: str, precision: str, offload: str, device: torch.device) -> None:
    """Raise RuntimeError in one sentence when the published model of a family cannot fit this machine."""
    on_card = device.type == "cuda"
    have = torch.cuda.mem_get_info(device)[1] / 2**30 if on_card else memory_gib()
    offload = offload if on_card else "none"
    need = needed_gib(family, precision if on_card or precision == "bf16" else "fp32", offload)
    held = sum(_weights_gib(family, precision)) if offload != "none" else 0.0
    if need <= have and held <= memory_gib():
        return
    fitting = fits(family, device)
    advice = "use the mini models, or a machine with a larger GPU"
    if fitting:
        advice = f"use precision {fitting[0][0]} with offload {fitting[0][1]}"
    ram = f" and {held:.0f} GiB of RAM" if held else ""
    raise RuntimeError(
        f"{name} at {precision} with offload {offload} needs about {need:.0f} GiB{ram}; this machine has "
        f"{have:.0f} GiB on {device.type} and {memory_gib():.0f} GiB of RAM: {advice}"
    )


def memory_gib() -> float:
    """Return the memory of this machine, or of the container it is, in GiB."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and limit.read_text().strip().isdigit():
        total = min(total, int(limit.read_text()))
    return total / 2**30


def machine_report() -> dict[str, Any]:
    """Return what this machine is and what fits it.

    Keys: python, cpu, cores, memory_gib, gpus (name and memory_gib each), packages (name -> version), fits (family ->
    list of "precision, offload" that its published model can sample with).
    """
    gpus = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    device = pick_device()
    return {
        "python": platform.python_version(),
        "cpu": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(memory_gib(), 1),
        "gpus": [{"name": gpu.name, "memory_gib": round(gpu.total_memory / 2**30, 1)} for gpu in gpus],
        "packages": {name: _version(name) for name in PACKAGES},
        "fits": {family: [f"{p}, offload {o}" for p, o in fits(family, device)] for family in PARAMETERS},
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def pipeline_facts(source: str) -> dict[str, Any]:
    """Return the ``flenlib.json`` of a pipeline folder (resolution, areas, text length); empty for published models."""
    path = Path(source) / "flenlib.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
