"""Corrected pictures: what a person made of a flawed one in another program, checked and kept beside the dataset."""

from __future__ import annotations

import tempfile
from pathlib import Path

from flenlib.dataset.images import open_image, pixel_hash, read_provenance, save_picture
from flenlib.dataset.records import Dataset, ImageRecord

FOLDER = "corrected"


def store(dataset: Dataset, record: ImageRecord, content: bytes, given_name: str) -> str:
    """Keep a corrected picture as PNG and return its path relative to the dataset's folder.

    The name carries a hash of the pixels, so an earlier correction of the same picture is not overwritten. The file
    has the flawed picture's provenance, and what was corrected. Raises ValueError in one sentence when the content is
    no picture, has another size than the flawed one, or is the flawed one unchanged.
    """
    name = Path(given_name.replace("\\", "/")).name or "picture"
    flawed = open_image(dataset.path(record))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            picture = open_image(path)
        except ValueError as error:
            raise ValueError(str(error).replace(f"{folder}/", "")) from None
    if picture.size != flawed.size:
        raise ValueError(
            f"{name} is {picture.width} x {picture.height} pixels and {record.filename} is {flawed.width} x "
            f"{flawed.height}; save it at the size of the picture it corrects, not cropped"
        )
    pixels = pixel_hash(picture)
    if pixels == pixel_hash(flawed):
        raise ValueError(f"{name} is {record.filename} unchanged, pixel for pixel; correct it first")
    relative = f"{FOLDER}/{Path(record.filename).stem}__{pixels[:8]}.png"
    known = read_provenance(dataset.path(record))
    history = {"corrected_by": "person", "corrects": record.sha256, "corrected_from": name}
    if not (dataset.folder / relative).exists():
        save_picture(picture, dataset.folder / relative, known | history)
    return relative
