"""One training loop for every family: a LoRA from pictures and captions, by rectified flow matching.

Knows the five verbs of a family (load, encode, predict, sample, save) and the LoRA functions; never which model it is.
Whatever is random is seeded by (seed, step, micro-step), so a run that was killed and called again ends, on a CPU, in
the same bits as one that was not.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from flenlib.dataset.files import link_or_copy
from flenlib.dataset.images import open_image, pixel_hash, save_picture
from flenlib.models import lora
from flenlib.params import Train
from flenlib.train import checkpoints, flow, optimizers
from flenlib.train.cache import Cache, Feed, Sample, fingerprint_of


@dataclass(frozen=True)
class Preview:
    """One picture drawn while training, always from the same seed, so that steps can be compared."""

    text: str
    seed: int
    references: tuple[Path, ...] = ()
    steps: int = 16
    guidance: float = 3.5


@dataclass(frozen=True)
class Result:
    """What a run made: LoRA file, log, steps and their seconds in all (earlier parts too), the step it went on from."""

    lora: Path
    log: pd.DataFrame
    steps: int
    seconds: float
    resumed_from: int | None


OnEvent = Callable[[str, dict[str, Any]], None]


def train(
    family: Any,
    samples: Sequence[Sample],
    settings: Train,
    folder: str | Path,
    *,
    previews: Sequence[Preview] = (),
    on_event: OnEvent | None = None,
    stop_after: int | None = None,
    caption_empty: str = "",
    cache_folder: str | Path | None = None,
) -> Result:
    """Train one LoRA into ``folder`` and return it; called again with the same arguments it goes on or returns at once.

    The LoRA is ``<folder>/<folder's name>.safetensors``; checkpoints, previews and ``log.csv`` lie beside it.
    ``on_event(kind, facts)`` is told of every "encoded", "sample", "checkpoint" and "step". ``stop_after`` saves and
    returns after that step. ``caption_empty`` replaces dropped captions. ``cache_folder`` can be shared between runs
    and is ``<folder>/cache`` by default.

    Raises ValueError for no samples or for settings, samples or a model other than those the folder was begun with;
    RuntimeError naming the step when the loss is no longer finite, or when another process trains in the folder.
    """
    folder = Path(folder).absolute()
    if not sum(sample.repeats for sample in samples):
        raise ValueError("there are no samples to train on; give at least one picture with its caption")
    last = settings.steps if stop_after is None else min(stop_after, settings.steps)
    if last < 1:
        raise ValueError(f"stop_after is {stop_after}; it must be at least 1")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            checkpoints.check_same(folder, _told(family, samples, settings, caption_empty))
            final = folder / f"{folder.name}.safetensors"
            done = checkpoints.latest(folder)
            if done != settings.steps or not final.is_file():
                lora.attach(family, settings.rank, settings.alpha, settings.targets, settings.seed)
                try:
                    run = _Run(family, settings, folder, previews, on_event or _nobody)
                    run.prepare(samples, caption_empty, Path(cache_folder or folder / "cache"))
                    run.resume(done)
                    final = run.loop(last, final)
                finally:
                    lora.unstack(family)
    except Timeout:
        raise RuntimeError(f"another process is training in {folder}; wait for it, or give another folder") from None
    log = checkpoints.read_log(folder)
    return Result(final, log, len(log), float(log["seconds"].sum()), done)


class _Run:
    """The state of one run between its steps; the family already carries the LoRA to train."""

    def __init__(
        self, family: Any, settings: Train, folder: Path, previews: Sequence[Preview], on_event: OnEvent
    ) -> None:
        self.family, self.settings, self.folder = family, settings, folder
        self.previews, self.on_event = previews, on_event
        AcceleratorState._reset_state(reset_partial_state=True)  # one process trains models of several precisions
        self.accelerator = Accelerator(
            cpu=torch.device(family.device).type == "cpu",
            mixed_precision="bf16" if family.dtype == torch.bfloat16 else "no",
            gradient_accumulation_steps=settings.accumulate,
        )
        if settings.gradient_checkpointing:
            family.transformer.enable_gradient_checkpointing()
        else:
            family.transformer.disable_gradient_checkpointing()
        self.parameters = lora.trainable(family)
        self.optimizer = self.accelerator.prepare(optimizers.make(self.parameters, settings))
        self.average = optimizers.Average(self.parameters, settings.ema)
        self.line = _shift_line(family)
        self.step = 0

    def prepare(self, samples: Sequence[Sample], caption_empty: str, folder: Path) -> None:
        """Encode every picture and caption, or find them in the cache."""
        store = Cache(folder, self.family, self.settings.resolution)
        total = len(samples)
        with torch.no_grad():
            self.feed = Feed(
                store,
                samples,
                self.settings,
                caption_empty,
                lambda done: self.on_event("encoded", {"done": done, "total": total}),
            )

    def resume(self, step: int | None) -> None:
        """Go back to a checkpoint and forget what came after it; without one, to the beginning."""
        checkpoints.forget_after(self.folder, step or 0)
        self.resumed_from, self.step = step, step or 0
        if step is None:
            return
        state = checkpoints.load(self.folder, step, torch.device(self.family.device))
        with torch.no_grad():
            kept, saved = [*self.parameters, *self.average.weights], [*state["weights"], *state["average"]]
            for parameter, value in zip(kept, saved, strict=True):
                parameter.copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])

    def loop(self, last: int, final: Path) -> Path:
        """Sample, save, step, log, in this order, up to a step; return the LoRA file of where it stopped."""
        begun = self.step
        path = checkpoints.step_folder(self.folder, begun) / "lora.safetensors"
        with tqdm(total=self.settings.steps, initial=begun, desc="train") as bar:
            while True:
                if self.step > begun or self.resumed_from is None:
                    if self._due(self.settings.sample_every, last):
                        self._sample()
                    if self.step and self._due(self.settings.checkpoint_every, last):
                        path = self._save()
                if self.step >= last:
                    break
                row = self._step()
                checkpoints.log_row(self.folder, row)
                self.on_event("step", row)
                bar.set_postfix(loss=f"{row['loss']:.3f}", refresh=False)
                bar.update()
        if self.step < self.settings.steps:
            return path
        link_or_copy(path, final)
        return final

    def _due(self, every: int, last: int) -> bool:
        return self.step % every == 0 or self.step == last

    def _step(self) -> dict[str, Any]:
        """Make one optimiser step and return its row of the log."""
        started, settings = time.perf_counter(), self.settings
        number = self.step + 1
        rate = optimizers.learning_rate(settings, number)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        times, errors = [], []
        for micro in range(settings.accumulate):
            with self.accelerator.accumulate(self.family.transformer):
                at, values = self._micro_step(number, micro)
                self.accelerator.backward(values.mean())
                times.append(at)
                errors.append(values.detach().cpu())
                if self.accelerator.sync_gradients:
                    norm = float(self.accelerator.clip_grad_norm_(self.parameters, settings.max_grad_norm))
                    self._check_finite("gradient", norm, number)
                self.optimizer.step()
                self.optimizer.zero_grad()
        self.step = number
        self.average.update(number)
        bins = flow.binned(torch.cat(times), torch.cat(errors))
        row = {"step": number, "loss": torch.cat(errors).mean().item(), "lr": rate, "grad_norm": norm}
        row |= {f"bin_{b}": value for b, value in enumerate(bins)}
        return row | {"seconds": round(time.perf_counter() - started, 4)}

    def _micro_step(self, number: int, micro: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the times (B,) and the losses (B,) of one batch."""
        random = flow.generator(self.settings.seed, "noise", number, micro)
        batch = self.feed.batch((number - 1) * self.settings.accumulate + micro, random)
        clean = batch.pop("latents")
        times = flow.sample_timesteps(self.settings.timesteps, len(clean), random, clean.shape[1], self.line)
        noise = torch.randn(clean.shape, generator=random)
        device = self.family.device
        clean, noise, at = clean.to(device), noise.to(device), times.to(device)
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        with self.accelerator.autocast():
            velocity = self.family.predict(flow.add_noise(clean, noise, at), at, batch)
        values = flow.losses(velocity, clean, noise)
        self._check_finite("loss", values.mean().item(), number)
        return times, values

    def _check_finite(self, what: str, value: float, number: int) -> None:
        if not math.isfinite(value):
            kept = checkpoints.latest(self.folder)
            raise RuntimeError(
                f"the {what} is {value} at step {number}, so training stopped (last checkpoint kept: "
                f"{'none' if kept is None else f'step {kept}'}); lower learning_rate, now "
                f"{self.settings.learning_rate:g}, or max_grad_norm, now {self.settings.max_grad_norm:g}"
            )

    def _save(self) -> Path:
        metadata = {
            "modelspec.title": self.folder.name,
            "flenwheel.step": str(self.step),
            "flenwheel.settings": json.dumps(self.settings.model_dump()),
        }
        state = {
            "weights": [parameter.detach() for parameter in self.parameters],
            "average": self.average.weights,
            "optimizer": self.optimizer.state_dict(),
        }

        def write_lora(path: Path) -> None:
            with self.average.applied():
                self.family.save(path, metadata=metadata)

        folder = checkpoints.save(self.folder, self.step, state, write_lora)
        self.on_event("checkpoint", {"step": self.step, "path": folder})
        return folder / "lora.safetensors"

    def _sample(self) -> None:
        """Draw the previews with the weights as they would be saved now."""
        for number, preview in enumerate(self.previews):
            path = self.folder / "samples" / f"step_{self.step:06d}_{number}.png"
            path.parent.mkdir(exist_ok=True)
            with self.average.applied(), torch.no_grad():
                picture = self.family.sample(
                    preview.text,
                    seed=preview.seed,
                    steps=preview.steps,
                    guidance=preview.guidance,
                    references=[open_image(path) for path in preview.references],
                )
            facts = {"made_by": self.family.name, "prompt": preview.text, "seed": preview.seed, "step": self.step}
            save_picture(picture, path, facts)
            self.on_event("sample", {"step": self.step, "number": number, "path": path})


def _told(family: Any, samples: Sequence[Sample], settings: Train, caption_empty: str) -> dict[str, Any]:
    """Return all that decides what a run makes, as JSON: pictures by their content, the model by its weights."""
    return {
        "settings": settings.model_dump(),
        "model": {"family": family.name, "weights": fingerprint_of(family, "transformer")},
        "caption_empty": caption_empty,
        "samples": [
            {
                "name": sample.name or Path(sample.image).name,
                "pixels": pixel_hash(open_image(sample.image)),
                "caption": sample.caption,
                "repeats": sample.repeats,
                "references": [pixel_hash(open_image(path)) for path in sample.references],
            }
            for sample in samples
        ],
    }


def _shift_line(family: Any) -> tuple[float, float, float, float]:
    """Return the line of the resolution shift as the model's own scheduler is configured."""
    config = family.pipeline.scheduler.config
    if config.use_dynamic_shifting:
        return config.base_image_seq_len, config.base_shift, config.max_image_seq_len, config.max_shift
    return 256, math.log(config.shift), 4096, math.log(config.shift)


def _nobody(kind: str, facts: dict[str, Any]) -> None:
    """Tell nobody."""
