"""The plan before a start: how much memory a training or a sampling takes, how long a step, and what would fit.

Memory is the worst of the phases a run goes through: encoding texts, encoding pictures, training, drawing previews.
Weights are counted from the published configurations, precision by precision; activations and operations are counted
by ``costs``. What arithmetic cannot give is a named constant below, and none of them was measured on a GPU yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import pandas as pd
import torch

from flenlib.models import lora, placement
from flenlib.models.families.base import Family
from flenlib.predict import costs
from flenlib.predict.gpus import GIB, GPU, GPUS, pick_gpu
from flenlib.predict.weights import first_layers, largest_block, lora_size, weights
from flenlib.words import PLANNED, PRECISIONS

CONTEXT_GIB = 0.8
"""What CUDA, its libraries and a fragmented allocator take beside tensors: assumed."""
MODEL_RATE = 0.5
"""Share of the GPU's matrix product rate a whole step reaches: assumed; published steps lie at 0.4 to 0.6."""
VAE_WIDTH = {"encode": 4 * 128, "decode": 4 * 256}
"""Channels at full resolution an autoencoder has at one time: four maps of its widest layer there, assumed."""
WIDTHS_ALIVE = 32
"""Streams' worth of activations one block has while it draws; what ``costs`` counts with gradients, so too many."""
STATE_BYTES = {"adamw": 8, "adamw8bit": 2, "paged_adamw8bit": 2, "adafactor": 1, "prodigy": 16, "schedule_free": 8}
"""Bytes an optimizer keeps for each trained number, beside its weight and gradient of four each."""


@dataclass(frozen=True)
class Settings:
    """What decides memory and time."""

    family: type[Family]
    precision: str = "bf16"
    offload: str = "none"
    resolution: tuple[int, int] = (1024, 1024)
    batch_size: int = 1
    rank: int = 16
    targets: str | tuple[str, ...] = "attention+mlp"
    gradient_checkpointing: bool = True
    references: int = 0
    optimizer: str = "adamw8bit"
    adapter: str = "lora"
    ema: bool = False

    def __str__(self) -> str:
        width, height = self.resolution
        kept = "gradient checkpointing" if self.gradient_checkpointing else "no gradient checkpointing"
        return f"{self.family.name} at {self.precision}, offload {self.offload}, {width}x{height}, {kept}"


@dataclass(frozen=True)
class Plan:
    """A prediction: GiB of each phase, seconds a micro-step (None: not known), GiB of RAM for what is offloaded."""

    settings: Settings
    gpu: GPU
    phases: dict[str, float]
    parts: pd.DataFrame
    seconds_per_step: float | None
    ram_gib: float
    nearest: tuple[Plan, ...] = ()

    @property
    def peak_gib(self) -> float:
        """GiB of GPU memory at the worst moment."""
        return max(self.phases.values())

    @property
    def phase(self) -> str:
        """The phase of the worst moment."""
        return max(self.phases, key=self.phases.get)

    @property
    def fits(self) -> bool:
        """Whether the GPU, and the RAM for what is offloaded, are enough."""
        return self.peak_gib <= self.gpu.gib and self.ram_gib <= self.gpu.ram_gib

    @property
    def sentence(self) -> str:
        """The plan in one sentence; when it does not fit, with the nearest settings that do."""
        ram = f" and {self.ram_gib:.0f} GiB of RAM" if self.ram_gib else ""
        need = f"{self.settings} needs about {self.peak_gib:.1f} GiB ({self.phase})"
        if self.fits:
            time = f", about {self.seconds_per_step:.2g} s a step" if self.seconds_per_step else ""
            return f"{need} of the {self.gpu.gib:.0f} on {self.gpu.name}{ram}{time}"
        need += ram
        have = f"{self.gpu.name} has {self.gpu.gib:.0f} GiB" + (f" and {self.gpu.ram_gib:.0f} of RAM" if ram else "")
        if not self.nearest:
            return f"{need}; {have}: nothing nearby fits, use the mini models or a larger GPU"
        return f"{need}; {have}: nearest that fits: " + "; or ".join(
            f"{p.settings} ({p.peak_gib:.1f} GiB)" for p in self.nearest
        )

    def check(self) -> Plan:
        """Return the plan, or raise RuntimeError with ``sentence`` when it does not fit."""
        if not self.fits:
            raise RuntimeError(self.sentence)
        return self


