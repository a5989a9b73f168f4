"""What the tests of this room share: noise pictures, a family from a tiny folder, a LoRA that does something."""

import numpy as np
import torch
from PIL import Image

from flenlib.content import Allowed
from flenlib.models import lora
from flenlib.models.families import z_image
from flenlib.models.registry import FAMILIES


def picture(seed=0, width=64, height=64):
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def load(folder, family, precision="fp32"):
    return FAMILIES[family].load(folder, precision=precision, device="cpu")


NAMES = tuple(FAMILIES)
EDITORS = tuple(name for name, family in FAMILIES.items() if "editor" in family.roles)


def open_family(request, precision="fp32"):
    """Return the family a fixture is parametrised with by its name, of a tiny pipeline."""
    return load(request.getfixturevalue(f"tiny_{request.param}"), request.param, precision)


def references(family):
    return [picture(5)] if family in EDITORS else []


def sample(family, seed=1):
    image = family.sample(Allowed("a person"), seed=seed, steps=2, guidance=2.0, references=references(family.name))
    return np.asarray(image).astype(int)


def excite(family):
    """Move the trainable LoRA away from zero, as training would."""
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in lora.trainable(family):
            parameter += torch.randn(parameter.shape, generator=generator) * 0.3


def capture(family, text, steps, **options):
    """Return what a pipeline's transformer saw and said in each step of a sampling: tokens, time, velocity's tokens.

    Tokens of references follow those of the picture. Z-Image's are lists of latents, its time and its answer the other
    way round.
    """
    calls = []

    def see(module, given, named, output):
        if family.name == "z_image":
            latents, times, _ = given
            tokens = [z_image.packed(torch.stack(each).squeeze(2)) for each in (latents, output[0])]
            calls.append((tokens[0], 1 - times, -tokens[1]))
        else:
            calls.append((named["hidden_states"], named["timestep"], output[0]))

    hook = family.transformer.register_forward_hook(see, with_kwargs=True)
    family.sample(text, seed=3, steps=steps, guidance=1.0, **options)
    hook.remove()
    return calls
