"""LoRA on any family: attach a trainable one, write it, load it back, stack finished ones for sampling.

A file holds ``<prefix><module>.lora_A.weight``, ``.lora_B.weight`` and ``.alpha``. The prefix is ``transformer.`` for
flux and ``diffusion_model.`` for qwen_edit: with ``.alpha`` in the file, diffusers reads each family under that name
only, and ComfyUI, which knows alpha from ``.alpha`` alone, reads both.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from diffusers.utils import logging as diffusers_logging
from peft import LoraConfig, set_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

ADAPTER = "trained"
"""peft cannot take "train": it names a method of every module."""
_ATTENTION = ("attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.0")
_JOINT = ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out")
_FLUX_MLP = ("ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2")
_QWEN_MLP = ("img_mlp.net.0.proj", "img_mlp.net.2", "txt_mlp.net.0.proj", "txt_mlp.net.2")
TARGETS: dict[str, dict[str, tuple[str, ...]]] = {
    "flux": {"attention": _ATTENTION, "attention+mlp": _ATTENTION + _JOINT + _FLUX_MLP, "all-linear": ("*",)},
    "qwen_edit": {"attention": _ATTENTION, "attention+mlp": _ATTENTION + _JOINT + _QWEN_MLP, "all-linear": ("*",)},
}
"""Endings of module names within the transformer's blocks; ``*`` is every Linear there.

At rank 16 of the published models: flux 18.7 M, 44.8 M and 85.9 M parameters; qwen_edit 23.6 M, 106 M and 147 M.
"""

_MARKS = {
    "flux": re.compile(r"single_(transformer_)?blocks|double_blocks|ff_context|guidance_in|time_text_embed\.guidance"),
    "qwen_edit": re.compile(r"(img|txt)_(mlp|mod)|transformer_blocks[._](2\d|[3-9]\d)[._]"),
}


@dataclass(frozen=True)
class Stacked:
    """One finished LoRA on a family: its file, its content hash, and how strongly it is applied."""

    file: str
    sha256: str
    weight: float


class Family(Protocol):
    """What this module needs of a family."""

    name: str
    lora_prefix: str
    pipeline: Any
    loras: list[Stacked]

    @property
    def transformer(self) -> Any:
        """The part LoRAs are put on."""


def target_modules(family: Family, targets: str | Sequence[str]) -> list[str]:
    """Return the full names of the Linear layers a preset, or a list of name endings, stands for.

    Raises ValueError for an unknown preset, and for an ending that matches nothing in this model.
    """
    presets = TARGETS[family.name]
    if isinstance(targets, str):
        if targets not in presets:
            raise ValueError(f"targets is {targets!r}; it must be one of {', '.join(presets)}, or a list of layers")
        targets = presets[targets]
    linear = [n for n, m in family.transformer.named_modules() if isinstance(m, nn.Linear) and "blocks." in n]
    if tuple(targets) == ("*",):
        return linear
    for ending in targets:
        if not any(f".{name}".endswith(f".{ending}") for name in linear):
            known = ", ".join(sorted({re.sub(r"^.*blocks\.\d+\.", "", name) for name in linear}))
            raise ValueError(f"LoRA target {ending!r} matches nothing in the {family.name} transformer; it has {known}")
    return [name for name in linear if any(f".{name}".endswith(f".{ending}") for ending in targets)]


def attach(family: Family, rank: int, alpha: float, targets: str | Sequence[str], seed: int) -> None:
    """Add the trainable LoRA, in float32, and freeze everything else; one seed gives one start.

    Raises ValueError when finished LoRAs are stacked (a LoRA is trained on the base model) or one is already attached.
    """
    transformer = family.transformer
    if family.loras or attached(family):
        raise ValueError(f"this {family.name} already carries a LoRA; call unstack(family) before attaching another")
    names = target_modules(family, targets)
    transformer.requires_grad_(False)
    transformer.add_adapter(LoraConfig(r=rank, lora_alpha=alpha, target_modules=names), adapter_name=ADAPTER)
    generator = torch.Generator("cpu").manual_seed(seed)
    for name, parameter in sorted(_train_parameters(family).items()):
        start = torch.zeros(parameter.shape)
        if ".lora_A." in name:
            bound = 1 / math.sqrt(parameter.shape[1])
            start.uniform_(-bound, bound, generator=generator)
        parameter.data = start.to(parameter.device)
        parameter.requires_grad_(True)


def attached(family: Family) -> bool:
    """Say whether the family carries a trainable LoRA."""
    return ADAPTER in getattr(family.transformer, "peft_config", {})


def trainable(family: Family) -> list[nn.Parameter]:
    """Return the trainable LoRA's parameters, always in the same order. Raises ValueError when none is there."""
    if not attached(family):
        raise ValueError(f"this {family.name} has no trainable LoRA; call attach(family, ...) first")
    return [parameter for _, parameter in sorted(_train_parameters(family).items())]


