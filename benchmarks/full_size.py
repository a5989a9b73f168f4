"""What a training step of the published architectures takes, beside what the planner predicts. Needs a GPU.

    python benchmarks/full_size.py                    (or: python benchmarks/train_step.py --full)
    python benchmarks/full_size.py --cap 24           with the gpu's memory capped at 24 GiB
    python benchmarks/full_size.py --families flux --precisions nf4

Builds FLUX.1-dev's and Qwen-Image-Edit-2509's transformers with random weights, layer by layer at their precision and
without a download, and trains a LoRA (rank 16, attention+mlp, AdamW8bit, gradient checkpointing, batch 1) on random
latents through the families' own ``predict``. Prints seconds a step; GiB the process takes of the gpu at its peak;
the prediction of ``flenlib.predict.plan`` for the same without the autoencoder, and its error; the arithmetic floor:
the step's operations at the rate a large matrix product reaches on this gpu; and that floor's share of the step.
"""

from __future__ import annotations

import argparse
import inspect
import itertools
import sys
import time
from typing import Any

import pandas as pd
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, QwenImageTransformer2DModel
from torch import nn

from flenlib.models import lora, placement
from flenlib.models.batch import Batch
from flenlib.models.families.base import Family, collect
from flenlib.models.quantise import kept, quantised
from flenlib.models.registry import FAMILIES
from flenlib.params import Train
from flenlib.predict import costs, plan
from flenlib.predict.weights import weights
from flenlib.train import optimizers

SIZES = {"flux": [(512, 768), (1024, 1024)], "qwen_image": [(1024, 1024)], "qwen_edit": [(1024, 1024)]}
GIB = 2**30


def build(name: str, precision: str, device: torch.device, layers: Any = None, heads: int | None = None) -> nn.Module:
    """Return a transformer with random weights at a precision, made and quantised one layer at a time on its device."""
    family, dtype = FAMILIES[name], placement.pick_dtype(precision, device)
    with torch.device("meta"):
        model = family.published_transformer(layers, heads).to(dtype).requires_grad_(False)
    for layer, module in list(model.named_modules()):
        if not module._parameters:
            continue
        module.to_empty(device=device, recurse=False)
        for parameter in module.parameters(recurse=False):
            nn.init.normal_(parameter, mean=0.0 if isinstance(module, nn.Linear) else 1.0, std=0.02)
        if type(module) is nn.Linear and precision in ("int8", "nf4"):
            if not kept(layer, family.spared("transformer", precision)):
                model.set_submodule(layer, quantised(module, precision, device))
            elif precision == "nf4" and kept(layer, family.eight_bits):
                model.set_submodule(layer, quantised(module, "int8", device))
    if isinstance(model, QwenImageTransformer2DModel):  # its rotary table is no parameter, and still on meta
        table = type(model.pos_embed)
        model.pos_embed = table(theta=10000, axes_dim=list(model.config.axes_dims_rope), scale_rope=True)
    return model


def family_of(name: str, model: nn.Module, precision: str, device: torch.device) -> Family:
    """Return the family around a transformer, without the parts a training step does not use."""
    kind = FAMILIES[name]
    parts = inspect.signature(kind.pipeline_class.__init__).parameters.keys() - {"self", "scheduler", "transformer"}
    pipeline = kind.pipeline_class(
        scheduler=FlowMatchEulerDiscreteScheduler(), transformer=model, **dict.fromkeys(parts)
    )
    return kind(pipeline, name, precision, "none", device)


def batch_of(family: type[Family], config: Any, size: tuple[int, int], reference: int) -> Batch:
    """Return random parts of one sample as ``encode`` shapes them; a reference is ``reference`` pixels a side."""
    rows, columns, side = size[1] // 16, size[0] // 16, reference // 16
    found = Batch(
        latents=torch.randn(1, rows * columns, config.in_channels),
        grid=torch.tensor([[rows, columns]]),
        text=torch.randn(1, family.text_tokens, config.joint_attention_dim),
        text_mask=torch.ones(1, family.text_tokens, dtype=torch.long),
    )
    if "pooled_projection_dim" in config:
        found |= Batch(pooled=torch.randn(1, config.pooled_projection_dim))
    if family.references:
        pictures = {"reference": torch.randn(1, side * side, config.in_channels)}
        found |= Batch(**pictures, reference_grid=torch.tensor([[[side, side]]]))
    return found


