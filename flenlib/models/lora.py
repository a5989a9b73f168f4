"""LoRA, DoRA and LoKr on any family: attach a trainable one, stack finished ones for sampling, tell files apart.

What a file holds, and how it is written, is in ``lora_file``.
"""

from __future__ import annotations

import hashlib
import logging
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from diffusers.utils import logging as diffusers_logging
from peft import LoKrConfig, LoraConfig, PeftConfig, set_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn

from flenlib.models import lora_values
from flenlib.models.community import split_weight
from flenlib.models.families import FAMILIES
from flenlib.words import ADAPTERS

if TYPE_CHECKING:
    from flenlib.models.families.base import Family

ADAPTER = "trained"
"""peft cannot take "train": it names a method of every module."""

CONVERT = "use its .safetensors, or have somebody who trusts it convert it"


@dataclass(frozen=True)
class Stacked:
    """One finished LoRA on a family: its file, its content hash, how strongly it is applied, its commit on the hub."""

    file: str
    sha256: str
    weight: float
    revision: str = ""

    @classmethod
    def of(cls, path: str | Path, weight: float) -> Stacked:
        """Return the LoRA in a file at a weight."""
        cached = re.search(r"/models--[^/]+/snapshots/([^/]+)/", str(path))
        return cls(str(path), fingerprint(path), float(weight), cached[1] if cached else "")


def target_modules(family: type[Family], transformer: nn.Module, targets: str | Sequence[str]) -> list[str]:
    """Return the full names of the Linear layers a preset, or a list of name endings, stands for.

    Raises ValueError for an unknown preset, and for an ending that matches nothing in this model.
    """
    if isinstance(targets, str):
        if targets not in family.targets:
            known = ", ".join(family.targets)
            raise ValueError(f"targets is {targets!r}; it must be one of {known}, or a list of layers")
        targets = family.targets[targets]
    within = re.compile(rf"({'|'.join(family.blocks)})\.\d+\.")
    linear = [n for n, m in transformer.named_modules() if isinstance(m, nn.Linear) and within.match(n)]
    if tuple(targets) == ("*",):
        return linear
    for ending in targets:
        if not any(f".{name}".endswith(f".{ending}") for name in linear):
            known = ", ".join(sorted({within.sub("", name) for name in linear}))
            raise ValueError(f"LoRA target {ending!r} matches nothing in the {family.name} transformer; it has {known}")
    return [name for name in linear if any(f".{name}".endswith(f".{ending}") for ending in targets)]


def attach(
    family: Family, rank: int, alpha: float, targets: str | Sequence[str], seed: int, kind: str = "lora"
) -> None:
    """Add the trainable LoRA, in float32, and freeze everything else; one seed gives one start.

    ``kind`` is ``lora`` (Hu et al. 2021, arXiv:2106.09685), ``dora`` (Liu et al. 2024, arXiv:2402.09353) or ``lokr``
    (Yeh et al. 2023, arXiv:2309.14859). Raises ValueError when finished LoRAs are stacked (a LoRA is trained on the
    base model), one is already attached, or the kind cannot be put on this base.
    """
    transformer = family.transformer
    check_kind(kind, family.precision, family.offload)
    if family.loras or attached(family):
        raise ValueError(f"this {family.name} already carries a LoRA; call unstack(family) before attaching another")
    names = target_modules(type(family), transformer, targets)
    transformer.requires_grad_(False)
    transformer.add_adapter(new_config(kind, rank, alpha, names), adapter_name=ADAPTER)
    generator = torch.Generator("cpu").manual_seed(seed)
    for name, parameter in parameters(family).items():
        start = torch.zeros(parameter.shape)
        if "lora_magnitude_vector" in name:
            start = parameter.detach().float()
        elif ".lora_B." not in name and ".lokr_w1." not in name:
            bound = 1 / math.sqrt(parameter.shape[1])
            start.uniform_(-bound, bound, generator=generator)
        parameter.data = start.to(family.device)
        parameter.requires_grad_(True)


def check_kind(kind: str, precision: str, offload: str) -> None:
    """Raise ValueError for an unknown kind of LoRA, or one that cannot be trained on a base so loaded."""
    if kind not in ADAPTERS:
        raise ValueError(f"the kind of LoRA is {kind!r}; it must be one of {', '.join(ADAPTERS)}")
    if kind == "lokr" and precision == "nf4":
        raise ValueError("a lokr cannot be put on nf4 weights, which have no shape; use lora or dora, or bf16 or int8")
    if kind == "dora" and offload == "group":
        raise ValueError("a dora reads weights of the base that offload group has put away; use lora, or offload model")


