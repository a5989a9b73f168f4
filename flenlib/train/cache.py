"""Pictures and captions encoded once, on disk, each under the hash of its own content.

Never by position: a cache keyed by dataloader step gives a picture another picture's caption as soon as the order is
shuffled. A key is the picture's pixels, the size it is trained at and the autoencoder; or the caption, its reference
pictures and the text encoders. So a cache can be shared, kept, and moved, and a changed file is encoded anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file, save_file
from tqdm.auto import tqdm

from flenlib.dataset.images import open_image, pixel_hash
from flenlib.params import Train
from flenlib.train.flow import generator

WIDEST = 2.0
"""The longest side over the shorter one that is trained; what lies beyond is cropped."""


@dataclass(frozen=True)
class Sample:
    """One picture to learn, with its caption; an editor's sample has the reference pictures it is edited from."""

    image: Path
    caption: str
    repeats: int = 1
    references: tuple[Path, ...] = ()
    name: str = ""


class Cache:
    """Encoded parts of one family's inputs in one folder; ``resolution`` 0 is the model's own."""

    def __init__(self, folder: str | Path, family: Any, resolution: int = 0) -> None:
        self.folder, self.family = Path(folder), family
        self.resolution = resolution or family.resolution
        self._encoders = {part: fingerprint_of(family, part) for part in ("vae", "text_encoder")}

    def image(self, path: str | Path) -> Path:
        """Return the file that holds ``latents`` (tokens, channels) and ``grid`` [h, w] of a picture.

        Encodes the picture on first sight. Raises what ``open_image`` raises for a file that is not a picture.
        """
        picture = fit(open_image(path), self.resolution)
        key = _digest(pixel_hash(picture), list(picture.size), self._encoders["vae"])
        return self._file("image", key, lambda: self.family.encode(image=picture))

    def text(self, caption: str, references: Sequence[str | Path] = ()) -> Path:
        """Return the file that holds ``text`` (tokens, dim) and what else the family conditions on.

        An editor's caption is encoded with its reference pictures, and the file holds their latents too.
        """
        pictures = [open_image(path) for path in references]
        encoders = [self._encoders["text_encoder"], self._encoders["vae"] if pictures else ""]
        key = _digest(caption, [pixel_hash(picture) for picture in pictures], encoders)
        return self._file("text", key, lambda: self.family.encode(text=caption, references=pictures))

    def _file(self, kind: str, key: str, encode: Callable[[], dict[str, torch.Tensor]]) -> Path:
        path = self.folder / kind / f"{key}.safetensors"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in encode().items()}, partial)
            partial.replace(path)
        return path


