"""What the tests of this room share: pictures of random colours as samples, LoRA files as hashes."""

import hashlib

import numpy as np
from PIL import Image
from safetensors.torch import load_file

from flenlib.content import Allowed
from flenlib.models.families.flux import Flux
from flenlib.params import Character
from flenlib.train.cache import Sample

CHARACTER = Character(name="tester", trigger="ohwx", kind="fictional", age="adult")


def open_flux(folder, **options):
    return Flux.load(folder, precision="fp32", offload="none", device="cpu", **options)


def picture(path, seed, size=(64, 64)):
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


def draw(folder, count=5, sizes=((64, 64),), kinds=("",)):
    """Write pictures of random colours, and return them as samples of these sizes and kinds in turn."""
    return [
        Sample(
            picture(folder / f"{n}.png", n, sizes[n % len(sizes)]), Allowed(f"photo of ohwx person, number {n}"),
            repeats=1 + n % 2, kind=kinds[n % len(kinds)],
        )
        for n in range(count)
    ]  # fmt: skip


def kohya(folder, trigger="ohwx", **repeats):
    """Write a repeats folder of two pictures a concept, with captions."""
    for number, (concept, times) in enumerate(repeats.items()):
        for n in range(2):
            path = picture(folder / f"{times}_{concept}" / f"{n}.png", 10 * number + n)
            path.with_suffix(".txt").write_text(f"photo of {trigger} person, {concept} {n}")
    return folder


def bits(path):
    return {name: hashlib.sha256(tensor.numpy().tobytes()).hexdigest() for name, tensor in load_file(path).items()}