def new_config(kind: str, rank: int, alpha: float, names: list[str]) -> PeftConfig:
    """Return peft's configuration of a kind of LoRA on the named layers."""
    if kind == "lokr":
        return LoKrConfig(r=rank, alpha=alpha, target_modules=names)
    return LoraConfig(r=rank, lora_alpha=alpha, target_modules=names, use_dora=kind == "dora")


def kind_of_config(config: PeftConfig) -> str:
    """Return which of ``words.ADAPTERS`` a peft configuration describes."""
    if isinstance(config, LoKrConfig):
        return "lokr"
    return "dora" if config.use_dora else "lora"


def attached(family: Family) -> bool:
    """Say whether the family carries a trainable LoRA."""
    return ADAPTER in getattr(family.transformer, "peft_config", {})


def trainable(family: Family) -> list[nn.Parameter]:
    """Return the trainable LoRA's parameters, always in the same order. Raises ValueError when none is there."""
    if not attached(family):
        raise ValueError(f"this {family.name} has no trainable LoRA; call attach(family, ...) first")
    return list(parameters(family).values())


def parameters(family: Family) -> dict[str, nn.Parameter]:
    """Return the trainable LoRA's parameters by name, in the order of their names."""
    found = {n: p for n, p in family.transformer.named_parameters() if f".{ADAPTER}" in n and ".lo" in n}
    return dict(sorted(found.items()))


def key_of(name: str) -> str:
    """Return a parameter's name as a file has it: without the adapter, and a DoRA magnitude without ``.weight``."""
    name = name.replace(f".{ADAPTER}", "")
    return name.removesuffix(".weight") if "lora_magnitude_vector" in name else name


def stack(family: Family, uses: Sequence[tuple[str | Path, float]]) -> None:
    """Put finished LoRAs (file, weight) on the family for sampling, in place of any there.

    Raises FileNotFoundError for a missing file and ValueError for one of another family, or a damaged one, before
    anything changes.
    """
    for path, _ in uses:
        check(path, type(family))
    kinds = [kind_of(path) for path, _ in uses]
    if "lokr" in kinds and len(kinds) > 1:
        raise ValueError(f"{uses[kinds.index('lokr')][0]} is a lokr, which can only be used by itself; give it alone")
    if attached(family):
        raise ValueError(f"this {family.name} is being trained; call unstack(family) before stacking finished LoRAs")
    unstack(family)
    names = [f"stacked_{index}" for index in range(len(uses))]
    for name, kind, (path, _) in zip(names, kinds, uses, strict=True):
        _put_on(family, Path(path), name, kind)
    if names:
        family.pipeline.set_adapters(names, [weight for _, weight in uses])
        family.transformer.requires_grad_(False)
    family.loras = [Stacked.of(path, weight) for path, weight in uses]


def _put_on(family: Family, path: Path, name: str, kind: str) -> None:
    level = diffusers_logging.get_verbosity()
    diffusers_logging.set_verbosity(logging.CRITICAL)  # it warns of text encoder keys, and tells errors twice
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Already found a `peft_config`")
            if kind == "lora":
                _check_widths(family, path)
                family.pipeline.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=name)
            else:
                _put_on_by_peft(family, path, name, kind)
        if name not in getattr(family.transformer, "peft_config", {}):
            raise ValueError("none of its keys names a layer of the transformer")
    except (ValueError, KeyError, RuntimeError, NotImplementedError) as error:
        unstack(family)
        reason = (str(error).splitlines() or [""])[0]
        raise ValueError(f"LoRA {path} does not fit this {family.name}: {reason}") from error
    finally:
        diffusers_logging.set_verbosity(level)


def _check_widths(family: Family, path: Path) -> None:
    """Raise ValueError for a factor narrower than its layer, which diffusers fills up with zeros."""
    found = family.pipeline.lora_state_dict(str(path.parent), weight_name=path.name)
    layers = dict(family.transformer.named_modules())
    for key, factor in found.items():
        layer = layers.get(key.removeprefix("transformer.").removesuffix(".lora_A.weight"))
        width = getattr(layer, "in_features", factor.shape[-1] if factor.ndim else 0)
        if key.endswith(".lora_A.weight") and factor.shape[-1] != width:
            raise ValueError(f"{key!r} is {factor.shape[-1]} wide and its layer {width}")


