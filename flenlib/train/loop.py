"""One training loop for every family: a LoRA from pictures and captions, by rectified flow matching.

Knows the five verbs of a family (load, encode, predict, sample, save) and the LoRA functions; never which model it is.
Whatever is random is seeded by (seed, step, micro-step), so a run that was killed and called again ends, on a CPU, in
the same bits as one that was not. Started by ``accelerate launch`` in several processes, each takes its share of every
batch, gradients are summed, and the first process alone writes.
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
from tqdm.auto import tqdm

from flenlib.dataset.files import link_or_copy
from flenlib.dataset.images import open_image, pixel_hash, sha256
from flenlib.measure.faces import ReferenceSet
from flenlib.measure.measures import MEASURES, Measure
from flenlib.models import lora, registry
from flenlib.models.families.base import Family
from flenlib.models.registry import ModelFacts
from flenlib.params import Train
from flenlib.train import checkpoints, flow, optimizers, processes
from flenlib.train.cache import Cache, Sample, fingerprint_of
from flenlib.train.feed import Feed, enlarged
from flenlib.train.watch import OnEvent, Preview, Watch, due


@dataclass(frozen=True)
class Result:
    """What a run made: LoRA file, log, steps and their seconds in all (earlier parts too), the step it went on from.

    ``watched`` is what was measured on previews and held-out pictures (``checkpoints.read_watch``).
    """

    lora: Path
    log: pd.DataFrame
    steps: int
    seconds: float
    resumed_from: int | None
    watched: pd.DataFrame


def train(
    family: Family,
    samples: Sequence[Sample],
    settings: Train,
    folder: str | Path,
    *,
    held_out: Sequence[Sample] = (),
    previews: Sequence[Preview] = (),
    faces: ReferenceSet | None = None,
    measures: Sequence[Measure] = MEASURES,
    on_event: OnEvent | None = None,
    admit: Callable[[], None] = lambda: None,
    stop_after: int | None = None,
    cache_folder: str | Path | None = None,
) -> Result:
    """Train one LoRA into ``folder`` and return it; called again with the same arguments it goes on or returns at once.

    The LoRA is ``<folder>/<folder's name>.safetensors``; checkpoints, previews and logs lie beside it. A family loaded
    without its transformer is encoded with first, then lets its text encoders go and loads the transformer.
    ``held_out`` samples are only measured; ``faces`` are those the previews are compared with; each of ``measures``
    that applies to a preview or to a LoRA gets its column in ``watch.csv``.
    ``on_event(kind, facts)`` hears of every "encoded", "sample", "watch", "checkpoint" and "step". ``admit`` is asked
    before each step and raises when it may not be made any more (`flenlib.project.Project.admit`). ``stop_after``
    saves and returns after that step. ``cache_folder`` can be shared between runs and is ``<folder>/cache`` by
    default.

    Raises ValueError for no samples or for settings, samples or a model other than those the folder was begun with;
    RuntimeError naming the step when the loss is no longer finite, when the disk is full, or when another process
    trains in the folder.
    """
    folder = Path(folder).absolute()
    if not sum(sample.repeats for sample in samples):
        raise ValueError("there are no samples to train on; give at least one picture with its caption")
    last = settings.steps if stop_after is None else min(stop_after, settings.steps)
    if last < 1:
        raise ValueError(f"stop_after is {stop_after}; it must be at least 1")
    on_event = on_event or _nobody
    accelerator = processes.start(family, settings.batch_size)
    final = folder / f"{folder.name}.safetensors"
    with processes.alone(folder, accelerator):
        if accelerator.is_main_process:
            facts = _run_facts(type(family), registry.model_facts(family), samples, settings)
            checkpoints.check_same(folder, facts | _transformer_facts(family))
        accelerator.wait_for_everyone()
        done = checkpoints.latest(folder)
        if done != settings.steps or not _published(final, checkpoints.lora_of(folder, done)):
            store = Cache(cache_folder or folder / "cache", family)
            with accelerator.main_process_first(), torch.no_grad():
                encoded = {"total": len(samples)}
                feed = Feed(store, samples, settings, lambda n: on_event("encoded", encoded | {"done": n}))
                watch = Watch(folder, store, settings, held_out, previews, faces, measures)
            if accelerator.is_main_process and (said := enlarged(samples, settings, family.resolution)):
                tqdm.write(said)
            _make_room(family)
            if accelerator.is_main_process:
                checkpoints.check_same(folder, _transformer_facts(family))
            lora.attach(family, settings.rank, settings.alpha, settings.targets, settings.seed, kind=settings.adapter)
            try:
                run = _Run(accelerator, family, settings, folder, feed, watch, on_event, admit)
                run.resume(done)
                final = run.loop(last, final)
            finally:
                lora.unstack(family)
                watch.end()
    return _result(folder, final, done)


def finished(
    family: type[Family], model: ModelFacts, samples: Sequence[Sample], settings: Train, folder: str | Path
) -> Result | None:
    """Return what `train` came to in a folder where it is done with these arguments; None where it has work to do.

    ``model`` are the facts of the model, which need not be loaded.
    """
    folder = Path(folder).absolute()
    final, done = folder / f"{folder.name}.safetensors", checkpoints.latest(folder)
    if done != settings.steps or not _published(final, checkpoints.lora_of(folder, done)):
        return None
    same = checkpoints.is_same(folder, _run_facts(family, model, samples, settings))
    return _result(folder, final, done) if same else None


def _result(folder: Path, lora: Path, resumed_from: int | None) -> Result:
    log = checkpoints.read_log(folder)
    return Result(lora, log, len(log), float(log["seconds"].sum()), resumed_from, checkpoints.read_watch(folder))


class _Run:
    """The state of one run between its steps; the family already carries the LoRA to train."""

    def __init__(
        self,
        accelerator: Accelerator,
        family: Family,
        settings: Train,
        folder: Path,
        feed: Feed,
        watch: Watch,
        on_event: OnEvent,
        admit: Callable[[], None],
    ) -> None:
        self.accelerator, self.family, self.settings, self.folder = accelerator, family, settings, folder
        self.feed, self.watch, self.on_event, self.admit = feed, watch, on_event, admit
        if settings.gradient_checkpointing:
            family.transformer.enable_gradient_checkpointing()
        else:
            family.transformer.disable_gradient_checkpointing()
        if settings.compile:
            family.transformer.compile_repeated_blocks()
        self.parameters = lora.trainable(family)
        self.optimizer = optimizers.make(self.parameters, settings)
        self.average = optimizers.Average(self.parameters, self.optimizer, settings.ema)
        self.line = _shift_line(family)
        self.main, self.step = accelerator.is_main_process, 0

    def resume(self, step: int | None) -> None:
        """Go back to a checkpoint and forget what came after it; without one, to the beginning."""
        self.resumed_from, self.step = step, step or 0
        if self.main:
            checkpoints.forget_after(self.folder, -1 if step is None else step, self.watch.columns)
            self.watch.begin(self.step)
        if step is None:
            return
        state = checkpoints.load(self.folder, step, torch.device(self.family.device))
        with torch.no_grad():
            kept, saved = [*self.parameters, *self.average.weights], [*state["weights"], *state["average"]]
            for parameter, value in zip(kept, saved, strict=True):
                parameter.copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
        self.accelerator.wait_for_everyone()
        path = checkpoints.lora_of(self.folder, step)
        if self.main and not _published(path, path):
            self._save()  # its LoRA is damaged, and is written again from the state

    def loop(self, last: int, final: Path) -> Path:
        """Look, save, step, log, in this order, up to a step; return the LoRA file of where it stopped."""
        begun = self.step
        path = checkpoints.lora_of(self.folder, begun)
        with tqdm(total=self.settings.steps, initial=begun, desc="train", disable=not self.main) as bar:
            while True:
                self.admit()
                if self.main and (self.step > begun or self.resumed_from is None):
                    if any(self.watch.due(self.step, last)):
                        with self.average.applied():
                            self.watch.look(self.family, self.step, last, self.on_event)
                    if self.step and due(self.step, self.settings.checkpoint_every, last):
                        path = self._save()
                if self.step >= last:
                    break
                row = self._step()
                if self.main:
                    checkpoints.log_row(self.folder, row)
                    self.watch.step(row)
                    self.on_event("step", row)
                bar.set_postfix(loss=f"{row['loss']:.3f}", refresh=False)
                bar.update()
        self.accelerator.wait_for_everyone()
        if self.step < self.settings.steps:
            return path
        if self.main:
            link_or_copy(path, final)
        self.accelerator.wait_for_everyone()
        return final

    def _step(self) -> checkpoints.Row:
        """Make one optimiser step and return its row of the log."""
        started, settings, number = time.perf_counter(), self.settings, self.step + 1
        rate = optimizers.learning_rate(settings, number)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        parts = [self._micro_step(number, micro) for micro in range(settings.accumulate)]
        times, errors = (torch.cat(part) for part in zip(*parts, strict=True))
        errors = processes.add_up(self.accelerator, self.parameters, errors)
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, settings.max_grad_norm))
        errors = errors.cpu()
        self._check_finite("loss", errors.mean().item(), number)
        self._check_finite("gradient", norm, number)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.update(number)
        self.step = number
        bins = flow.binned(times, errors)
        row = {"step": number, "loss": errors.mean().item(), "lr": rate, "grad_norm": norm}
        row |= {f"bin_{b}": value for b, value in enumerate(bins)}
        return row | {"seconds": round(time.perf_counter() - started, 4)}

    def _micro_step(self, number: int, micro: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Add the gradients of one batch; return its times (B,) and losses (B,), 0 where another process has them."""
        random = flow.generator(self.settings.seed, "noise", number, micro)
        batch = self.feed.batch((number - 1) * self.settings.accumulate + micro, random)
        count, device = len(batch), self.family.device
        times = flow.sample_timesteps(self.settings.timesteps, count, random, batch.latents.shape[1], self.line)
        noise = torch.randn(batch.latents.shape, generator=random)
        mine = slice(self.accelerator.process_index, None, self.accelerator.num_processes)
        own = len(range(count)[mine])
        # A process whose share of a small batch is empty works on the first sample and counts it as nothing.
        share = mine if own else slice(1)
        batch, noise, at = batch[share].to(device), noise[share].to(device), times[share].to(device)
        with processes.autocast(self.family):
            velocity = self.family.predict(flow.add_noise(batch.latents, noise, at), at, batch)
        weight = 1.0 if batch.weight is None else batch.weight
        values = flow.losses(velocity, batch.latents, noise, batch.focus) * weight * bool(own)
        self.accelerator.backward(values.sum() / (count * self.settings.accumulate))
        errors = torch.zeros(count, device=device)
        if own:
            errors[mine] = values.detach()
        return times, errors

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
        state = checkpoints.State(
            weights=[parameter.detach() for parameter in self.parameters],
            average=self.average.weights,
            optimizer=self.optimizer.state_dict(),
        )

        def write_lora(path: Path) -> None:
            with self.average.applied():
                self.family.save(path, metadata=metadata)

        folder = checkpoints.save(self.folder, self.step, state, write_lora)
        self.on_event("checkpoint", {"step": self.step, "path": folder})
        return checkpoints.lora_of(self.folder, self.step)


