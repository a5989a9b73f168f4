"""How fast the training loop steps, beside a plain diffusers + peft loop of the same maths, and what it costs itself.

    python benchmarks/train_step.py            the mini models, any machine
    python benchmarks/train_step.py --full     the published architectures with random weights, on a GPU

Three loops take turns step by step in one process, on models of their own with the same LoRA and batch:
*loop* is ``flenlib.train`` with everything it does (log, TensorBoard, checks); *plain* is what diffusers' own scripts
do, latents and texts encoded before and kept in memory; *bare* is forward, backward, clip and step on one fixed batch.

Steps a second are by the clock on the wall. Two loops are compared by processor time on a CPU, which other work on the
machine does not lengthen, and by the clock on a GPU.
"""

from __future__ import annotations

import argparse
import itertools
import runpy
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image

from flenlib.content import Allowed
from flenlib.dataset.images import open_image
from flenlib.draw import load
from flenlib.measure.statistics import paired_bootstrap
from flenlib.models import lora, registry
from flenlib.models.batch import Encoded, collate
from flenlib.models.families.base import Family
from flenlib.params import Train
from flenlib.train import flow, optimizers
from flenlib.train.cache import Sample
from flenlib.train.loop import train

MODELS = ("mini-flux", "mini-qwen-edit")
WARM = 3


def write_samples(folder: Path, model: registry.Model) -> list[Sample]:
    """Write eight pictures and return them as samples; an editor's is edited from the next one."""
    pixels = np.random.default_rng(0)
    paths = [folder / f"{number}.png" for number in range(8)]
    for path in paths:
        small = Image.fromarray(pixels.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        small.resize((model.resolution, model.resolution), Image.Resampling.BICUBIC).save(path)
    editor = "editor" in model.family.roles
    return [
        Sample(path, Allowed("photo of ohwx_char person"), references=(paths[number - 1],) if editor else ())
        for number, path in enumerate(paths)
    ]


def prepared(model: str, device: str, settings: Train, samples: list[Sample]) -> tuple[Family, list[Encoded]]:
    """Load a family, encode the samples into memory, and attach the LoRA."""
    family = load.load_family(model, device=device)
    encoded = []
    for sample in samples:
        references = [open_image(path) for path in sample.references]
        encoded.append(family.encode(image=open_image(sample.image), text=sample.caption, references=references))
    lora.attach(family, settings.rank, settings.alpha, settings.targets, settings.seed)
    return family, encoded


def plain(family: Family, encoded: list[Encoded], settings: Train) -> Iterator[None]:
    """Train as diffusers' scripts do: a shuffled DataLoader, noise, flow matching loss, accelerate, AdamW."""
    accelerator = Accelerator(cpu=family.device.type == "cpu")
    parameters = lora.trainable(family)
    loader = torch.utils.data.DataLoader(encoded, settings.batch_size, shuffle=True, collate_fn=collate)
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / settings.warmup))
    optimizer, loader, schedule = accelerator.prepare(optimizer, loader, schedule)
    while True:
        for batch in loader:
            with accelerator.accumulate(family.transformer):
                clean = batch.latents
                noise = torch.randn_like(clean)
                times = torch.randn(len(clean), device=clean.device).sigmoid()
                at = times.view(-1, 1, 1)
                velocity = family.predict((1 - at) * clean + at * noise, times, batch)
                loss = torch.nn.functional.mse_loss(velocity, noise - clean)
                accelerator.backward(loss)
                accelerator.clip_grad_norm_(parameters, settings.max_grad_norm)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
            loss.detach().item()  # logged at every step
            yield


def bare(family: Family, encoded: list[Encoded], settings: Train) -> Iterator[None]:
    """Do nothing but forward, backward, clip and step, always on the same batch."""
    parameters = lora.trainable(family)
    optimizer = optimizers.make(parameters, settings)
    batch = collate(encoded[: settings.batch_size]).to(family.device)
    noise, times = torch.randn_like(batch.latents), torch.rand(len(batch.latents), device=family.device)
    noisy = flow.add_noise(batch.latents, noise, times)
    while True:
        flow.losses(family.predict(noisy, times, batch), batch.latents, noise).mean().backward()
        torch.nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        yield


def now() -> np.ndarray:
    """Return the clock on the wall and the processor time of this process, in seconds, when the gpu is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return np.array([time.perf_counter(), time.process_time()])


def clocked(step: Callable[[], object]) -> np.ndarray:
    """Return what one call takes on both clocks."""
    began = now()
    step()
    return now() - began


def measure(model: str, steps: int, device: str) -> dict[str, np.ndarray]:
    """Return what every step of the three loops took on both clocks, (steps, 2) each, taken in turns."""
    settings = Train(
        steps=steps + WARM, batch_size=4, learning_rate=2e-3, targets="all-linear", warmup=5, caption_dropout=0,
        checkpoint_every=10**6, sample_every=10**6, validate_every=10**6,
    )  # fmt: skip
    taken: dict[str, list] = {"loop": [], "plain": [], "bare": []}
    with tempfile.TemporaryDirectory() as folder:
        samples = write_samples(Path(folder), registry.resolve(model))
        others = {
            "plain": plain(*prepared(model, device, settings, samples), settings),
            "bare": bare(*prepared(model, device, settings, samples), settings),
        }
        order = itertools.cycle([("plain", "bare"), ("bare", "plain")])
        since = [now()]

        def in_turn(kind: str, facts: dict[str, Any]) -> None:
            if kind == "step":
                taken["loop"].append(now() - since[0])
                for name in next(order):
                    taken[name].append(clocked(others[name].__next__))
            since[0] = now()

        family = load.load_family(model, device=device)
        train(family, samples, settings, Path(folder) / "lora", on_event=in_turn)
    return {name: np.array(values[WARM:]) for name, values in taken.items()}


def main() -> None:
    """Measure and print, for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--full", action="store_true")
    options, rest = parser.parse_known_args()
    if options.full:
        sys.argv = [str(Path(__file__).with_name("full_size.py")), *rest]
        runpy.run_path(sys.argv[0], run_name="__main__")
        return
    cuda = torch.cuda.is_available() and options.device != "cpu"
    where = torch.cuda.get_device_name() if cuda else "CPU"
    print(f"{where}, {torch.get_num_threads()} threads, {options.steps} steps of each loop in turns; "
          "batch 4, LoRA rank 16 on all linear layers")  # fmt: skip
    for model in MODELS:
        taken = measure(model, options.steps, options.device)
        for name, values in taken.items():
            print(f"{model:15} {name:6} {1 / np.median(values[:, 0]):6.2f} steps/s (median of steps)")
        for name, asked in (("bare", "overhead of the loop over bare"), ("plain", "time of the loop beside plain")):
            clock = 0 if cuda else 1
            ratio = taken["loop"][:, clock] / taken[name][:, clock] - 1
            found = paired_bootstrap([0.0] * len(ratio), ratio.tolist())
            print(f"{model:15} {asked}: median {np.median(ratio):+.1%}, mean {found.mean_difference:+.1%} "
                  f"(95 % {found.low:+.1%} to {found.high:+.1%})")  # fmt: skip


if __name__ == "__main__":
    main()
