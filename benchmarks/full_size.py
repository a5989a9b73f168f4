"""What the published architectures take, with random weights and without a download; on a GPU beside the prediction.

    python benchmarks/full_size.py                    (or: python benchmarks/train_step.py --full)
    python benchmarks/full_size.py --cap 24           with the gpu's memory capped at 24 GiB
    python benchmarks/full_size.py --families flux --precisions nf4
    python benchmarks/full_size.py --device cpu --precisions nf4 --size 256

Builds every family's transformer layer by layer at its precision and trains a LoRA (rank 16, attention+mlp, AdamW8bit,
gradient checkpointing, batch 1) on a random picture through the families' own ``encode`` and ``predict``; then
``sample`` draws one picture in one step. Texts are random numbers: no text encoder is built.

On a GPU it prints seconds a step; GiB the process takes of the gpu at its peak while it trains; the prediction of
``flenlib.predict.plan`` for it, and its error; the arithmetic floor: the step's operations at the rate a large matrix
product reaches on this gpu; and that floor's share of the step. On a processor, where it shows that the real sizes
work, it trains one step and prints GiB of RAM once built, at the peak, and the seconds of a step and of the picture.
"""

from __future__ import annotations

import argparse
import inspect
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, ModelMixin
from PIL import Image
from torch import nn

from flenlib.models import lora, placement
from flenlib.models.batch import Encoded, collate
from flenlib.models.families.base import Family, collect, quiet
from flenlib.models.quantise import kept, quantised
from flenlib.models.registry import FAMILIES
from flenlib.params import Train
from flenlib.predict import costs, plan
from flenlib.train import optimizers

SIZES = {"flux": [(512, 768), (1024, 1024)]}
"""Widths and heights, where they are not the family's own."""
TEXT_WIDTHS = ("joint_attention_dim", "cap_feat_dim")
"""What the configurations of transformers call the width of a text."""
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
"""Makes glibc give back the memory of each layer at full width; without it a build takes twice the model."""
GIB = 2**30


@dataclass(frozen=True)
class Measured:
    """Median seconds a step, seconds of a picture in one step, GiB once built and at the peak, the last loss."""

    seconds: float
    drawing: float
    built: float
    peak: float
    loss: float


def build(
    name: str, precision: str, device: torch.device, layers: tuple[int, ...] | None = None, heads: int | None = None
) -> ModelMixin:
    """Return a transformer with random weights at a precision, made and quantised one layer at a time on its device."""
    family, dtype = FAMILIES[name], placement.pick_dtype(precision, device)
    with torch.device("meta"):
        model = family.published_transformer(layers, heads).to(dtype).requires_grad_(False)
    for layer in [layer for layer, module in model.named_modules() if module._parameters]:
        module = model.get_submodule(layer)
        module.to_empty(device=device, recurse=False)
        for parameter in module.parameters(recurse=False):
            nn.init.normal_(parameter, mean=0.0 if isinstance(module, nn.Linear) else 1.0, std=0.02)
        if type(module) is nn.Linear and precision in ("int8", "nf4"):
            if not kept(layer, family.spared("transformer", precision)):
                model.set_submodule(layer, quantised(module, precision, device))
            elif precision == "nf4" and kept(layer, family.eight_bits):
                model.set_submodule(layer, quantised(module, "int8", device))
    small = family.published_transformer((1,) * len(family.layers), 2)
    for part, module in small.named_children():  # rotary tables, which are no parameters, and still on meta
        if next(module.parameters(), None) is None:
            setattr(model, part, module)
    return model


def family_of(name: str, model: ModelMixin, precision: str, device: torch.device, reference: int) -> Family:
    """Return the family around a transformer and a random autoencoder, without text encoders.

    References are ``reference`` pixels a side.
    """
    kind = FAMILIES[name]
    parts = inspect.signature(kind.pipeline_class.__init__).parameters.keys() - {"self", "scheduler", "transformer"}
    with torch.device(device):
        vae = kind.published()["vae"]().to(placement.pick_dtype(precision, device)).requires_grad_(False).eval()
    pipeline = kind.pipeline_class(
        scheduler=FlowMatchEulerDiscreteScheduler(), transformer=model, **dict.fromkeys(parts) | {"vae": vae}
    )
    pipeline.set_progress_bar_config(disable=True)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "flenlib.json").write_text(json.dumps({"reference_area": reference**2}))
        return kind(pipeline, folder, precision, "none", device)


