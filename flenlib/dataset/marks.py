"""What a picture's file says about where it comes from: drawn by a model, and whether it shows a real person.

Read are this kit's own provenance, the IPTC digital source type in XMP or a C2PA manifest, and what image generators
write. A mark that was taken out cannot be read; nothing is guessed from the pixels.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from flenlib.dataset.decode import read_picture
from flenlib.dataset.images import KEY, NOT_MODELS

SOURCE_TYPES = (b"trainedAlgorithmicMedia", b"TrainedAlgorithmicMedia")
"""Digital source types of pictures a model made, wholly or in part, https://cv.iptc.org/newscodes/digitalsourcetype/"""

GENERATORS = {
    "parameters": "AUTOMATIC1111 or like it", "prompt": "ComfyUI", "workflow": "ComfyUI", "sd-metadata": "InvokeAI",
    "invokeai_metadata": "InvokeAI", "fooocus_scheme": "Fooocus", "Dream": "InvokeAI",
}  # fmt: skip
"""Text chunks that image generators write into a PNG, and which."""

_EXIF_TEXTS = (ExifTags.Base.UserComment, ExifTags.Base.Make, ExifTags.Base.Model, ExifTags.Base.ImageDescription)
_EXIF_WORDS = {"Sampler: ": "AUTOMATIC1111 or like it", "workflow:{": "ComfyUI", "prompt:{": "ComfyUI"}


@dataclass(frozen=True)
class Marks:
    """What a file says of itself: by whom it was generated ("": it does not say that it was), whom it shows."""

    generated_by: str = ""
    real_person: str = ""
    """The real person's name as the file has it, or "somebody"; "": it does not say that it shows one."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """This kit's own, where it has any."""


def read(path: str | Path) -> Marks:
    """Return the marks of a picture; its pixels are not decoded. Raises what `read_picture` raises."""
    path = Path(path)
    info, texts = read_picture(path, lambda image: (dict(image.info), _exif_texts(image)))
    known = _own(info.get(KEY))
    maker = known.get("made_by") or ""
    found = [
        *([] if maker in NOT_MODELS else [str(maker)]),
        *(name for chunk, name in GENERATORS.items() if isinstance(info.get(chunk), str)),
        *(name for word, name in _EXIF_WORDS.items() for text in texts if word in _plain(text)),
        *(["NovelAI"] if info.get("Software") == "NovelAI" else []),
        *(["a model (IPTC digital source type)"] if _by_source_type(path, info) else []),
    ]
    real = str(known.get("character") or "somebody")[:60] if known.get("character_kind") == "real" else ""
    return Marks(found[0] if found else "", real, known)


def _exif_texts(image: Image.Image) -> list[str]:
    exif = image.getexif()
    return [str(exif.get(tag) or exif.get_ifd(ExifTags.IFD.Exif).get(tag) or "") for tag in _EXIF_TEXTS]


def _own(text: object) -> dict[str, Any]:
    """Return this kit's provenance; of one that is damaged, nothing."""
    try:
        found = json.loads(text) if isinstance(text, str) else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _by_source_type(path: Path, info: Mapping[Any, Any]) -> bool:
    """Say whether a file names such a source type, as it stands or in a text that was compressed.

    The file is searched where it lies, wherever its format keeps metadata; it is not held in memory.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
        if any(whole.find(name) >= 0 for name in SOURCE_TYPES):
            return True
    texts = [value.encode() for value in info.values() if isinstance(value, str)]
    return any(name in text for text in texts for name in SOURCE_TYPES)


def _plain(text: str) -> str:
    """Return a text of EXIF without the zeros that a comment in UTF-16 has between its letters."""
    return text.replace("\\x00", "").replace("\0", "")