def plan(
    family: type[Family],
    *,
    precision: str,
    offload: str = "none",
    resolution: int | tuple[int, int] = 1024,
    batch_size: int = 1,
    rank: int = 16,
    targets: str | Sequence[str] = "attention+mlp",
    gradient_checkpointing: bool = True,
    references: int | None = None,
    optimizer: str = "adamw8bit",
    adapter: str = "lora",
    ema: bool = False,
    gpu: GPU | str | None = None,
    nearest: bool = True,
) -> Plan:
    """Predict a LoRA training of a published model on a GPU, this machine's by default; seconds are per micro-step.

    ``adapter`` is one of ``words.ADAPTERS``; ``ema`` says whether an average of it is kept; ``nearest`` whether other
    settings are looked for where these do not fit. Refuses nothing by itself: see ``Plan.check``. Raises ValueError for
    unknown names, for group offload of quantised weights, and for what cannot be trained through it: a dora, which
    reads weights that are away, and anything without gradient checkpointing.
    """
    placement.pick_dtype(precision, torch.device("cpu"))
    placement.check_offload(offload, precision)
    if optimizer not in STATE_BYTES:
        raise ValueError(f"optimizer is {optimizer!r}; it must be one of {', '.join(STATE_BYTES)}")
    lora.check_kind(adapter, precision, offload)
    if offload == "group" and not gradient_checkpointing:
        raise ValueError("offload group trains with gradient checkpointing; turn it on, or use offload model")
    size = (resolution, resolution) if isinstance(resolution, int) else resolution
    targets = targets if isinstance(targets, str) else tuple(targets)
    references = family.references if references is None else references
    settings = Settings(
        family, precision, offload, size, batch_size, rank, targets, gradient_checkpointing, references, optimizer,
        adapter, ema,
    )  # fmt: skip
    if not nearest:
        return _training(settings, pick_gpu(gpu))
    return _with_nearest(settings, pick_gpu(gpu), _training, lambda s: _nearby(s, training=True))


def sampling(
    family: type[Family],
    *,
    precision: str,
    offload: str = "none",
    resolution: int | tuple[int, int] = 1024,
    references: int | None = None,
    gpu: GPU | str | None = None,
    nearest: bool = True,
) -> Plan:
    """Predict the memory of sampling with a published model, all its parts loaded; ``drawing`` predicts the time.

    ``nearest`` says whether other settings are looked for where these do not fit.
    """
    placement.pick_dtype(precision, torch.device("cpu"))
    placement.check_offload(offload, precision)
    size = (resolution, resolution) if isinstance(resolution, int) else resolution
    references = family.references if references is None else references
    settings = Settings(family, precision, offload, size, references=references, gradient_checkpointing=False)
    if not nearest:
        return _sampling(settings, pick_gpu(gpu))
    return _with_nearest(settings, pick_gpu(gpu), _sampling, lambda s: _nearby(s, training=False))


