"""A LoRA file of this kit written again under the key names of kohya's trainers.

python -m flenlib.export.kohya char_lora_v1.safetensors     writes char_lora_v1_kohya.safetensors beside it
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file

from flenlib.models import lora, lora_file

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
    return lora_file.save_whole(tensors, out, lora.header(path))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a LoRA file again in kohya's names, from the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m flenlib.export.kohya", description="Write a LoRA again under kohya's names."
    )
    parser.add_argument("file", type=Path, help="LoRA of this kit, .safetensors")
    parser.add_argument("out", type=Path, nargs="?", help="where to (default: beside it, <name>_kohya.safetensors)")
    options = parser.parse_args(arguments)
    out = options.out or options.file.with_name(f"{options.file.stem}_kohya.safetensors")
    try:
        if out.exists():
            raise FileExistsError(f"{out} is there already; remove it or name another file")
        print(to_kohya(options.file, out))
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


if __name__ == "__main__":
    sys.exit(main())
