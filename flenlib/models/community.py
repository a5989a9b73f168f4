"""Community LoRAs for Qwen-Image-Edit: what each is for, how it is asked, and how one is named in the settings.

A LoRA to use is written ``name:0.8`` (one of KNOWN), ``name=path:0.8`` (that one, from a file or folder of your own),
``path:0.8``, a folder with one .safetensors in it, or a hub id. Facts are from the model cards as they stood in
November 2026; what a card did not say is left open. Imports no torch.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from flenlib.dataset.prompts import edit_prompt

ADOPTED = "adopted"
"""In place of a LoRA: what step 2.3 of the iteration before chose."""

FINISH, ALWAYS = "finish", "always"
"""What a LoRA may be for besides a kind of edit: a pass of its own after the edit, or every pass (speed)."""

_PAGE = "see its page"


@dataclass(frozen=True)
class Community:
    """One published LoRA; ``phrase`` is the instruction it was trained on, with ``{edit}`` for the kit's own."""

    name: str
    repository: str
    file: str
    purpose: str
    kinds: tuple[str, ...]
    phrase: str = "{edit}"
    strength: float = 1.0
    needs: str = ""
    licence: str = _PAGE
    base: str = "qwen-image-edit-2509"

    @property
    def page(self) -> str:
        """Its page on the hub."""
        return f"https://huggingface.co/{self.repository}"


KNOWN = {
    lora.name: lora
    for lora in (
        Community(
            "multiple-angles", "dx8152/Qwen-Edit-2509-Multiple-angles", "镜头转换.safetensors",
            "moves the camera around the subject", ("camera",), "{camera}", 1.0, "a lightning LoRA beside it",
        ),
        Community(
            "relight", "dx8152/Qwen-Image-Edit-2509-Relight", "Qwen-Edit-Relight.safetensors",
            "lights the picture anew", ("lighting",), "重新照明, {edit}", 1.0, "a lightning LoRA beside it",
        ),
        Community(
            "multi-angle-lighting", "dx8152/Qwen-Edit-2509-Multi-Angle-Lighting", "多角度灯光-251116.safetensors",
            "light from one of ten directions", (), "使用图2的亮度贴图对图1重新照明(光源来自前方)", 1.0,
            "a brightness map as second picture, which the enrichment plan does not give: for use by hand",
        ),
        Community(
            "light-restoration", "dx8152/Qwen-Image-Edit-2509-Light_restoration", "移除光影.safetensors",
            "takes light and shadow off, before or after another edit", (FINISH,),
            "移除光影,使用柔和光线(无明显光斑和阴影)对图片进行重新照明",
        ),
        Community(
            "skin", "tlennon-ie/qwen-edit-skin", "qwen-edit-skin_1.1_000002750.safetensors",
            "natural skin instead of a waxy one", (FINISH,),
            "make the subjects skin details more prominent and natural",
        ),
        Community(
            "next-scene", "lovis93/next-scene-qwen-image-lora-2509", "next-scene_lora-v2-3000.safetensors",
            "the same person in another place, as the next shot of a film", ("background",), "Next Scene: {edit}",
            0.75, "", "MIT",
        ),
        Community(
            "lightning-4", "lightx2v/Qwen-Image-Lightning",
            "Qwen-Image-Edit-2509/Qwen-Image-Edit-2509-Lightning-4steps-V1.0-bf16.safetensors",
            "4 sampling steps instead of 40", (ALWAYS,), "{edit}", 1.0, "enrich.steps 4 and guidance 1", "Apache-2.0",
        ),
        Community(
            "lightning-8", "lightx2v/Qwen-Image-Lightning",
            "Qwen-Image-Edit-2509/Qwen-Image-Edit-2509-Lightning-8steps-V1.0-bf16.safetensors",
            "8 sampling steps instead of 40", (ALWAYS,), "{edit}", 1.0, "enrich.steps 8 and guidance 1", "Apache-2.0",
        ),
        Community(
            "multiple-angles-2511", "fal/Qwen-Image-Edit-2511-Multiple-Angles-LoRA", "",
            "96 camera positions", ("camera",), "<sks> {view} eye-level shot medium shot", 0.9, "", "Apache-2.0",
            "qwen-image-edit-2511",
        ),
    )
}  # fmt: skip

CAMERA = {
    "slightly left": "将镜头向左旋转45度 Rotate the camera 45 degrees to the left.",
    "slightly right": "将镜头向右旋转45度 Rotate the camera 45 degrees to the right.",
    "lower": "将相机切换到仰视视角 Turn the camera to a worm's-eye view.",
    "higher": "将镜头转为俯视 Turn the camera to a top-down view.",
    "closer": "将镜头转为特写镜头 Turn the camera to a close-up.",
    "wider": "将镜头转为广角镜头 Turn the camera to a wide-angle lens.",
}
"""The camera grammar of multiple-angles: the kit's words for a camera edit, and the LoRA's. It took any degrees."""