def shape_of(settings: Settings) -> costs.Shape:
    """Return what a micro-step of a training is made of; references have the model's own size."""
    family, (width, height) = settings.family, settings.resolution
    side = family.native // family.token_side
    return costs.Shape(
        family, (height // family.token_side, width // family.token_side), ((side, side),) * settings.references,
        family.text_tokens, settings.batch_size, settings.rank, settings.targets, adapter=settings.adapter,
    )  # fmt: skip


def _gib(settings: Settings, part: str) -> float:
    """Return the GiB of a part: those that are never quantised are bfloat16 beside a quantised transformer."""
    quantised = part in settings.family.quantised
    precision = settings.precision if quantised or settings.precision == "fp32" else "bf16"
    return weights(settings.family)[part].bytes(precision) / GIB


def _training(settings: Settings, gpu: GPU) -> Plan:
    """Return the plan of a training: encode, free the text encoders, train with previews.

    On the GPU while it trains lie the transformer, the autoencoder, the LoRA with its gradients, optimizer and
    average, the activations of one micro-step and the largest layer at full width, once for each of forward and
    backward. Offload ``model`` takes the autoencoder off; ``group`` the transformer too, but for the layers at work,
    the block whose gradients are computed, and, of each block, the first layer, which the prefetch of diffusers' group
    offloading leaves there after the backward pass. Previews are drawn at the model's own resolution, the averaged
    LoRA in the place of the trained one, of which a copy is kept.
    """
    whole = weights(settings.family)
    width, height = settings.resolution
    transformer, vae = _gib(settings, "transformer"), _gib(settings, "vae")
    encoders = [_gib(settings, name) for name in settings.family.encoders]
    layer = 2 * whole["transformer"].largest / GIB
    step = costs.step(shape_of(settings), settings.gradient_checkpointing)
    trained = lora_size(settings.family, settings.rank, settings.targets, settings.adapter)
    adapter = trained * (8 + STATE_BYTES[settings.optimizer] + 4 * settings.ema) / GIB
    quantised = settings.precision in ("int8", "nf4")
    held = transformer
    if settings.offload == "group":
        held = 2 * (first_layers(settings.family) + largest_block(settings.family)) / GIB + 2 * layer
    encoding = sum(encoders) + vae if settings.offload == "none" else max(*encoders, vae)
    if settings.offload == "group":
        encoding = 2 * max(2 * whole[name].largest / GIB for name in settings.family.encoders)
    resting = vae if settings.offload == "none" else 0.0
    activations = step.activations / GIB
    side = settings.family.native  # at which previews are drawn whatever is trained at
    drawing = max(_vae_gib("decode", side * side), _drawing_gib(replace(settings, resolution=(side, side))))
    phases = {
        "encode texts": encoding + 0.5,
        "encode pictures": encoding + _vae_gib("encode", width * height),
        "train": held + resting + adapter + activations + (2 * layer if quantised else 0.0),
        "previews": held + vae + adapter + 4 * settings.ema * trained / GIB + drawing,
    }
    phases = {name: gib + CONTEXT_GIB for name, gib in phases.items()}
    parts = pd.DataFrame(
        [("transformer", held), ("autoencoder", resting), ("LoRA, gradients, optimizer, average", adapter),
         ("activations", activations), ("layers at full width", 2 * layer if quantised else 0.0),
         ("CUDA and allocator", CONTEXT_GIB)],
        columns=["while training", "GiB"],
    ).set_index("while training").round(2)  # fmt: skip
    ram = 0.0 if settings.offload == "none" else transformer + vae
    return Plan(settings, gpu, phases, parts, _seconds(settings, gpu, step), ram)


def _vae_gib(way: str, pixels: int) -> float:
    return 2 * VAE_WIDTH[way] * pixels / GIB


def _drawing_gib(settings: Settings) -> float:
    """Return the GiB of activations one block has while one picture is drawn."""
    return 2 * WIDTHS_ALIVE * settings.family.width * shape_of(settings).tokens / GIB


def _seconds(settings: Settings, gpu: GPU, step: costs.Step) -> float | None:
    """Return seconds of a micro-step: operations at ``MODEL_RATE`` of the GPU, or the weights over the link if longer.

    Quantised weights are written out in bfloat16 and read again, forward, recomputing and backward. With group offload
    all weights cross the link, twice with gradient checkpointing.
    """
    if not gpu.tflops:
        return None
    whole = weights(settings.family)["transformer"]
    times = 3 if settings.gradient_checkpointing else 2
    seconds = step.flops / (gpu.tflops * 1e12 * MODEL_RATE)
    if settings.precision in ("int8", "nf4"):
        width = 0.5 if settings.precision == "nf4" else 1.0
        seconds += times * (whole.quantised + whole.eight) * (width + 4) / (gpu.bandwidth * 1e9)
    if settings.offload == "group":
        seconds = max(seconds, (times - 1) * whole.bytes(settings.precision) / (gpu.link * 1e9))
    return seconds


def _sampling(settings: Settings, gpu: GPU) -> Plan:
    """Return the plan of sampling: the parts at work, and the activations of one block or of the autoencoder."""
    whole = weights(settings.family)
    width, height = settings.resolution
    held = {name: _gib(settings, name) for name in whole}
    if gpu.cpu and settings.precision in ("int8", "nf4"):  # loaded in float32, then quantised
        held = {name: part.bytes("fp32") / GIB for name, part in whole.items()}
    on_gpu = {
        "none": sum(held.values()),
        "model": max(held.values()),
        "group": 2 * 2 * max(part.largest for part in whole.values()) / GIB + held["vae"],
    }["none" if gpu.cpu else settings.offload]
    phases = {
        "draw": on_gpu + _drawing_gib(settings) + CONTEXT_GIB,
        "decode": on_gpu + _vae_gib("decode", width * height) + CONTEXT_GIB,
    }
    parts = pd.DataFrame({"GiB": held}).round(2)
    ram = 0.0 if settings.offload == "none" or gpu.cpu else sum(held.values())
    return Plan(settings, gpu, phases, parts, None, ram)


def _with_nearest(
    settings: Settings,
    gpu: GPU,
    predict: Callable[[Settings, GPU], Plan],
    nearby: Callable[[Settings], Iterator[Settings]],
) -> Plan:
    asked = predict(settings, gpu)
    if asked.fits:
        return asked
    found = next((other for other in (predict(s, gpu) for s in nearby(settings)) if other.fits), None)
    return replace(asked, nearest=(found,) if found else ())


def _nearby(settings: Settings, *, training: bool) -> Iterator[Settings]:
    """Yield other settings, the nearest first: checkpointing, then offload, then precision, then smaller pictures."""
    width, height = settings.resolution
    lower = PRECISIONS[PRECISIONS.index(settings.precision) :]
    for share in (1.0, 0.75, 0.5) if training else (1.0,):
        size = (max(256, int(width * share) // 64 * 64), max(256, int(height * share) // 64 * 64))
        for precision in lower:
            for offload in placement.offloads(precision):
                if (settings.adapter, offload) == ("dora", "group") or (settings.adapter, precision) == ("lokr", "nf4"):
                    continue
                yield replace(
                    settings,
                    resolution=size,
                    precision=precision,
                    offload=offload,
                    gradient_checkpointing=training,
                )


def table(family: type[Family], precisions: Sequence[str] = PLANNED) -> pd.DataFrame:
    """Return, for each precision and offload, the GiB and the seconds a step of a training on every known GPU."""
    rows = []
    for precision in precisions:
        for offload in ("none", "group") if precision == "bf16" else ("none",):
            plans = [plan(family, precision=precision, offload=offload, gpu=gpu) for gpu in GPUS]
            row = {"precision": precision, "offload": offload, "GiB": round(plans[0].peak_gib, 1)}
            for each in plans:
                row[each.gpu.name] = f"{each.seconds_per_step:.2g} s" if each.fits else "-"
            rows.append(row)
    return pd.DataFrame(rows).set_index(["precision", "offload"])


def fits(family: type[Family], gpu: GPU | None = None) -> list[tuple[str, str]]:
    """Return the (precision, offload) with which a published model can sample on a GPU, best first."""
    gpu = pick_gpu(gpu)
    every = [(p, o) for p in PLANNED for o in (("none",) if gpu.cpu else placement.offloads(p))]
    return [(p, o) for p, o in every if sampling(family, precision=p, offload=o, gpu=gpu).fits]