def _put_on_by_peft(family: Family, path: Path, name: str, kind: str) -> None:
    """Load what diffusers' own loader cannot: DoRA, whose scale it drops, and LoKr."""
    file = {key.removeprefix(family.lora_prefix): value for key, value in load_file(path).items()}
    facts = header(path)
    alphas = {float(value) for key, value in file.items() if key.endswith(".alpha")}
    if not alphas and family.folds_alpha:
        alphas = {float(facts.get("ss_network_dim", 0))}
    if "ss_network_dim" not in facts or len(alphas) != 1:
        raise ValueError(f"a {kind} of another trainer, without one rank and alpha in it, cannot be loaded")
    rank, alpha = int(facts["ss_network_dim"]), alphas.pop()
    if rank < 1 or not alpha:
        raise ValueError(f"its rank is {rank} and its alpha {alpha:g}; both must be above 0")
    if kind == "dora" and not any(key.endswith(".lora_magnitude_vector") for key in file):
        raise ValueError("a dora with ComfyUI's .dora_scale alone cannot be loaded")
    modules = sorted({re.split(r"\.lo(?:ra|kr)_", key)[0] for key in file if re.search(r"\.lo(ra|kr)_", key)})
    for module in modules:
        if f"{module}.lokr_w2" in file:
            file[f"{module}.lokr_w1"] /= alpha / rank
    weights = {key: value for key, value in file.items() if not key.endswith((".alpha", ".dora_scale"))}
    family.transformer.add_adapter(new_config(kind, rank, alpha, modules), adapter_name=name)
    missing = set_peft_model_state_dict(family.transformer, weights, adapter_name=name).unexpected_keys
    if missing:
        raise ValueError(f"it has {len(missing)} keys this model has not, such as {missing[0]!r}")
    for key, parameter in family.transformer.named_parameters():
        if f".{name}" in key:
            parameter.data = parameter.data.to(family.device)


def unstack(family: Family) -> None:
    """Take every LoRA off the family, the trainable one included: what is left is the base model."""
    if getattr(family.transformer, "peft_config", None):
        family.pipeline.unload_lora_weights()
    family.loras = []


def parse_use(use: str) -> tuple[str, float]:
    """Return (path, weight) of ``path:0.8``; the weight defaults to 1. Raises ValueError for an empty path."""
    path, weight = split_weight(use)
    if not path:
        raise ValueError(f"LoRA {use!r} names no file; write 'path/to/file.safetensors:0.8'")
    return path, 1.0 if weight is None else weight


def families_of(path: str | Path) -> list[type[Family]]:
    """Return the families a LoRA file fits, from its header or its keys; none when neither says.

    Raises FileNotFoundError for a missing file and ValueError for one that is not a LoRA in safetensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"LoRA file {path} does not exist")
    try:
        with safe_open(path, framework="pt") as file:
            keys, header = list(file.keys()), file.metadata() or {}
    except SafetensorError as error:
        with path.open("rb") as file:
            begin = file.read(4)
        if re.match(rb"PK\x03\x04|\x80[\x02-\x05][^\x00]", begin):  # zipped, as torch saves it, or alone
            raise ValueError(f"{path} is a pickle, which can run code and is not opened; {CONVERT}") from None
        raise ValueError(f"{path} is not a whole safetensors file ({error}); download or train it again") from None
    if not any("lora" in key or "lokr" in key for key in keys):
        raise ValueError(f"{path} is not a LoRA: its keys look like {keys[0]!r}" if keys else f"{path} is empty")
    said, joined = header.get("modelspec.architecture", "").lower(), "\n".join(keys)
    named = [family for family in FAMILIES.values() if family.lora_header.search(said)]
    return named or [family for family in FAMILIES.values() if family.lora_marks.search(joined)]


def kind_of(path: str | Path) -> str:
    """Return which of ``words.ADAPTERS`` a LoRA file holds, from its keys."""
    with safe_open(path, framework="pt") as file:
        keys = "\n".join(file.keys())
    if ".lokr_" in keys:
        return "lokr"
    return "dora" if re.search(r"\.(lora_magnitude_vector|dora_scale)\b", keys) else "lora"


def check(path: str | Path, family: type[Family]) -> None:
    """Raise ValueError when a LoRA file was made for another family, naming a key, or is damaged, naming a tensor."""
    found = families_of(path)
    if found and family not in found:
        with safe_open(path, framework="pt") as file:
            key = next(iter(file.keys()))
        others = " or ".join(each.name for each in found)
        raise ValueError(
            f"LoRA {path} was made for {others} (its keys look like {key!r}) and cannot be used with {family.name}"
        )
    lora_values.check(path)


def fingerprint(path: str | Path) -> str:
    """Return the sha256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def header(path: str | Path) -> dict[str, str]:
    """Return the text metadata in the header of a LoRA file."""
    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}