def _train_parameters(family: Family) -> dict[str, nn.Parameter]:
    return {n: p for n, p in family.transformer.named_parameters() if f".{ADAPTER}." in n and ".lora_" in n}


def write(family: Family, path: str | Path, metadata: dict[str, str]) -> Path:
    """Write the trainable LoRA as ``.safetensors`` (float32), all of it or nothing, and return the path.

    The header carries ``modelspec.*`` and ``ss_*`` facts and ``metadata``, whose values are text.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"a LoRA file must end in .safetensors, not {path.name!r}")
    trainable(family)
    config = family.transformer.peft_config[ADAPTER]
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in sorted(_train_parameters(family).items()):
        key = family.lora_prefix + name.replace(f".{ADAPTER}.", ".")
        tensors[key] = parameter.detach().float().cpu().contiguous()
        tensors[re.sub(r"\.lora_[AB]\.weight$", ".alpha", key)] = torch.tensor(float(config.lora_alpha))
    header = {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": {"flux": "flux-1-dev/lora", "qwen_edit": "qwen-image-edit-plus/lora"}[family.name],
        "modelspec.implementation": "diffusers",
        "modelspec.title": path.stem,
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(config.r),
        "ss_network_alpha": str(float(config.lora_alpha)),
        **metadata,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    save_file(tensors, partial, metadata={key: str(value) for key, value in header.items()})
    os.replace(partial, path)
    return path


def load_into(family: Family, path: str | Path) -> None:
    """Put a written LoRA's weights into the attached one, to train on. Raises ValueError when the shapes differ."""
    trainable(family)
    check_family(path, family.name)
    config = family.transformer.peft_config[ADAPTER]
    file = load_file(path)
    alphas = {float(value) for key, value in file.items() if key.endswith(".alpha")} or {float(config.lora_alpha)}
    weights = {k.removeprefix(family.lora_prefix): v for k, v in file.items() if not k.endswith(".alpha")}
    here = {n.replace(f".{ADAPTER}.", "."): p.shape for n, p in _train_parameters(family).items()}
    if {k: v.shape for k, v in weights.items()} != here or alphas != {float(config.lora_alpha)}:
        rank = next(iter(weights.values())).shape[0]
        raise ValueError(
            f"{path} holds {len(weights)} tensors (first of rank {rank}, alpha {sorted(alphas)}) and the attached LoRA "
            f"{len(here)} of rank {config.r}, alpha {config.lora_alpha}; train with the settings it was made with"
        )
    set_peft_model_state_dict(family.transformer, weights, adapter_name=ADAPTER)