def _published(file: Path, checkpoint: Path) -> bool:
    """Say whether a file is the LoRA that a checkpoint was written with, by its hash."""
    return file.is_file() and sha256(file) == checkpoints.recorded(checkpoint)


def _make_room(family: Family) -> None:
    """Let the text encoders go and load the transformer, when the family came without one."""
    if family.pipeline.transformer is None:
        family.free_encoders()
        family.load_transformer()


def _sample_facts(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Return all of the samples that decides what a run makes, as JSON: pictures by their content."""
    return [
        {
            "name": sample.name or Path(sample.image).name,
            "pixels": pixel_hash(open_image(sample.image)),
            "caption": sample.caption,
            "repeats": sample.repeats,
            "references": [pixel_hash(open_image(path)) for path in sample.references],
            "kind": sample.kind,
            "weight": sample.weight,
            "mask": pixel_hash(open_image(sample.mask)) if sample.mask else "",
        }
        for sample in samples
    ]


def _run_facts(family: type[Family], model: ModelFacts, samples: Sequence[Sample], settings: Train) -> dict[str, Any]:
    """Return what decides what a run makes, as far as is known before a transformer is loaded."""
    known = {"family": family.name, "version": family.encoding}
    known |= {name: model.get(name) for name in ("name", "precision", "hash")}
    return {"model": known, "settings": settings.model_dump(), "samples": _sample_facts(samples)}


def _transformer_facts(family: Family) -> dict[str, str]:
    """Return the transformer by its weights; nothing as long as they are not loaded."""
    return {} if family.pipeline.transformer is None else {"transformer": fingerprint_of(family, "transformer")}


def _shift_line(family: Family) -> tuple[float, float, float, float]:
    """Return the line of the resolution shift as the model's own scheduler is configured."""
    config = family.pipeline.scheduler.config
    if config.use_dynamic_shifting:
        return config.base_image_seq_len, config.base_shift, config.max_image_seq_len, config.max_shift
    return 256, math.log(config.shift), 4096, math.log(config.shift)


def _nobody(kind: str, facts: checkpoints.Row) -> None:
    """Tell nobody."""