def text_of(family: Family) -> Encoded:
    """Return a random text as ``encode`` shapes it."""
    config, length = family.transformer.config, family.text_tokens
    width = next(config[name] for name in TEXT_WIDTHS if name in config)
    text = Encoded(text=torch.randn(length, width), text_mask=torch.ones(length, dtype=torch.long))
    if "pooled_projection_dim" in config:
        text |= Encoded(pooled=torch.randn(config.pooled_projection_dim))
    return text


def measure(
    name: str, size: tuple[int, int], precision: str, device: torch.device, *, steps: int = 8,
    layers: tuple[int, ...] | None = None, heads: int | None = None, reference: int = 1024,
) -> Measured:  # fmt: skip
    """Train a few steps and draw one picture; references are ``reference`` pixels a side."""
    settings = Train(optimizer="adamw8bit", targets="attention+mlp", rank=16)
    reset_peak(device)
    with quiet():
        model = build(name, precision, device, layers, heads)
        family = family_of(name, model, precision, device, reference)
    lora.attach(family, settings.rank, settings.alpha, settings.targets, settings.seed)
    model.enable_gradient_checkpointing()
    parameters = lora.trainable(family)
    optimizer = optimizers.make(parameters, settings)
    picture = Image.effect_noise(size, 64).convert("RGB")
    references = [picture.resize((reference, reference))] * family.references
    text = text_of(family)
    batch = collate([family.encode(image=picture, references=references) | text])
    clean = batch.latents.to(device)
    collect()
    built = in_use(device)
    if device.type == "cuda":  # a processor's is of building too, which is where RAM runs short
        reset_peak(device)
    seconds = []
    for _ in range(steps):
        started = time.perf_counter()
        noise = torch.randn_like(clean)
        with torch.autocast(device.type, torch.bfloat16, enabled=family.dtype == torch.bfloat16):
            velocity = family.predict(0.5 * clean + 0.5 * noise, torch.full((1,), 0.5, device=device), batch)
        loss = (velocity - (noise - clean)).square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        last = loss.item()  # waits for the gpu
        seconds.append(time.perf_counter() - started)
    peak = highest(device)
    started = time.perf_counter()
    how = {"width": size[0], "height": size[1], "references": references, "conditions": text}
    family.sample(family.caption_empty, seed=0, steps=1, guidance=1.0, **how)
    drawing = time.perf_counter() - started
    if device.type == "cpu":
        peak = highest(device)
    return Measured(statistics.median(seconds[1:] or seconds), drawing, built, peak, last)


def status(line: str) -> float:
    """Return a number of GiB that Linux keeps of this process: ``VmRSS``, its RAM, or ``VmHWM``, the most it had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(each for each in lines if each.startswith(line)).split()[1]) / 2**20


def in_use(device: torch.device) -> float:
    """Return the GiB of RAM this process holds, or the GiB of a gpu that are in use."""
    return status("VmRSS") if device.type == "cpu" else (torch.cuda.memory_reserved(device) + beside(device)) / GIB


def highest(device: torch.device) -> float:
    """Return the most ``in_use`` was since ``reset_peak``, in GiB."""
    if device.type == "cpu":
        return status("VmHWM")
    return (torch.cuda.max_memory_reserved(device) + beside(device)) / GIB


def reset_peak(device: torch.device) -> None:
    """Begin to measure the peak anew."""
    if device.type == "cpu":
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): the peak becomes what is resident now
    else:
        torch.cuda.reset_peak_memory_stats(device)


def beside(device: torch.device) -> int:
    """Return the bytes of a gpu that are in use beside torch's own: CUDA itself, its libraries, other programs."""
    free, total = torch.cuda.mem_get_info(device)
    return total - free - torch.cuda.memory_reserved(device)


def share(cap: float, total: int, others: int) -> float:
    """Return the share of a gpu torch may take so that all in use is at most ``cap`` GiB of its ``total`` bytes."""
    left = cap * GIB - others
    if left <= 0:
        raise ValueError(f"--cap is {cap:g} GiB and {others / GIB:.1f} are in use already; give more")
    return min(1.0, left / total)