def stack(family: Family, uses: Sequence[tuple[str | Path, float]]) -> None:
    """Put finished LoRAs (file, weight) on the family for sampling, in place of any there.

    Raises FileNotFoundError for a missing file and ValueError for a file of another family, before anything changes.
    """
    for path, _ in uses:
        check_family(path, family.name)
    if attached(family):
        raise ValueError(f"this {family.name} is being trained; call unstack(family) before stacking finished LoRAs")
    unstack(family)
    names = [f"stacked_{index}" for index in range(len(uses))]
    for name, (path, _) in zip(names, uses, strict=True):
        _put_on(family, Path(path), name)
    if names:
        family.pipeline.set_adapters(names, [weight for _, weight in uses])
        family.transformer.requires_grad_(False)
    family.loras = [Stacked(str(path), fingerprint(path), float(weight)) for path, weight in uses]


def _put_on(family: Family, path: Path, name: str) -> None:
    level = diffusers_logging.get_verbosity()
    diffusers_logging.set_verbosity(logging.CRITICAL)  # it warns of text encoder keys, and tells errors twice
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Already found a `peft_config`")
            family.pipeline.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=name)
        if name not in getattr(family.transformer, "peft_config", {}):
            raise ValueError("none of its keys names a layer of the transformer")
    except (ValueError, KeyError, RuntimeError, NotImplementedError) as error:
        unstack(family)
        reason = (str(error).splitlines() or [""])[0]
        raise ValueError(f"LoRA {path} does not fit this {family.name}: {reason}") from error
    finally:
        diffusers_logging.set_verbosity(level)


def unstack(family: Family) -> None:
    """Take every LoRA off the family, the trainable one included: what is left is the base model."""
    if getattr(family.transformer, "peft_config", None):
        family.pipeline.unload_lora_weights()
    family.loras = []


def parse_use(use: str) -> tuple[str, float]:
    """Return (path, weight) of ``path:0.8``; the weight defaults to 1. Raises ValueError for an empty path."""
    path, weight = use, 1.0
    found = re.fullmatch(r"(.*):([+-]?(?:\d+\.?\d*|\.\d+))", use.strip())
    if found:
        path, weight = found.group(1), float(found.group(2))
    if not path.strip():
        raise ValueError(f"LoRA {use!r} names no file; write 'path/to/file.safetensors:0.8'")
    return path.strip(), weight


def family_of(path: str | Path) -> str | None:
    """Return the family a LoRA file was made for, from its header or its keys; None when neither says.

    Raises FileNotFoundError for a missing file and ValueError for one that is not a LoRA in safetensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"LoRA file {path} does not exist")
    try:
        with safe_open(path, framework="pt") as file:
            keys, header = list(file.keys()), file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a whole safetensors file ({error}); download or train it again") from None
    if not any("lora" in key for key in keys):
        raise ValueError(f"{path} is not a LoRA: its keys look like {keys[0]!r}" if keys else f"{path} is empty")
    architecture = header.get("modelspec.architecture", "").lower()
    for family, word in (("flux", "flux"), ("qwen_edit", "qwen")):
        if word in architecture:
            return family
    joined = "\n".join(keys)
    return next((family for family, mark in _MARKS.items() if mark.search(joined)), None)


def check_family(path: str | Path, family: str) -> None:
    """Raise ValueError, naming the file and its keys, when a LoRA file was made for another family."""
    found = family_of(path)
    if found in (family, None):
        return
    with safe_open(path, framework="pt") as file:
        key = next(iter(file.keys()))
    raise ValueError(f"LoRA {path} was made for {found} (its keys look like {key!r}) and cannot be used with {family}")


def fingerprint(path: str | Path) -> str:
    """Return the sha256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def header(path: str | Path) -> dict[str, str]:
    """Return the text metadata in the header of a LoRA file."""
    with Path(path).open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        return json.loads(file.read(size)).get("__metadata__", {})


def one_grid(grid: torch.Tensor) -> tuple[int, int]:
    """Return the (rows, columns) all pictures of a batch share. Raises ValueError when they differ."""
    rows = {tuple(row) for row in grid.reshape(-1, 2).tolist()}
    if len(rows) != 1:
        raise ValueError(f"one batch mixes pictures of different sizes ({sorted(rows)} tokens); group them by size")
    return rows.pop()
