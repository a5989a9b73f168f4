"""What the tests of this room share: noise pictures, a family from a tiny folder, a LoRA that does something."""

import numpy as np
import torch
from PIL import Image

from flenlib.content import Allowed
from flenlib.models import lora
from flenlib.models.registry import FAMILIES


def picture(seed=0, width=64, height=64):
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def load(folder, family, precision="fp32"):
    return FAMILIES[family].load(folder, precision=precision, device="cpu")


NAMES = ("flux", "qwen_image", "qwen_edit")


def open_family(request, precision="fp32"):
    """Return the family a fixture is parametrised with by its name, of a tiny pipeline."""
    return load(request.getfixturevalue(f"tiny_{request.param}"), request.param, precision)


def references(family):
    return [picture(5)] if family == "qwen_edit" else []


def sample(family, seed=1):
    image = family.sample(Allowed("a person"), seed=seed, steps=2, guidance=2.0, references=references(family.name))
    return np.asarray(image).astype(int)


def excite(family):
    """Move the trainable LoRA away from zero, as training would."""
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in lora.trainable(family):
            parameter += torch.randn(parameter.shape, generator=generator) * 0.3