class Feed:
    """The batches of a run: a function of the samples, the settings and the micro-step, and of no state."""

    def __init__(
        self,
        cache: Cache,
        samples: Sequence[Sample],
        settings: Train,
        caption_empty: str,
        on_encoded: Callable[[int], object],
    ) -> None:
        self.settings, self.repeats = settings, [sample.repeats for sample in samples]
        self.files: list[tuple[Path, Path, Path]] = []
        for sample in tqdm(samples, desc="encode", leave=False):
            text = cache.text(sample.caption, sample.references)
            empty = cache.text(caption_empty, sample.references) if settings.caption_dropout else text
            self.files.append((cache.image(sample.image), text, empty))
            on_encoded(len(self.files))
        self.shapes = [_shape(read(image, text)) for image, text, _ in self.files]

    def batch(self, number: int, random: torch.Generator) -> dict[str, torch.Tensor]:
        """Return micro-step 0, 1, 2, ... of the endless row of epochs, some captions dropped, as CPU tensors."""
        per_epoch = len(self._epoch(0))
        order = self._epoch(number // per_epoch)[number % per_epoch]
        dropped = (torch.rand(len(order), generator=random) < self.settings.caption_dropout).tolist()
        chosen = [(self.files[i][0], self.files[i][2 if drop else 1]) for i, drop in zip(order, dropped, strict=True)]
        return collate([read(image, text) for image, text in chosen])

    def _epoch(self, epoch: int) -> list[list[int]]:
        return batches(self.shapes, self.repeats, self.settings.batch_size, self.settings.seed, epoch)


def fit(picture: Image.Image, resolution: int) -> Image.Image:
    """Return the picture at about ``resolution`` squared pixels in its own shape, sides on a coarse grid.

    The grid is a sixteenth of the resolution, and at least 16 pixels, so that pictures of like shape make batches.
    What does not fit is cropped evenly at the sides and, since heads are at the top, mostly from the bottom.
    """
    grid = max(16, resolution // 16)
    ratio = min(max(picture.width / picture.height, 1 / WIDEST), WIDEST) ** 0.5
    size = tuple(max(grid, round(side / grid) * grid) for side in (resolution * ratio, resolution / ratio))
    return ImageOps.fit(picture, size, Image.Resampling.LANCZOS, centering=(0.5, 0.25))


def fingerprint(module: torch.nn.Module) -> str:
    """Return a hash of a model's configuration and of a spread of values of every weight; LoRA layers are left out.

    Reads 64 values a tensor, so it takes moments for a model of any size; two trained models never agree on all.
    """
    config = module.config if isinstance(module.config, dict) else module.config.to_dict()
    digest = hashlib.sha256(json.dumps(_plain(config), sort_keys=True, default=str).encode())
    for name, tensor in sorted(module.state_dict().items()):
        if isinstance(tensor, torch.Tensor) and "lora_" not in name:
            values = tensor.detach().flatten()[:: max(1, tensor.numel() // 64)]
            digest.update(f"{name.replace('.base_layer', '')} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(values.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]


def fingerprint_of(family: Any, part: str) -> str:
    """Return one hash of the pipeline's models whose names begin with ``part``: vae, text_encoder, transformer."""
    models = sorted(n for n, m in family.pipeline.components.items() if n.startswith(part) and m is not None)
    return _digest([fingerprint(family.pipeline.components[name]) for name in models])


def batches(shapes: Sequence[tuple], repeats: Sequence[int], size: int, seed: int, epoch: int) -> list[list[int]]:
    """Return one epoch as lists of sample numbers: every sample ``repeats`` times, shuffled by (seed, epoch).

    Samples of one shape share a batch; the last batch of a shape may be smaller. The number of batches is the same in
    every epoch.
    """
    random = generator(seed, "order", epoch)
    groups: dict[tuple, list[int]] = {}
    for number, count in enumerate(repeats):
        groups.setdefault(shapes[number], []).extend([number] * count)
    made = []
    for group in groups.values():
        order = [group[i] for i in torch.randperm(len(group), generator=random).tolist()]
        made += [order[start : start + size] for start in range(0, len(order), size)]
    return [made[i] for i in torch.randperm(len(made), generator=random).tolist()]


def collate(parts: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Stack the encoded parts of several samples; texts of unlike length are padded, as their ``text_mask`` says."""
    return {name: _stack([part[name] for part in parts], name.startswith("text")) for name in parts[0]}


def read(image: Path, text: Path) -> dict[str, torch.Tensor]:
    """Return everything a family needs to learn one sample, from its two cache files."""
    return {**load_file(image), **load_file(text)}


def _stack(tensors: list[torch.Tensor], pad: bool) -> torch.Tensor:
    longest = max(len(tensor) for tensor in tensors)
    if not pad or all(len(tensor) == longest for tensor in tensors):
        return torch.stack(tensors)
    return torch.stack([torch.cat([t, t.new_zeros(longest - len(t), *t.shape[1:])]) for t in tensors])


def _shape(parts: dict[str, torch.Tensor]) -> tuple:
    """Return what two samples must agree on to share a batch: all shapes but the text's, and the grids themselves."""
    return tuple(
        (name, *tensor.shape, *(tensor.flatten().tolist() if name.endswith("grid") else ()))
        for name, tensor in sorted(parts.items())
        if not name.startswith("text")
    )


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    """Leave out what a configuration says of where it came from, which is no part of what the model computes."""
    return {key: value for key, value in config.items() if not key.startswith("_") and key != "transformers_version"}


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:40]