def product_rate(device: torch.device, side: int = 8192) -> float:
    """Return the bfloat16 operations a second of a large matrix product on this gpu, the best of ten."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = float("inf")
    for _ in range(10):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        a @ b
        end.record()
        torch.cuda.synchronize(device)
        best = min(best, start.elapsed_time(end) / 1e3)
    return 2 * side**3 / best


def row(
    name: str, size: tuple[int, int], precision: str, device: torch.device, steps: int, rate: float
) -> dict[str, str | float | None]:
    """Return one line of the table of a gpu; one that is too small is a result too."""
    family = FAMILIES[name]
    expected = plan.plan(family, precision=precision, resolution=size, gpu=plan.pick_gpu(device=device))
    predicted = expected.phases["train"]
    line = {"model": name, "size": f"{size[0]}x{size[1]}", "precision": precision, "predicted GiB": round(predicted, 1)}
    try:
        found = measure(name, size, precision, device, steps=steps, reference=family.native)
    except torch.OutOfMemoryError:
        return line | {"s/step": "out of memory"}
    finally:
        collect()
    floor = costs.step(plan.shape_of(expected.settings), True).flops / rate
    return line | {
        "s/step": round(found.seconds, 3),
        "predicted s": expected.seconds_per_step and round(expected.seconds_per_step, 3),
        "peak GiB": round(found.peak, 2),
        "error": f"{predicted / found.peak - 1:+.0%}",
        "floor s": round(floor, 3),
        "of the product rate": f"{floor / found.seconds:.0%}",
    }


def row_of_cpu(name: str, size: tuple[int, int], precision: str, device: torch.device) -> dict[str, str | float]:
    """Return one line of the table of a processor: one step of training, one of sampling."""
    found = measure(name, size, precision, device, steps=1, reference=min(size))
    collect()
    return {
        "model": name,
        "size": f"{size[0]}x{size[1]}",
        "precision": precision,
        "GiB built": round(found.built, 1),
        "peak GiB": round(found.peak, 1),
        "s/step": round(found.seconds),
        "s/picture": round(found.drawing),
        "loss": round(found.loss, 2),
    }


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", choices=list(FAMILIES), default=list(FAMILIES))
    parser.add_argument("--precisions", nargs="+", choices=["bf16", "int8", "nf4"], default=["nf4", "int8", "bf16"])
    parser.add_argument("--size", type=int, help="pixels a side of the picture; the families' own if not given")
    parser.add_argument("--steps", type=int, default=8, help="steps of training on a gpu")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--cap", type=float, default=0.0, help="GiB of the gpu's memory, CUDA's own among it; 0: all")
    options = parser.parse_args()
    asked = [
        (name, size, precision)
        for name, precision in itertools.product(options.families, options.precisions)
        for size in ([(options.size,) * 2] if options.size else SIZES.get(name, [(FAMILIES[name].native,) * 2]))
    ]
    if options.device == "cpu":
        if not ALLOCATOR.keys() <= os.environ.keys():
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | ALLOCATOR)
        print(f"this processor, {torch.get_num_threads()} threads, torch {torch.__version__}")
        rows = [row_of_cpu(*each, torch.device("cpu")) for each in asked]
    else:
        if not torch.cuda.is_available():
            print("This benchmark needs a CUDA GPU and there is none here; with --device cpu it runs on any machine.")
            sys.exit(2)
        device = torch.device("cuda", 0)
        gpu = torch.cuda.get_device_properties(device)
        rate = product_rate(device)  # what CUDA and its libraries take is known after it
        if options.cap:
            torch.cuda.set_per_process_memory_fraction(share(options.cap, gpu.total_memory, beside(device)), device)
        print(f"{gpu.name}, {gpu.total_memory / GIB:.1f} GiB, cap {options.cap or 'none'}, torch {torch.__version__}, "
              f"matrix products at {rate / 1e12:.0f} TFLOP/s")  # fmt: skip
        rows = [row(*each, device, options.steps, rate) for each in asked]
    print(pd.DataFrame(rows).to_string(index=False, na_rep=""))


if __name__ == "__main__":
    main()
