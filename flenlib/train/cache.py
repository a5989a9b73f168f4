"""Pictures and captions encoded once, on disk, each under the hash of its own content.

Never by position: a cache keyed by dataloader step gives a picture another picture's caption as soon as the order is
shuffled. A key is the picture's pixels, the size it is trained at and the autoencoder; or the caption, its reference
pictures, the text encoders, and by which template and at which sizes they see them; and the version of the family's
code for it. So a cache can be shared, kept, and moved, and a changed file is encoded anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin
from PIL import Image, ImageOps
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from transformers import PreTrainedModel

from flenlib.content import Allowed
from flenlib.dataset.files import write_atomic
from flenlib.dataset.images import open_image, pixel_hash
from flenlib.models.batch import Encoded
from flenlib.models.families.base import Family, allowed
from flenlib.train import focus
from flenlib.train.checkpoints import writing

FILES_KEPT = 256
"""Encoded files kept in memory: at most about 2 GiB of FLUX.1 captions, usually far less."""


@dataclass(frozen=True)
class Sample:
    """One picture to learn, with its caption; an editor's sample has the reference pictures it is edited from."""

    image: Path
    caption: Allowed
    repeats: int = 1
    references: tuple[Path, ...] = ()
    name: str = ""
    kind: str = ""  # what the phases of a curriculum choose by: a framing, a concept
    weight: float = 1.0  # what the loss on it counts
    mask: Path | None = None  # a picture of the same size, white where the loss counts in full


class Cache:
    """Encoded parts of one family's inputs in one folder; a resolution of 0 is the model's own."""

    def __init__(self, folder: str | Path, family: Family) -> None:
        self.folder, self.family = Path(folder), family
        encoders = {"vae": fingerprint_of(family, "vae"), "text": fingerprint_of(family, *family.encoders)}
        self._encoders = {name: f"{found} {family.encoding}" for name, found in encoders.items()}

    def image(self, sample: Sample, resolution: int = 0, flip: bool = False) -> Path:
        """Return the file that holds ``latents`` (tokens, channels) and ``grid`` [h, w] of a sample's picture.

        Encodes the picture on first sight. Raises what ``open_image`` raises for a file that is not a picture.
        """
        picture = self._fitted(open_image(sample.image), sample, resolution, flip)
        key = _digest(pixel_hash(picture), list(picture.size), self._encoders["vae"])
        return self._file("image", key, lambda: self.family.encode(image=picture))

    def text(self, caption: Allowed, references: Sequence[str | Path] = ()) -> Path:
        """Return the file that holds ``text`` (tokens, dim) and what else the family conditions on.

        An editor's caption is encoded with its reference pictures, and the file holds their latents too. Raises
        TypeError for a text the gate has not allowed, also where its file is there.
        """
        pictures = [open_image(path) for path in references]
        return self._file(
            "text", self._text_key(caption, pictures), lambda: self.family.encode(text=caption, references=pictures)
        )

    def conditions(self, text: Allowed, references: Sequence[str | Path] = ()) -> Path:
        """Return the file that holds what ``sample`` needs in place of a text."""
        pictures = [open_image(path) for path in references]
        return self._file(
            "conditions", self._text_key(text, pictures), lambda: self.family.conditions(text, references=pictures)
        )

    def focus(self, sample: Sample, kind: str, resolution: int = 0, flip: bool = False) -> Path:
        """Return the file that holds ``focus`` (tokens,) of a sample: of its ``face``, its ``mask`` or its ``edit``.

        Faces are searched once a picture. Raises ValueError for a mask of another size than its picture.
        """
        whole = open_image(sample.image)
        picture = self._fitted(whole, sample, resolution, flip)
        beside = _beside(sample, kind, whole.size)
        other = self._fitted(beside, sample, resolution, flip) if beside else None
        grid = (picture.height // self.family.multiple, picture.width // self.family.multiple)

        def find() -> torch.Tensor:
            if kind == "face":
                return focus.of_faces(picture, grid)
            if other is None:
                return torch.ones(grid[0] * grid[1])
            return focus.of_mask(other, grid) if kind == "mask" else focus.of_edit(picture, other, grid)

        key = _digest(pixel_hash(picture), list(grid), kind, pixel_hash(other) if other else "")
        return self._file("focus", key, lambda: Encoded(focus=find()))

    def _fitted(self, picture: Image.Image, sample: Sample, resolution: int, flip: bool) -> Image.Image:
        picture = self.family.fitted(picture, resolution or self.family.resolution, bool(sample.references))
        return ImageOps.mirror(picture) if flip else picture

    def _text_key(self, text: Allowed, pictures: Sequence[Image.Image]) -> str:
        encoders = [self._encoders["text"], self._encoders["vae"] if pictures else ""]
        settings = self.family.text_settings(bool(pictures))
        return _digest(allowed(text), [pixel_hash(picture) for picture in pictures], encoders, settings)

    def _file(self, kind: str, key: str, encode: Callable[[], Encoded]) -> Path:
        path = self.folder / kind / f"{key}.safetensors"
        if not _whole(path):
            tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in encode().tensors().items()}
            with writing("an encoded input", path):
                write_atomic(path, save(tensors))
        return path


def _whole(path: Path) -> bool:
    """Say whether a file is there and as long as its header says; one that is damaged is encoded anew."""
    try:
        with safe_open(path, framework="pt"):
            return True
    except (FileNotFoundError, SafetensorError):
        return False


def _beside(sample: Sample, kind: str, size: tuple[int, int]) -> Image.Image | None:
    """Return the picture a focus is found by beside the sample's own: its mask or its first reference."""
    if kind == "edit" and sample.references:
        return open_image(sample.references[0])
    if kind != "mask" or sample.mask is None:
        return None
    mask = open_image(sample.mask)
    if mask.size != size:
        raise ValueError(
            f"mask {sample.mask} is {mask.size} pixels and its picture {sample.image} {size}; make them equal"
        )
    return mask


@lru_cache(maxsize=FILES_KEPT)
def read(path: Path) -> Encoded:
    """Return what one file of a cache holds. Raises ValueError for one that was damaged since it was looked up."""
    try:
        return Encoded(**load_file(path))
    except (SafetensorError, TypeError) as error:
        raise ValueError(f"encoded input {path} is damaged ({error}); delete it and call again") from None


def fingerprint(module: ModelMixin | PreTrainedModel) -> str:
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


def fingerprint_of(family: Family, *names: str) -> str:
    """Return one hash of models of the pipeline, such as vae or transformer; one that was freed is passed over."""
    models = [getattr(family.pipeline, name) for name in sorted(names)]
    return _digest([fingerprint(model) for model in models if model is not None])


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    """Leave out what a configuration says of where it came from, which is no part of what the model computes."""
    return {key: value for key, value in config.items() if not key.startswith("_") and key != "transformers_version"}


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:40]
