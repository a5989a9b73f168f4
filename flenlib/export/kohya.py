"""A LoRA file of this kit written again under the key names of kohya's trainers.

python -m flenlib.export.kohya char_lora_v1.safetensors     writes char_lora_v1_kohya.safetensors beside it
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file

from flenlib.models import lora, lora_file, lora_values

Pair = tuple[torch.Tensor, torch.Tensor]
"""The two matrices of a LoRA, down and up."""


def to_kohya(path: str | Path, out: str | Path) -> Path:
    """Write a LoRA file again under the key names of kohya's trainers (``lora_unet_...lora_down.weight``).

    Layers that kohya's trainers keep as one weight, such as FLUX's q, k and v, become one LoRA of the sum of their
    ranks. Raises ValueError for a file of no known family, and for DoRA and LoKr, for which those names have no form.
    """
    path, out = Path(path), Path(out)
    families, kind = lora.families_of(path), lora.kind_of(path)
    if kind != "lora" or not families:
        known = families[0].name if families else "no known family"
        raise ValueError(f"{path} is a {kind} of {known}; kohya's names exist for plain LoRAs")
    lora_values.check(path)
    file = load_file(path)
    stems = sorted({key.removesuffix(".lora_A.weight") for key in file if key.endswith(".lora_A.weight")})
    if not stems:
        raise ValueError(f"{path} has no .lora_A.weight, by which this kit and diffusers name a LoRA; nothing to do")
    layers: dict[str, dict[str, Pair]] = {}
    for stem in stems:
        down, up = file[f"{stem}.lora_A.weight"], file[f"{stem}.lora_B.weight"]
        alpha = float(file.get(f"{stem}.alpha", len(down)))
        try:
            name, part = families[0].kohya_name(stem.removeprefix(families[0].lora_prefix))
        except (AttributeError, KeyError):
            raise ValueError(f"{path}: {stem!r} is no layer of {families[0].name} that kohya's trainers know") from None
        layers.setdefault(name, {})[part] = (down, up * (alpha / len(down)))
    tensors: dict[str, torch.Tensor] = {}
    for name, parts in layers.items():
        down, up = _fuse(parts, families[0].kohya_rows(name))
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


def _fuse(
    parts: dict[str, tuple[torch.Tensor, torch.Tensor]], rows: dict[str, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return one (down, up) that does to a fused weight what the parts do to their rows; rows without a part stay."""
    if "" in parts:
        return parts[""]
    part, (_, up) = next(iter(parts.items()))
    unit = len(up) // rows[part]
    ups = [parts[part][1] if part in parts else torch.zeros(height * unit, 0) for part, height in rows.items()]
    downs = [parts[part][0] for part in rows if part in parts]
    return torch.cat(downs).contiguous(), torch.block_diag(*ups).contiguous()


if __name__ == "__main__":
    sys.exit(main())
