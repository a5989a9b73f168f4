"""Where a model goes and at which precision: device, dtype, quantisation, offload. What fits is said in ``plan``."""

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
PACKAGES = ("torch", "diffusers", "transformers", "peft", "accelerate", "bitsandbytes", "face_recognition", "papermill")

KEEP = {
    "flux": {
        "transformer": ("x_embedder", "context_embedder", "time_text_embed", "norm_out", "proj_out"),
        "text_encoder_2": (".wo",),
    },
    "qwen_edit": {
        "transformer": ("norm_out", "img_in", "txt_in", "proj_out", "time_text_embed"),
        "text_encoder": ("lm_head",),
    },
}
"""The parts that are quantised, and in each the layers that never are (T5's ``wo`` and a head as in transformers)."""

EIGHT_BITS = {"flux": (), "qwen_edit": ("img_mod", "txt_mod")}
"""Layers of the transformer that stay at int8 when the rest is nf4.

With ``KEEP`` this is DiffSynth-Studio's list of what nf4 should spare in Qwen-Image. It leaves these in bfloat16: a
third of the model, 12.7 GiB of it, with which no training fits a 24 GiB card.
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
        name: library[name].BitsAndBytesConfig(**settings, llm_int8_skip_modules=list(spared(family, name, precision)))
        for name in KEEP[family]
    }
    options["quantization_config"] = diffusers.PipelineQuantizationConfig(quant_mapping=mapping)
    return options


def spared(family: str, part: str, precision: str) -> tuple[str, ...]:
    """Return the layers of a part of a pipeline that are not quantised to a precision."""
    return KEEP[family][part] + (EIGHT_BITS[family] if part == "transformer" and precision == "nf4" else ())


def place(pipeline: Any, parts: Sequence[str], family: str, precision: str, offload: str, device: torch.device) -> None:
    """Put newly loaded ``parts`` of a pipeline on their device and set up offload, and finish quantising them.

    ``model`` keeps on the card only the part at work; ``group`` streams layer by layer. On a CPU there is nothing to
    offload to, and both are ignored. Also called, without parts, after some were taken away.
    """
    if precision in ("int8", "nf4") and device.type == "cpu":  # diffusers' own loader refuses without a GPU
        for name in KEEP[family].keys() & set(parts):
            quantise(getattr(pipeline, name), precision, spared(family, name, precision))
    if precision == "nf4" and "transformer" in parts:
        quantise(pipeline.transformer, "int8", (), only=EIGHT_BITS[family])
    if device.type == "cpu":
        return
    if offload == "model":
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


def quantise(model: nn.Module, precision: str, keep: Sequence[str], only: Sequence[str] | None = None) -> int:
    """Swap Linear layers for bitsandbytes ones: all but those ``keep`` names, or ``only`` those; return how many."""
    names = [
        name
        for name, module in model.named_modules()
        if type(module) is nn.Linear and (kept(name, only) if only is not None else not kept(name, keep))
    ]
    for name in names:
        model.set_submodule(name, quantised(model.get_submodule(name), precision))
    return len(names)


def quantised(layer: nn.Linear, precision: str) -> nn.Linear:
    """Return a Linear layer at int8 or nf4, frozen, on the device it was on."""
    import bitsandbytes as bnb

    shape, biased = (layer.in_features, layer.out_features), layer.bias is not None
    if precision == "nf4":
        new = bnb.nn.Linear4bit(*shape, biased, compute_dtype=layer.weight.dtype, quant_type="nf4")
    else:
        new = bnb.nn.Linear8bitLt(*shape, biased, has_fp16_weights=False, threshold=6.0)
    new.load_state_dict({key: value.cpu() for key, value in layer.state_dict().items()})
    return new.requires_grad_(False).to(layer.weight.device)


def kept(name: str, keep: Sequence[str]) -> bool:
    """Say whether a layer is meant: named so, inside a module so named, or, for ``.wo``, ending so.

    This is the rule of diffusers' and of transformers' own loaders.
    """
    return any(name == part or f"{part}." in name or (part[0] == "." and name.endswith(part)) for part in keep)


def memory_gib() -> float:
    """Return the memory of this machine, or of the container it is, in GiB."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and limit.read_text().strip().isdigit():
        total = min(total, int(limit.read_text()))
    return total / 2**30


def machine_report() -> dict[str, Any]:
    """Return what this machine is: python, cpu, cores, memory_gib, gpus (name and memory_gib), packages (versions)."""
    gpus = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return {
        "python": platform.python_version(),
        "cpu": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(memory_gib(), 1),
        "gpus": [{"name": gpu.name, "memory_gib": round(gpu.total_memory / 2**30, 1)} for gpu in gpus],
        "packages": {name: _version(name) for name in PACKAGES},
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