_VIEWS = {"slightly left": "front-left quarter view", "slightly right": "front-right quarter view"}


@dataclass(frozen=True)
class Use:
    """One LoRA of a settings file: where it is, how strongly, for which edits, and how it is asked."""

    text: str
    path: Path | str  # a local file, or what `flenlib.models.registry.lora_file` downloads
    weight: float
    kinds: tuple[str, ...] = ()  # none: for every kind of edit
    phrase: str = "{edit}"

    def prompt(self, kind: str, value: str) -> str:
        """Return the instruction for an edit, such as ``("camera", "slightly left")``, in this LoRA's words."""
        plain = edit_prompt(kind, value)
        words = {"edit": plain, "camera": CAMERA.get(value, plain), "view": _VIEWS.get(value, "front view")}
        return self.phrase.format(**words)

    def serves(self, kind: str) -> bool:
        """Say whether it draws edits of a kind, and not only before or after them."""
        return not self.kinds or kind in self.kinds


def parse(text: str, editor: str = "") -> Use:
    """Return the LoRA an entry of the settings means, for an editor of a name (empty: whichever).

    Raises ValueError for an unknown name (with the nearest), a LoRA made for another base model or for use by hand, and
    a folder without exactly one .safetensors; FileNotFoundError for a path that does not exist.
    """
    name, given, rest = text.strip().partition("=")
    body, weight = _weight(rest if given else name)
    if given:
        known = _known(name, text)
        _check_use(known, editor)
        strength = known.strength if weight is None else weight
        return Use(text, local(body), strength, known.kinds, known.phrase)
    if body in KNOWN:
        known = KNOWN[body]
        _check_use(known, editor)
        where = f"{known.repository}/{known.file}" if known.file else known.repository
        return Use(text, where, known.strength if weight is None else weight, known.kinds, known.phrase)
    path = Path(body).expanduser()
    if "/" not in body and not body.endswith(".safetensors") and not path.exists():
        _known(body, text)  # raises: it is no file and no hub id
    on_hub = "/" in body and not body.startswith(("/", ".", "~")) and not path.exists()
    return Use(text, body if on_hub else local(body), 1.0 if weight is None else weight)


def local(path: str) -> Path:
    """Return the LoRA file a path means: itself, or the only .safetensors of a folder. Raises as `parse` does."""
    place = Path(path).expanduser()
    if place.is_dir():
        files = sorted(place.glob("*.safetensors"))
        if len(files) != 1:
            names = ", ".join(file.name for file in files[:5]) or "none"
            raise ValueError(f"LoRA folder {place} holds {len(files)} .safetensors ({names}); name the file to use")
        return files[0]
    if not place.is_file():
        raise FileNotFoundError(f"LoRA file {place} does not exist")
    return place


def table(names: Sequence[str] = tuple(KNOWN)) -> pd.DataFrame:
    """Return the community LoRAs as a table: what for, for which edits, strength, what it needs, licence, page."""
    rows = [
        {
            "LoRA": lora.name,
            "what for": lora.purpose,
            "edits": ", ".join(lora.kinds) or "by hand",
            "asked as": lora.phrase,
            "strength": lora.strength,
            "needs": lora.needs,
            "base": lora.base,
            "licence": lora.licence,
            "page": lora.page,
        }
        for lora in (KNOWN[name] for name in names)
    ]
    return pd.DataFrame(rows).set_index("LoRA")


def _weight(text: str) -> tuple[str, float | None]:
    body, colon, number = text.rpartition(":")
    try:
        return (body.strip(), float(number)) if colon and body.strip() else (text.strip(), None)
    except ValueError:
        return text.strip(), None


def _known(name: str, text: str) -> Community:
    if name.strip() in KNOWN:
        return KNOWN[name.strip()]
    close = difflib.get_close_matches(name, [*KNOWN, ADOPTED], n=1, cutoff=0.4)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(KNOWN)}"
    raise ValueError(f"LoRA {text!r} is not known; {hint} (a file, a folder or a hub id serves too)")


def _check_use(known: Community, editor: str) -> None:
    if not known.kinds:
        raise ValueError(f"LoRA {known.name!r} cannot be used here: it needs {known.needs}")
    short = editor.rpartition("/")[2].casefold()
    if short.startswith("qwen-image-edit-") and short != known.base:
        raise ValueError(f"LoRA {known.name!r} was made for {known.base} and the editor is {editor}; leave it out")
