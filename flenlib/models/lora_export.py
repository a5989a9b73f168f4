"""Writing the LoRA being trained as one file diffusers and ComfyUI read alike, and the same file in kohya's names.

A file holds, for each layer, with the family's prefix:

    lora   .lora_A.weight  .lora_B.weight  .alpha
    dora   the same, .lora_magnitude_vector for peft and diffusers, and .dora_scale for ComfyUI
    lokr   .lokr_w1  .lokr_w2 (or .lokr_w2_a and .lokr_w2_b)  .alpha

The prefix is ``transformer.`` for flux and ``diffusion_model.`` for qwen_edit: with ``.alpha`` in the file, diffusers
reads each family under that name only, and ComfyUI, which knows alpha from ``.alpha`` alone, reads both.

    python -m flenlib.models.lora_export char_lora_v1.safetensors     writes char_lora_v1_kohya.safetensors beside it
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft.utils.integrations import dequantize_module_weight
from safetensors.torch import load_file, save_file

from flenlib.models import lora

_FUSED = ("q", "k", "v", "mlp")
_BFL = {
    "double_blocks": {
        "norm1.linear": "img_mod.lin",
        "norm1_context.linear": "txt_mod.lin",
        "attn.to_q": "img_attn.qkv:q",
        "attn.to_k": "img_attn.qkv:k",
        "attn.to_v": "img_attn.qkv:v",
        "attn.add_q_proj": "txt_attn.qkv:q",
        "attn.add_k_proj": "txt_attn.qkv:k",
        "attn.add_v_proj": "txt_attn.qkv:v",
        "attn.to_out.0": "img_attn.proj",
        "attn.to_add_out": "txt_attn.proj",
        "ff.net.0.proj": "img_mlp.0",
        "ff.net.2": "img_mlp.2",
        "ff_context.net.0.proj": "txt_mlp.0",
        "ff_context.net.2": "txt_mlp.2",
    },
    "single_blocks": {
        "norm.linear": "modulation.lin",
        "attn.to_q": "linear1:q",
        "attn.to_k": "linear1:k",
        "attn.to_v": "linear1:v",
        "proj_mlp": "linear1:mlp",
        "proj_out": "linear2",
    },
}
"""The layers of FLUX by diffusers' names and by its authors', who keep q, k, v (and the mlp) in one weight."""

MLP_RATIO = 4
"""FLUX's mlp is four times as wide as its stream."""


def write(family: lora.Family, path: str | Path, metadata: dict[str, str]) -> Path:
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
        "modelspec.architecture": {"flux": "flux-1-dev/lora", "qwen_edit": "qwen-image-edit-plus/lora"}[family.name],
        "modelspec.implementation": "diffusers",
        "modelspec.title": path.stem,
        "ss_network_module": "lycoris.kohya" if kind == "lokr" else "networks.lora",
        "ss_network_args": json.dumps({"algo": "lokr"} if kind == "lokr" else {"dora_wd": kind == "dora"}),
        "ss_network_dim": str(config.r),
        "ss_network_alpha": str(alpha),
        **metadata,
    }
    return _save(_tensors(family, kind, alpha, alpha / config.r), path, header)


def _tensors(family: lora.Family, kind: str, alpha: float, scaling: float) -> dict[str, torch.Tensor]:
    tensors = {}
    for name, parameter in lora.parameters(family).items():
        key = family.lora_prefix + lora.key_of(name)
        tensors[key] = parameter.detach().float().cpu().contiguous()
        tensors[re.sub(r"\.(lora_[AB]\.weight|lora_magnitude_vector|lokr_\w+)$", ".alpha", key)] = torch.tensor(alpha)
    for stem in [key.removesuffix(".alpha") for key in tensors if key.endswith(".alpha")]:
        if kind == "dora":
            layer = family.transformer.get_submodule(stem.removeprefix(family.lora_prefix))
            tensors[f"{stem}.dora_scale"] = _dora_scale(layer, tensors, stem, scaling)
        if kind == "lokr" and f"{stem}.lokr_w2" in tensors:
            # ComfyUI does not scale when both factors are whole
            tensors[f"{stem}.lokr_w1"] = tensors[f"{stem}.lokr_w1"] * scaling
    return tensors


