"""Where in a picture the loss counts in full: on the faces, on a mask picture, or where an edit changed something.

A focus is a float32 tensor (tokens,) in 0..1, one value a latent token, rows first. Where there is nothing to go by (no
face found, no mask, nothing changed) it is 1 everywhere: such a picture is learned whole.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from flenlib.measure.faces import find_faces

GROW = 0.25
"""A face box is widened by this share of its size on each side: detectors cut off hair and chin."""


def of_faces(picture: Image.Image, grid: tuple[int, int]) -> torch.Tensor:
    """Return 1 on every face found, widened, and 0 elsewhere."""
    mask = Image.new("L", picture.size)
    for left, top, right, bottom in (face.box for face in find_faces(picture)):
        wide, high = GROW * (right - left), GROW * (bottom - top)
        ImageDraw.Draw(mask).rectangle((left - wide, top - high, right + wide, bottom + high), fill=255)
    return _tokens(mask, grid)


def of_mask(mask: Image.Image, grid: tuple[int, int]) -> torch.Tensor:
    """Return a mask picture, white where it matters and cropped as its picture was, as a focus."""
    return _tokens(mask.convert("L"), grid)


def of_edit(picture: Image.Image, reference: Image.Image, grid: tuple[int, int]) -> torch.Tensor:
    """Return how much each place differs from the whole reference: 1 from half the largest difference on."""
    before = reference.resize(picture.size, Image.Resampling.LANCZOS)
    change = ImageChops.difference(picture, before).convert("L").filter(ImageFilter.BoxBlur(2))
    most = int(np.asarray(change).max())
    if most < 8:  # of 255: no more than saving a picture again does
        return torch.ones(grid[0] * grid[1])
    return _tokens(change.point(lambda value: min(255, 510 * value // most)), grid)


def weights(focus: torch.Tensor, unfocused: float) -> torch.Tensor:
    """Return what each token of a focus counts in the loss: from ``unfocused`` to 1, then made 1 on average."""
    counted = unfocused + (1 - unfocused) * focus
    return counted / counted.mean()


def _tokens(mask: Image.Image, grid: tuple[int, int]) -> torch.Tensor:
    small = np.asarray(mask.resize((grid[1], grid[0]), Image.Resampling.BOX), dtype=np.float32) / 255
    found = torch.from_numpy(small).flatten()
    return found if found.max() > 0 else torch.ones_like(found)