def measure(
    name: str, size: tuple[int, int], precision: str, device: torch.device, *, steps: int = 8, layers: Any = None,
    heads: int | None = None, reference: int = 1024,
) -> dict[str, Any]:  # fmt: skip
    """Train a few steps and return seconds a step (median), peak GiB (None on a CPU), and the last loss."""
    settings = Train(optimizer="adamw8bit", targets="attention+mlp", rank=16)
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    model = build(name, precision, device, layers, heads)
    family = family_of(name, model, precision, device)
    lora.attach(family, settings.rank, settings.alpha, settings.targets, settings.seed)
    model.enable_gradient_checkpointing()
    parameters = lora.trainable(family)
    optimizer = optimizers.make(parameters, settings)
    batch = batch_of(FAMILIES[name], model.config, size, reference)
    clean = batch.latents.to(device)
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
    peak = (torch.cuda.max_memory_reserved(device) + beside(device)) / GIB if cuda else None
    return {"seconds": sorted(seconds[1:])[len(seconds[1:]) // 2], "peak": peak, "loss": last}


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


def row(name: str, size: tuple[int, int], precision: str, device: torch.device, steps: int, rate: float) -> dict:
    """Return one line of the table; a gpu that is too small is a result too."""
    family = FAMILIES[name]
    expected = plan.plan(family, precision=precision, resolution=size, gpu=plan.pick_gpu(device=device))
    predicted = expected.phases["train"] - weights(family)["vae"].bytes("bf16") / GIB
    line = {"model": name, "size": f"{size[0]}x{size[1]}", "precision": precision, "predicted GiB": round(predicted, 1)}
    try:
        found = measure(name, size, precision, device, steps=steps)
    except torch.OutOfMemoryError:
        return line | {"s/step": "out of memory"}
    finally:
        collect()
    reference = expected.settings.references * family.native**2 // family.pixels_a_token
    target = size[0] * size[1] // family.pixels_a_token
    shape = costs.Shape(family, target, reference, FAMILIES[name].text_tokens, 1, 16, "attention+mlp")
    floor = costs.step(shape, True).flops / rate
    return line | {
        "s/step": round(found["seconds"], 3),
        "predicted s": expected.seconds_per_step and round(expected.seconds_per_step, 3),
        "peak GiB": round(found["peak"], 2),
        "error": f"{predicted / found['peak'] - 1:+.0%}",
        "floor s": round(floor, 3),
        "of the product rate": f"{floor / found['seconds']:.0%}",
    }


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--precisions", nargs="+", choices=["bf16", "int8", "nf4"], default=["nf4", "int8", "bf16"])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--cap", type=float, default=0.0, help="GiB of the gpu's memory, CUDA's own among it; 0: all")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("This benchmark needs a CUDA GPU and there is none here; benchmarks/train_step.py runs on any machine.")
        sys.exit(2)
    device = torch.device("cuda", 0)
    gpu = torch.cuda.get_device_properties(device)
    rate = product_rate(device)  # what CUDA and its libraries take is known after it
    if options.cap:
        torch.cuda.set_per_process_memory_fraction(share(options.cap, gpu.total_memory, beside(device)), device)
    print(f"{gpu.name}, {gpu.total_memory / GIB:.1f} GiB, cap {options.cap or 'none'}, torch {torch.__version__}, "
          f"matrix products at {rate / 1e12:.0f} TFLOP/s")  # fmt: skip
    rows = [
        row(name, size, precision, device, options.steps, rate)
        for name, precision in itertools.product(options.families, options.precisions)
        for size in SIZES[name]
    ]
    print(pd.DataFrame(rows).to_string(index=False, na_rep=""))


if __name__ == "__main__":
    main()