def _dora_scale(layer: Any, tensors: dict[str, torch.Tensor], stem: str, scaling: float) -> torch.Tensor:
    """Return the (out, 1) scale with which ComfyUI draws what peft trained.

    peft divides the rows of W + BA by their own norm; ComfyUI, for scales of the output rows, by the norm of W's.
    """
    base = dequantize_module_weight(layer.get_base_layer()).detach().float().cpu()
    changed = base + scaling * tensors[f"{stem}.lora_B.weight"] @ tensors[f"{stem}.lora_A.weight"]
    magnitude = tensors[f"{stem}.lora_magnitude_vector"]
    return (magnitude * base.norm(dim=1) / changed.norm(dim=1))[:, None].contiguous()


def to_kohya(path: str | Path, out: str | Path) -> Path:
    """Write a LoRA file again under the key names of kohya's trainers (``lora_unet_...lora_down.weight``).

    FLUX's q, k and v (and the mlp of a single block) become one LoRA of the sum of their ranks. Raises ValueError for
    a file of neither family, and for DoRA and LoKr, for which those names have no form.
    """
    path, out = Path(path), Path(out)
    family, kind = lora.family_of(path), lora.kind_of(path)
    if kind != "lora" or family is None:
        raise ValueError(f"{path} is a {kind} of {family or 'no known family'}; kohya's names exist for plain LoRAs")
    file = load_file(path)
    stems = sorted({key.removesuffix(".lora_A.weight") for key in file if key.endswith(".lora_A.weight")})
    if not stems:
        raise ValueError(f"{path} has no .lora_A.weight, by which this kit and diffusers name a LoRA; nothing to do")
    layers: dict[str, dict[str, tuple[torch.Tensor, torch.Tensor]]] = {}
    for stem in stems:
        down, up = file[f"{stem}.lora_A.weight"], file[f"{stem}.lora_B.weight"]
        alpha = float(file.get(f"{stem}.alpha", len(down)))
        name, _, part = _kohya_name(re.sub(r"^(transformer|diffusion_model)\.", "", stem), family).partition(":")
        layers.setdefault(name, {})[part] = (down, up * (alpha / len(down)))
    tensors = {}
    for name, parts in layers.items():
        down, up = _fuse(parts, name)
        key = f"lora_unet_{name.replace('.', '_')}"
        tensors |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up}
        tensors[f"{key}.alpha"] = torch.tensor(float(len(down)))
    return _save(tensors, out, lora.header(path))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a LoRA file again in kohya's names, from the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m flenlib.models.lora_export", description="Write a LoRA again under kohya's names."
    )
    parser.add_argument("file", type=Path, help="LoRA of this kit, .safetensors")
    parser.add_argument("out", type=Path, nargs="?", help="where to (default: beside it, <name>_kohya.safetensors)")
    told = parser.parse_args(arguments)
    out = told.out or told.file.with_name(f"{told.file.stem}_kohya.safetensors")
    try:
        if out.exists():
            raise FileExistsError(f"{out} is there already; remove it or name another file")
        print(to_kohya(told.file, out))
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _kohya_name(stem: str, family: str) -> str:
    if family != "flux":
        return stem
    blocks, number, layer = re.fullmatch(r"(\w+)\.(\d+)\.(.+)", stem).groups()
    blocks = {"transformer_blocks": "double_blocks", "single_transformer_blocks": "single_blocks"}[blocks]
    return f"{blocks}.{number}.{_BFL[blocks][layer]}"


def _fuse(parts: dict[str, tuple[torch.Tensor, torch.Tensor]], name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return one (down, up) that does to a fused weight what the parts do to their rows; rows without a part stay."""
    if "" in parts:
        return parts[""]
    rows = {part: len(up) for part, (_, up) in parts.items()}
    stream = rows.get("q") or rows.get("k") or rows.get("v") or rows["mlp"] // MLP_RATIO
    wanted = _FUSED if name.endswith("linear1") else _FUSED[:3]
    height = {part: MLP_RATIO * stream if part == "mlp" else stream for part in wanted}
    ups = [parts[part][1] if part in parts else torch.zeros(height[part], 0) for part in wanted]
    downs = [parts[part][0] for part in wanted if part in parts]
    return torch.cat(downs).contiguous(), torch.block_diag(*ups).contiguous()


def _save(tensors: dict[str, torch.Tensor], path: Path, header: dict[str, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        save_file(tensors, partial, metadata={key: str(value) for key, value in header.items()})
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


if __name__ == "__main__":
    sys.exit(main())
