"""Writing the LoRA being trained as one file diffusers and ComfyUI read alike.

A file holds, for each layer, with the family's prefix:

    lora   .lora_A.weight  .lora_B.weight  .alpha
    dora   the same, .lora_magnitude_vector for peft and diffusers, and .dora_scale for ComfyUI
    lokr   .lokr_w1  .lokr_w2 (or .lokr_w2_a and .lokr_w2_b)  .alpha

With ``.alpha`` in the file, diffusers reads each family under its own prefix only, and ComfyUI, which knows alpha from
``.alpha`` alone, reads all. Where diffusers refuses ``.alpha`` (`Architecture.folds_alpha`), there is none and alpha
over rank is in ``.lora_B.weight`` and ``.lokr_w1``, so that alpha is the rank, which both take it for.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft.utils.integrations import dequantize_module_weight
from safetensors.torch import save

from flenlib.dataset.files import write_atomic
from flenlib.models import lora

if TYPE_CHECKING:
    from flenlib.models.families.base import Family


def write(family: Family, path: str | Path, metadata: dict[str, str]) -> Path:
    """Write the trainable LoRA as ``.safetensors`` (float32), all of it or nothing, and return the path.

    The header carries ``modelspec.*`` and ``ss_*`` facts and ``metadata``, whose values are text.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"a LoRA file must end in .safetensors, not {path.name!r}")
    lora.trainable(family)
    config = family.transformer.peft_config[lora.ADAPTER]
    kind = lora.kind_of_config(config)
    alpha = float(config.alpha if kind == "lokr" else config.lora_alpha)
    header = {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": f"{family.architecture}/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.title": path.stem,
        "ss_network_module": "lycoris.kohya" if kind == "lokr" else "networks.lora",
        "ss_network_args": json.dumps({"algo": "lokr"} if kind == "lokr" else {"dora_wd": kind == "dora"}),
        "ss_network_dim": str(config.r),
        "ss_network_alpha": str(float(config.r) if family.folds_alpha else alpha),
        **metadata,
    }
    return save_whole(_tensors(family, kind, alpha, alpha / config.r), path, header)


def _tensors(family: Family, kind: str, alpha: float, scaling: float) -> dict[str, torch.Tensor]:
    tensors, folded = {}, scaling if family.folds_alpha else 1.0
    for name, parameter in lora.parameters(family).items():
        key = family.lora_prefix + lora.key_of(name)
        tensors[key] = parameter.detach().float().cpu().contiguous()
        if key.endswith((".lora_B.weight", ".lokr_w1")):
            tensors[key] = tensors[key] * folded
    for stem in sorted({re.sub(r"\.(lora_[AB]\.weight|lora_magnitude_vector|lokr_\w+)$", "", key) for key in tensors}):
        if kind == "dora":
            layer = family.transformer.get_submodule(stem.removeprefix(family.lora_prefix))
            tensors[f"{stem}.dora_scale"] = _dora_scale(layer, tensors, stem, scaling / folded)
        if kind == "lokr" and f"{stem}.lokr_w2" in tensors:
            # ComfyUI does not scale when both factors are whole
            tensors[f"{stem}.lokr_w1"] = tensors[f"{stem}.lokr_w1"] * (scaling / folded)
        if not family.folds_alpha:
            tensors[f"{stem}.alpha"] = torch.tensor(alpha)
    return tensors


def _dora_scale(layer: Any, tensors: dict[str, torch.Tensor], stem: str, scaling: float) -> torch.Tensor:
    """Return the (out, 1) scale with which ComfyUI draws what peft trained.

    peft divides the rows of W + BA by their own norm; ComfyUI, for scales of the output rows, by the norm of W's.
    """
    base = dequantize_module_weight(layer.get_base_layer()).detach().float().cpu()
    changed = base + scaling * tensors[f"{stem}.lora_B.weight"] @ tensors[f"{stem}.lora_A.weight"]
    magnitude = tensors[f"{stem}.lora_magnitude_vector"]
    return (magnitude * base.norm(dim=1) / changed.norm(dim=1))[:, None].contiguous()


def save_whole(tensors: dict[str, torch.Tensor], path: Path, header: dict[str, str]) -> Path:
    """Write tensors and a header of text as a safetensors file, all of it or nothing, and return its path.

    Equal tensors and an equal header are equal bytes: safetensors itself writes the text in any order.
    """
    whole = save(tensors)
    size = int.from_bytes(whole[:8], "little")
    facts = {"__metadata__": {key: str(header[key]) for key in sorted(header)}} | json.loads(whole[8 : 8 + size])
    text = json.dumps(facts, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors begin at a multiple of 8
    write_atomic(path, b"".join((len(text).to_bytes(8, "little"), text, memoryview(whole)[8 + size :])))
    return path
